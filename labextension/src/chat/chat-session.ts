/** One conversation: its entries, the answer that is being written, and when it is saved. */

import type { NotebookPanel } from "@jupyterlab/notebook";
import { type ISignal, Signal } from "@lumino/signaling";
import {
  type AnswerEntry,
  type Attachment,
  added,
  before,
  type Content,
  type Entry,
  keysOf,
  lastNumber,
  messagesOf,
  savedContent,
  titleOf,
} from "../conversations/conversation";
import {
  ChangedElsewhere,
  type Loaded,
  type Saved,
  type Version,
} from "../conversations/conversation-store";
import { commonOf, merge } from "../conversations/merge-tabs";
import type { Question } from "../server/answer-stream";
import { sentenceOf } from "../server/request-error";
import type { ServerClient } from "../server/server-client";
import type { Approval, ChatMode } from "./chat-seam";
import { RunningTurn, reopened } from "./chat-turn";

const SAVE_MS = 1000;
// How often another page may save between our look at its version and our own save.
const TRIES = 5;
const MAX_TITLE = 200;
const GONE =
  "This conversation was deleted elsewhere, so it is not saved. If you ask in it again, it is saved as a new one.";

/** What conversations use of the chat. */
export interface SessionHost {
  readonly client: Pick<ServerClient, "events">;
  /** The parameters of requests, as they are set now. */
  readonly options: Omit<Question, "messages">;
  modeOf(name: string): ChatMode;
  panelOf(notebook: string): NotebookPanel | null;
  load(id: string, notebook: string): Promise<Loaded | undefined>;
  save(id: string, saved: Saved, basedOn: Version): Promise<Version>;
  /** Save another page's version as a conversation of its own. */
  keep(saved: Saved): Promise<void>;
}

interface Waiting {
  id: string;
  question: Approval;
  decide: (decision: string) => void;
}

export class ChatSession {
  title = "";
  /** Why the conversation could not be saved; empty if it is. */
  problem = "";
  /** Which version of it is saved. */
  version: Version = null;
  /** How often entries got other numbers, because another page had saved some. */
  renumbered = 0;
  /** What was saved or loaded last: what this page and another one have in common. */
  private base: Saved;
  private turn: RunningTurn | undefined;
  private waiting: Waiting[] = [];
  /** The number of the answer that the turn writes. */
  private answering = "";
  private asked = 0;
  /** The highest number that an entry had. */
  private used = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private saving: Promise<void> = Promise.resolve();
  private isDeleted = false;
  /** Whether it was deleted elsewhere, and nobody has asked in it since. */
  private isGone = false;
  private readonly changedSignal = new Signal<this, void>(this);

  constructor(
    readonly id: string,
    public notebook: string,
    public content: Content,
    private readonly host: SessionHost,
  ) {
    this.base = { notebook, title: "", content: { ...content, entries: {} } };
  }

  get changed(): ISignal<this, void> {
    return this.changedSignal;
  }

  get isBusy(): boolean {
    return this.turn !== undefined;
  }

  get isEmpty(): boolean {
    return keysOf(this.content.entries).length === 0;
  }

  /** The question of approval that is to be answered now. */
  get asking(): Record<string, unknown> | null {
    const [first] = this.waiting;
    return first ? { id: first.id, ...first.question } : null;
  }

  get saved(): Saved {
    const { notebook, title, content } = this;
    return { notebook, title, content: savedContent(content) };
  }

  /**
   * Ask. Everything from the entry `replaces` on is replaced; it keeps what went along with it.
   *
   * @throws Error if the model still answers.
   */
  ask(text: string, images: string[], attached: Attachment[], replaces: string | null): void {
    this.checkFree();
    const replaced = replaces === null ? undefined : this.content.entries[replaces];
    if (replaces !== null) this.cut(replaces);
    const along = replaced?.role === "user" ? replaced.attached : attached;
    this.add({ role: "user", text, images, attached: along });
    if (!this.title) this.title = titleOf(text);
    this.answer();
  }

  /** Answer the last question again. */
  regenerate(): void {
    this.checkFree();
    const { entries } = this.content;
    const last = keysOf(entries).findLast((key) => entries[key]?.role === "user");
    if (last === undefined) throw new Error("There is no message to answer.");
    this.cut(String(Number(last) + 1));
    this.answer();
  }

  /** Go on with an answer that was left before its end. */
  resume(): void {
    this.checkFree();
    const { entries } = this.content;
    const key = keysOf(entries).at(-1);
    const entry = key === undefined ? undefined : entries[key];
    if (key === undefined || entry === undefined) return;
    if (entry.role === "user") this.answer();
    else if (entry.role === "assistant" && entry.open) void this.run(key, reopened(entry));
  }

  stop(): void {
    this.turn?.stop();
  }

  /** @throws Error if the call is no longer waiting. */
  decide(id: string, decision: string): void {
    const [first] = this.waiting;
    if (first?.id !== id) throw new Error("This call is no longer waiting.");
    first.decide(decision);
  }

  set(change: Partial<Pick<Content, "system" | "temperature" | "mode">>): void {
    this.content = { ...this.content, ...change };
    this.changedSignal.emit();
    if (!this.isEmpty) this.saveSoon();
  }

  rename(title: string): void {
    this.title = title;
    this.changedSignal.emit();
  }

  /** End it, and save it no more. */
  delete(): void {
    this.isDeleted = true;
    clearTimeout(this.timer);
    this.stop();
  }

  /** Follow the notebook to another path, where what is saved of it arrives as well. */
  move(path: string, moved: Promise<void>): void {
    this.notebook = path;
    const arrived = moved.catch(() => {
      // It is saved anew beside the notebook; the reason was told.
      this.version = null;
    });
    this.saving = this.saving.then(() => arrived);
  }

