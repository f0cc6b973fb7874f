/** An explanation below a cell. */

import type { Cell } from "@jupyterlab/cells";
import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { button } from "../base/elements";
import { MarkdownView } from "../base/markdown-view";
import { CellCard, CUT } from "./cell-card";

export class AnswerCard extends CellCard {
  private readonly view: MarkdownView;

  constructor(cell: Cell, title: string, registry: IRenderMimeRegistry) {
    super(cell, title);
    this.view = new MarkdownView(registry);
    this.node.append(this.view.node);
  }

  protected override grow(text: string): void {
    void this.view.show(text);
  }

  protected override finish(problem: string): void {
    this.say(problem || (this.isCut ? CUT : ""));
    this.buttons.append(button("Close", () => this.close()));
  }
}
