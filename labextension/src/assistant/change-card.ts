/** A change of a cell, side by side. Only a button writes it into the notebook. */

import type { Cell } from "@jupyterlab/cells";
import { button } from "../base/elements";
import { plural } from "../base/units";
import { CellCard } from "./cell-card";
import type { CodeDiff } from "./code-diff";
import { codeOfAnswer, hasCodeBlock } from "./code-of-answer";

export interface Proposal {
  /** The cell's code when the model was asked; empty for a new cell. */
  before: string;
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
    this.diff.show(this.after);
  }

  protected override finish(problem: string): void {
    const { before } = this.proposal;
    const isChange = this.after.trim() !== "" && this.after !== before;
    if (problem) this.say(problem);
    else if (!this.after) this.say("The model has written no code.");
    else if (isChange && !this.hasBlock)
      this.say("The model has marked no code. This is its whole answer. Nothing is written yet.");
    else if (isChange) this.say(`${plural(this.diff.changes, "change")}. Nothing is written yet.`);
    else this.say("The model changes nothing.");
    if (isChange && !problem) {
      this.buttons.append(
        button("Keep", () => this.apply(false), { class: "mlx-lab-button mlx-lab-main" }),
        button("Run", () => this.apply(true), { title: "Keep the change and run the cell" }),
        button("Discard", () => this.close()),
      );
    } else this.buttons.append(button("Close", () => this.close()));
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