  /** Note what is saved of it. The page may have more: `version` is what that began with. */
  begin(saved: Loaded, version: Version = saved.version): void {
    const isOlder = version !== saved.version;
    const content = isOlder ? commonOf(this.content, saved.content) : saved.content;
    this.base = { ...saved, content };
    this.version = version;
  }

  /** Save what is new. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.isEmpty) return Promise.resolve();
    return this.afterSaving(async () => {
      if (this.isGone) return;
      try {
        this.problem = (await this.save()) ? "" : GONE;
      } catch (error) {
        this.problem = `This conversation is not saved. ${sentenceOf(error)}`;
      }
    });
  }

  /** Take what another page has saved meanwhile. */
  catchUp(): Promise<void> {
    return this.afterSaving(async () => {
      // What is new here is merged when it is saved.
      if (this.isEmpty || this.isBusy || this.timer !== undefined) return;
      // If nobody answers, the page says so elsewhere, and nothing is lost.
      await this.takeSaved().catch((error: unknown) => console.warn(error));
    });
  }

  private afterSaving(step: () => Promise<void>): Promise<void> {
    this.saving = this.saving.then(async () => {
      if (this.isDeleted) return;
      await step();
      this.changedSignal.emit();
    });
    return this.saving;
  }

  /** Save it, unless it was deleted elsewhere. */
  private async save(): Promise<boolean> {
    for (let tries = 1; ; tries += 1) {
      const { saved } = this;
      try {
        this.version = await this.host.save(this.id, saved, this.version);
        this.base = saved;
        return true;
      } catch (error) {
        if (!(error instanceof ChangedElsewhere) || tries === TRIES) throw error;
      }
      await this.takeSaved();
      if (this.isGone) return false;
    }
  }

  /** Merge what another page has saved into this conversation, or keep it apart. */
  private async takeSaved(): Promise<void> {
    const saved = await this.host.load(this.id, this.notebook);
    if (saved === undefined) {
      if (this.version !== null) this.noteDeletion();
      return;
    }
    if (saved.version === this.version) return;
    const merged = merge(this.base.content, this.content, saved.content);
    if (merged === undefined) await this.keepApart(saved);
    else {
      this.content = merged.content;
      this.answering = merged.moved.get(this.answering) ?? this.answering;
      this.renumbered += 1;
    }
    if (this.title === this.base.title) this.title = saved.title;
    this.base = saved;
    this.version = saved.version;
  }

  /** It was deleted elsewhere: end it. If the person has asked since, it begins anew with that. */
  private noteDeletion(): void {
    this.version = null;
    if (this.isBusy && !(this.answering in this.base.content.entries)) return;
    this.isGone = true;
    this.problem = GONE;
    this.stop();
  }

  private async keepApart(saved: Loaded): Promise<void> {
    const end = " (other tab)";
    const title = `${saved.title.slice(0, MAX_TITLE - end.length)}${end}`;
    await this.host.keep({ ...saved, title });
    const text = `Another tab or window has changed this conversation too. Its version is kept as “${title}”.`;
    this.add({ role: "notice", text });
  }

  private checkFree(): void {
    if (this.isBusy) throw new Error("The model is still answering: stop it first.");
  }

  private cut(key: string): void {
    this.used = Math.max(this.used, lastNumber(this.content.entries));
    this.content = { ...this.content, entries: before(this.content.entries, key) };
  }

  private answer(): void {
    const answer: AnswerEntry = {
      role: "assistant",
      mode: this.content.mode,
      blocks: {},
      note: "Waiting for the model",
      failed: false,
      open: true,
      messages: [],
    };
    void this.run(this.add(answer), answer);
  }

  /** Add an entry. Its number was never that of another, so that nothing is taken for what was there. */
  private add(entry: Entry): string {
    const [entries, key] = added(this.content.entries, entry, this.used);
    this.used = Number(key);
    this.content = { ...this.content, entries };
    return key;
  }

  private async run(key: string, answer: AnswerEntry): Promise<void> {
    const { host, content } = this;
    const turn = new RunningTurn(
      {
        client: host.client,
        panel: host.panelOf(this.notebook),
        before: messagesOf(before(content.entries, key)),
        options: {
          ...host.options,
          ...(content.temperature === null ? {} : { temperature: content.temperature }),
        },
        system: content.system,
        update: (changed) => this.put(this.answering, changed),
        ask: (question, signal) => this.approve(question, signal),
      },
      answer,
    );
    this.turn = turn;
    this.isGone = false;
    this.answering = key;
    this.put(key, answer);
    void this.flush();
    let problem = "";
    try {
      await host.modeOf(answer.mode).answer(turn);
    } catch (error) {
      problem = sentenceOf(error);
    }
    this.turn = undefined;
    this.waiting = [];
    turn.end(problem);
    await this.flush();
  }

  private put(key: string, entry: Entry): void {
    const { entries } = this.content;
    this.content = { ...this.content, entries: { ...entries, [key]: entry } };
    this.changedSignal.emit();
    this.saveSoon();
  }

  private saveSoon(): void {
    this.timer ??= setTimeout(() => void this.flush(), SAVE_MS);
  }

  private approve(question: Approval, signal: AbortSignal): Promise<string> {
    this.asked += 1;
    const id = `${this.id}-${this.asked}`;
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.waiting = this.waiting.filter((one) => one.id !== id);
        signal.removeEventListener("abort", abort);
        this.changedSignal.emit();
      };
      const abort = (): void => {
        end();
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", abort);
      const decide = (decision: string): void => {
        end();
        resolve(decision);
      };
      this.waiting = [...this.waiting, { id, question, decide }];
      this.changedSignal.emit();
    });
  }
}
