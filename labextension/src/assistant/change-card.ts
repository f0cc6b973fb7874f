/** A change of a cell, side by side. Only a button writes it into the notebook. */

import type { Cell } from "@jupyterlab/cells";
import { button } from "../base/elements";
import { plural } from "../base/units";
import { CellCard, CUT } from "./cell-card";
import type { CodeDiff } from "./code-diff";
import { codeOfAnswer, hasCodeBlock } from "./code-of-answer";

export interface Proposal {
  /** The cell's code when the model was asked; empty for a new cell. */
  before: string;
  /** Whether it becomes a new cell. */
  isNew: boolean;
  /** Return the cell's new code for the code of the answer. */
  whole: (code: string) => string;
  /** Write the new code into the notebook; return what was done, or throw. */
  keep: (after: string) => void;
  /** Run the cell that `keep` has written. */
  run: () => void;
}

export class ChangeCard extends CellCard {
  private after = "";
  private hasBlock = false;

  constructor(
    cell: Cell,
    title: string,
    private readonly diff: CodeDiff,
    private readonly proposal: Proposal,
  ) {
    super(cell, title);
    // Without a proposal all of the present code would look removed.
    diff.node.hidden = true;
    this.node.append(diff.node);
  }

  override dispose(): void {
    if (this.isDisposed) return;
    super.dispose();
    this.diff.dispose();
  }

  protected override grow(text: string): void {
    const code = codeOfAnswer(text);
    if (!code) return;
    this.hasBlock = hasCodeBlock(text);
    this.after = this.proposal.whole(code);
    this.diff.node.hidden = false;
    this.diff.show(this.after);
  }

  protected override finish(problem: string): void {
    const isChange = this.after.trim() !== "" && this.after !== this.proposal.before;
    this.say(problem || this.outcome(isChange));
    if (isChange && !problem) {
      this.buttons.append(
        button("Keep", () => this.apply(false), { class: "mlx-lab-button mlx-lab-main" }),
        button("Run", () => this.apply(true), { title: "Keep the change and run the cell" }),
        button("Discard", () => this.close()),
      );
    } else this.buttons.append(button("Close", () => this.close()));
  }

  private outcome(isChange: boolean): string {
    if (!isChange) {
      if (this.isCut) return CUT;
      return this.after ? "The model changes nothing." : "The model has written no code.";
    }
    let what = `${plural(this.diff.changes, "change")}.`;
    if (this.isCut) what = CUT;
    else if (!this.hasBlock) what = "The model has marked no code. This is its whole answer.";
    else if (this.proposal.isNew) what = "A new cell below.";
    return `${what} Nothing is written yet.`;
  }

  private apply(isRun: boolean): void {
    try {
      this.proposal.keep(this.after);
    } catch (error) {
      this.say(error instanceof Error ? error.message : String(error));
      return;
    }
    this.dispose();
    if (isRun) this.proposal.run();
  }
}
