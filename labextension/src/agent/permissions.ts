/** What the agent may do in one notebook without asking again. */

import { type ISignal, Signal } from "@lumino/signaling";

/** What a tool does: reads, changes cells, or runs code. */
export type ActionKind = "read" | "change" | "run";
/** What a person is asked about. Reading is allowed. */
export type AskedKind = Exclude<ActionKind, "read">;

export const ASKED_KINDS: readonly { kind: AskedKind; label: string }[] = [
  { kind: "change", label: "change cells" },
  { kind: "run", label: "run code" },
];

/** Permissions last as long as the notebook is open in this page. They are written nowhere. */
export class Permissions {
  private readonly given = new Set<AskedKind>();
  private readonly changedSignal = new Signal<this, void>(this);

  get changed(): ISignal<this, void> {
    return this.changedSignal;
  }

  has(kind: ActionKind): boolean {
    return kind === "read" || this.given.has(kind);
  }

  allow(kind: AskedKind): void {
    this.given.add(kind);
    this.changedSignal.emit();
  }

  revoke(kind: AskedKind): void {
    this.given.delete(kind);
    this.changedSignal.emit();
  }
}
