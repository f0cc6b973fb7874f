/**
 * The other end of a panel's script: what its kernel is in a notebook, and the page itself here.
 *
 * The scripts in `mlx_notebook/panels` expect a model of a widget: its state, and messages. A call
 * of a button gets `accepted`, then `reply`.
 */

import { sentenceOf } from "../server/request-error";
import type { Fields } from "./panel-fields";

export type Action = (args: Record<string, unknown>, signal: AbortSignal) => Promise<unknown>;
type Listener = (message?: unknown) => void;

const HEARTBEAT_SECONDS = 10;

interface Message {
  get_state?: string;
  call?: string;
  method?: string;
  args?: Record<string, unknown>;
  stop?: string;
}

export class PanelModel {
  private readonly listeners = new Map<string, Set<Listener>>();
  private readonly fields: Fields;
  private readonly running = new Map<string, AbortController>();
  private readonly heartbeat = setInterval(
    () => this.emit("msg:custom", { heartbeat: HEARTBEAT_SECONDS }),
    HEARTBEAT_SECONDS * 1000,
  );

  constructor(
    private readonly actions: Record<string, Action>,
    fixed: Fields = {},
    /** The views of panels inside of this one. */
    readonly widget_manager?: unknown,
    /** What the page adds to the panel; a panel in a notebook has none. */
    readonly host?: unknown,
  ) {
    this.fields = { state: {}, shown_as: "", ...fixed };
  }

  get(name: string): unknown {
    return this.fields[name];
  }

  set(name: string, value: unknown): void {
    this.fields[name] = value;
    this.emit(`change:${name}`);
  }

  on(event: string, listener: Listener): void {
    const known = this.listeners.get(event) ?? new Set();
    this.listeners.set(event, known.add(listener));
  }

  off(event: string, listener: Listener): void {
    this.listeners.get(event)?.delete(listener);
  }

  /** Take a message of the panel's script. */
  send(message: Message): void {
    if (message.get_state !== undefined) this.emit("msg:custom", { state: this.get("state") });
    if (message.stop !== undefined) this.running.get(message.stop)?.abort();
    if (message.call !== undefined) void this.call(message.call, message);
  }

  /** Show other fields. */
  show(state: Fields): void {
    this.set("state", state);
  }

  dispose(): void {
    clearInterval(this.heartbeat);
    for (const controller of this.running.values()) controller.abort();
    this.listeners.clear();
  }

  private async call(id: string, { method = "", args = {} }: Message): Promise<void> {
    const controller = new AbortController();
    this.running.set(id, controller);
    this.emit("msg:custom", { accepted: id });
    try {
      const action = this.actions[method];
      if (action === undefined) throw new Error(`This tab cannot do ${method}.`);
      const result = await action(args, controller.signal);
      this.emit("msg:custom", { reply: id, result });
    } catch (error) {
      const said = controller.signal.aborted ? "Stopped." : sentenceOf(error);
      this.emit("msg:custom", { reply: id, error: said });
    } finally {
      this.running.delete(id);
    }
  }

  private emit(event: string, message?: unknown): void {
    for (const listener of [...(this.listeners.get(event) ?? [])]) listener(message);
  }
}
