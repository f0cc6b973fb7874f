/** The server's status, kept current for everything that shows it, over one connection. */

import { type ISignal, Signal } from "@lumino/signaling";
import { NOT_REACHED, RequestError, sentenceOf } from "./request-error";
import type { CatalogList, ServerStatus, TraceSummary } from "./wire-types";

/** What the watcher asks of a server. */
export interface StatusSource {
  get<T>(path: string): Promise<T>;
  events<T>(
    path: string,
    body?: unknown,
    signal?: AbortSignal,
    heard?: () => void,
  ): AsyncGenerator<T>;
}

/** The server as it was last seen. `problem` says why there is no status; empty: all is well. */
export interface ServerState {
  readonly status: ServerStatus | null;
  readonly catalog: CatalogList | null;
  readonly traces: TraceSummary[] | null;
  readonly problem: string;
}

export type Topic = "models" | "traces";

const RETRY_MS = [500, 1000, 2000, 4000];
// Files of models change without an event.
const MODELS_MS = 5000;
const PROGRESS_MS = 500;
// The server says how often it gives a sign of life. So many may be missing.
const MISSED_SIGNS = 2;
const USUAL_SIGN_SECONDS = 10;

/**
 * One connection to `mlx/events`. The lists of models and of traces are fetched while somebody
 * wants them, when the status shows that they have changed.
 */
export class StatusWatcher implements ServerState {
  status: ServerStatus | null = null;
  catalog: CatalogList | null = null;
  traces: TraceSummary[] | null = null;
  problem = "";

  private readonly changedSignal = new Signal<this, void>(this);
  private readonly wanted = new Map<Topic, number>();
  private readonly stale = new Set<Topic>(["models", "traces"]);
  private readonly ending = new AbortController();
  private fetching = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly source: StatusSource) {}

  /** Emitted after every change. */
  get changed(): ISignal<this, void> {
    return this.changedSignal;
  }

  start(): void {
    void this.run();
  }

  stop(): void {
    this.ending.abort();
    clearTimeout(this.timer);
  }

  /** Keep a list current until the returned function is called. */
  want(topic: Topic): () => void {
    this.wanted.set(topic, (this.wanted.get(topic) ?? 0) + 1);
    this.refresh(topic);
    let isWanted = true;
    return () => {
      if (isWanted) this.wanted.set(topic, (this.wanted.get(topic) ?? 1) - 1);
      isWanted = false;
    };
  }

  /** Fetch a list again. */
  refresh(topic: Topic): void {
    this.stale.add(topic);
    void this.fetchLists();
  }

  private async run(): Promise<void> {
    for (let failures = 0; ; failures += 1) {
      try {
        for await (const status of this.statuses()) {
          failures = 0;
          this.receive(status);
        }
        if (this.isEnding) return;
        this.fail(NOT_REACHED);
      } catch (error) {
        if (this.isEnding) return;
        this.fail(sentenceOf(error));
      }
      const pause = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)];
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /**
   * Yield the statuses of one connection.
   *
   * @throws RequestError if the server refuses, or keeps the connection and says nothing: it hangs.
   */
  private async *statuses(): AsyncGenerator<ServerStatus> {
    const silent = new AbortController();
    const signal = AbortSignal.any([this.ending.signal, silent.signal]);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const heard = (): void => {
      clearTimeout(timer);
      const seconds = this.status?.keep_alive_seconds ?? USUAL_SIGN_SECONDS;
      timer = setTimeout(() => silent.abort(), seconds * MISSED_SIGNS * 1000);
    };
    heard();
    try {
      const statuses = this.source.events<ServerStatus>("mlx/events", undefined, signal, heard);
      for await (const status of statuses) {
        yield status;
        heard();
      }
    } catch (error) {
      throw silent.signal.aborted ? new RequestError(NOT_REACHED, 0) : error;
    } finally {
      clearTimeout(timer);
    }
  }

  private receive(status: ServerStatus): void {
    const before = this.status;
    this.status = status;
    this.problem = "";
    if (before === null || modelState(before) !== modelState(status)) this.stale.add("models");
    if (before === null || requestState(before) !== requestState(status)) this.stale.add("traces");
    this.changedSignal.emit();
    void this.fetchLists();
  }

  private fail(problem: string): void {
    this.problem = problem;
    this.status = null;
    this.changedSignal.emit();
  }

  private get isEnding(): boolean {
    return this.ending.signal.aborted;
  }

  private isWanted(topic: Topic): boolean {
    return (this.wanted.get(topic) ?? 0) > 0;
  }

  private async fetchLists(): Promise<void> {
    if (this.fetching || this.status === null) return;
    this.fetching = true;
    clearTimeout(this.timer);
    try {
      for (const topic of [...this.stale].filter((one) => this.isWanted(one))) {
        this.stale.delete(topic);
        if (topic === "models") this.catalog = await this.source.get<CatalogList>("mlx/models");
        else this.traces = (await this.source.get<{ data: TraceSummary[] }>("mlx/traces")).data;
        this.problem = "";
        this.changedSignal.emit();
      }
    } catch (error) {
      this.problem = sentenceOf(error);
      this.changedSignal.emit();
    } finally {
      this.fetching = false;
    }
    if (!this.isWanted("models") || this.isEnding) return;
    const isMoving = this.catalog?.models.some((model) => model.progress !== null) ?? false;
    this.timer = setTimeout(() => this.refresh("models"), isMoving ? PROGRESS_MS : MODELS_MS);
  }
}

const modelState = (status: ServerStatus): string =>
  JSON.stringify([
    status.models.map(({ id, bytes, active, pinned }) => [id, bytes, active, pinned]),
    status.loading,
    status.default_model,
  ]);

const requestState = ({ totals, requests }: ServerStatus): string =>
  JSON.stringify([
    [totals.finished, totals.cancelled, totals.failed],
    requests.map(({ id }) => id),
  ]);
