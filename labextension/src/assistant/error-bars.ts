/** Two buttons below each traceback: Explain and Fix. */

import { type Cell, CodeCell } from "@jupyterlab/cells";
import type { IError } from "@jupyterlab/nbformat";
import type { INotebookTracker, NotebookPanel } from "@jupyterlab/notebook";
import type { CommandRegistry } from "@lumino/commands";
import type { PanelLayout } from "@lumino/widgets";
import { Widget } from "@lumino/widgets";
import { button, claimKeys, element } from "../base/elements";
import { commandOf } from "./command-of";

/** The error among a cell's outputs, if there is one. */
export function errorOf(cell: Cell): IError | undefined {
  // While cells are deleted, some are listed that have no outputs any more.
  if (!(cell instanceof CodeCell) || cell.model.isDisposed) return undefined;
  const { outputs } = cell.model;
  for (let at = 0; at < outputs.length; at += 1) {
    const output = outputs.get(at).toJSON();
    if (output.output_type === "error") return output as IError;
  }
  return undefined;
}

/** A cell that is a question to a model has no code to be mended. */
const isQuestion = (cell: Cell): boolean =>
  /^\s*%%?(chat|mlx)\b/.test(cell.model.sharedModel.getSource());

class ErrorBar extends Widget {
  constructor(name: string, run: (task: "explain-error" | "fix-error") => void) {
    super();
    this.addClass("mlx-lab-error-bar");
    this.node.setAttribute("role", "group");
    this.node.setAttribute("aria-label", `Help with the error ${name}`);
    this.node.append(
      element("span", {}, name),
      button("Explain", () => run("explain-error")),
      button("Fix", () => run("fix-error")),
    );
    claimKeys(this.node);
  }
}

export class ErrorBars {
  private readonly bars = new WeakMap<CodeCell, ErrorBar>();

  constructor(
    notebooks: INotebookTracker,
    private readonly commands: CommandRegistry,
  ) {
    notebooks.widgetAdded.connect((_, panel) => void this.watch(panel));
    notebooks.forEach((panel) => void this.watch(panel));
  }

  private async watch(panel: NotebookPanel): Promise<void> {
    await panel.context.ready;
    const { content } = panel;
    const seen = new WeakSet<Cell>();
    const scan = (): void => {
      for (const cell of content.widgets) {
        if (seen.has(cell) || !(cell instanceof CodeCell)) continue;
        seen.add(cell);
        const update = (): void => this.update(panel, cell);
        cell.model.outputs.changed.connect(update);
        void cell.ready.then(update);
      }
    };
    // A cell's widget is made after the model has changed.
    content.model?.cells.changed.connect(() => requestAnimationFrame(scan));
    scan();
  }

  private update(panel: NotebookPanel, cell: CodeCell): void {
    if (cell.isDisposed) return;
    const error = isQuestion(cell) ? undefined : errorOf(cell);
    const bar = this.bars.get(cell);
    if (error === undefined) {
      bar?.dispose();
      this.bars.delete(cell);
      return;
    }
    if (bar && !bar.isDisposed) return;
    const added = new ErrorBar(error.ename, (task) => {
      // The commands are about the active cell.
      panel.content.activeCellIndex = panel.content.widgets.indexOf(cell);
      void this.commands.execute(commandOf(task));
    });
    this.bars.set(cell, added);
    const layout = cell.layout as PanelLayout;
    layout.insertWidget(layout.widgets.length - 1, added);
  }
}
