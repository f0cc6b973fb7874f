/** A card inside of a cell, below its outputs, in which an answer grows. */

import type { Cell } from "@jupyterlab/cells";
import type { PanelLayout } from "@lumino/widgets";
import { Widget } from "@lumino/widgets";
import { button, claimKeys, element } from "../base/elements";
import type { Answer } from "../server/answer-stream";
import { sentenceOf } from "../server/request-error";

export const CUT = "The answer has reached the longest length of the settings: it is not complete.";

/** The card of a cell, of which there is one at a time. */
const shown = new WeakMap<Cell, CellCard>();

export abstract class CellCard extends Widget {
  protected readonly status = element("span", { role: "status", class: "mlx-lab-card-status" });
  protected readonly buttons = element("div", { class: "mlx-lab-row" });
  protected readonly stopping = new AbortController();
  /** Whether the answer has ended because it may not be longer. */
  protected isCut = false;
  private readonly stopButton = button("Stop", () => this.stopping.abort());

  constructor(
    protected readonly cell: Cell,
    title: string,
  ) {
    super();
    this.addClass("mlx-lab-card");
    this.node.setAttribute("role", "region");
    this.node.setAttribute("aria-label", title);
    this.node.append(
      element("div", { class: "mlx-lab-row" }, element("b", {}, title), this.status),
    );
    claimKeys(this.node);
    this.node.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  /** Show the card in its cell, in place of the one before, and the answer in it. */
  async run(answers: AsyncGenerator<Answer>): Promise<void> {
    shown.get(this.cell)?.dispose();
    shown.set(this.cell, this);
    const layout = this.cell.layout as PanelLayout;
    layout.insertWidget(layout.widgets.length - 1, this);
    this.buttons.append(this.stopButton);
    this.node.append(this.buttons);
    this.say("Waiting for the model …");
    this.stopButton.focus();
    this.node.scrollIntoView({ block: "nearest" });
    let problem = "";
    try {
      for await (const answer of answers) {
        this.isCut = answer.finish === "length";
        if (answer.isReasoning) this.say("The model reasons …");
        else if (answer.text) {
          this.say("The model writes …");
          await this.grow(answer.text);
        }
      }
    } catch (error) {
      problem = this.stopping.signal.aborted ? "Stopped." : sentenceOf(error);
    }
    if (this.isDisposed) return;
    const hadFocus = this.node.contains(document.activeElement);
    this.stopButton.remove();
    this.finish(problem);
    if (hadFocus) this.buttons.querySelector("button")?.focus();
  }

  get signal(): AbortSignal {
    return this.stopping.signal;
  }

  override dispose(): void {
    if (this.isDisposed) return;
    this.stopping.abort();
    if (shown.get(this.cell) === this) shown.delete(this.cell);
    const hadFocus = this.node.contains(document.activeElement);
    super.dispose();
    // The notebook goes on with the keyboard where it was.
    if (hadFocus && !this.cell.isDisposed)
      this.cell.node.closest<HTMLElement>(".jp-Notebook")?.focus();
  }

  override close(): void {
    this.dispose();
  }

  protected say(text: string): void {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  /** Show the answer as far as it is written. */
  protected abstract grow(text: string): void | Promise<void>;

  /** Show what can be done with the answer, or why there is none. */
  protected abstract finish(problem: string): void;
}
