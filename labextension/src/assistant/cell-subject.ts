/** What a question about the active cell is about. */

import type { Cell, CodeCell } from "@jupyterlab/cells";
import { NotebookActions, type NotebookPanel } from "@jupyterlab/notebook";
import { languageOf } from "../base/cell-text";
import { cellsBefore } from "../base/notebook-cells";
import type { Settings } from "../base/settings";
import type { Proposal } from "./change-card";
import { commonIndent, reindent, wholeLines } from "./code-of-answer";
import { errorOf } from "./error-bars";
import { plainTraceback, type Subject, type Task } from "./tasks";

/** The selected lines of a cell; the whole cell if nothing is selected. */
function selectedLines(cell: Cell, isWhole: boolean): { start: number; end: number } {
  const text = cell.model.sharedModel.getSource();
  const { editor } = cell;
  if (isWhole || editor === null) return { start: 0, end: text.length };
  const { start, end } = editor.getSelection();
  const [one, other] = [editor.getOffsetAt(start), editor.getOffsetAt(end)];
  if (one === other) return { start: 0, end: text.length };
  return wholeLines(text, Math.min(one, other), Math.max(one, other));
}

export interface Asked {
  subject: Subject;
  proposal: Proposal;
  mimeType: string;
}

/** Read a cell for a task, and say how a change of it is written. */
export function askedOf(
  panel: NotebookPanel,
  cell: CodeCell,
  task: Task,
  { contextTokens }: Settings,
): Asked {
  const { model } = cell;
  const before = model.sharedModel.getSource();
  const { start, end } = selectedLines(cell, task.isAboutError);
  const code = before.slice(start, end);
  const indent = commonIndent(code);
  const error = errorOf(cell);
  const subject: Subject = {
    code: code.replace(new RegExp(`^${indent}`, "gm"), ""),
    language: languageOf(model.mimeType, before) ?? "python",
    cells: cellsBefore(panel, cell),
    error: error ? plainTraceback(error.traceback) || `${error.ename}: ${error.evalue}` : "",
    tokens: contextTokens,
  };
  const proposal =
    task.result === "new cell"
      ? newCell(panel, cell)
      : change(panel, cell, before, (answer) => {
          return before.slice(0, start) + reindent(answer, indent) + before.slice(end);
        });
  return { subject, proposal, mimeType: model.mimeType };
}

/** A change of a cell, which can be undone like any other edit. */
export function change(
  panel: NotebookPanel,
  cell: CodeCell,
  before: string,
  whole: (answer: string) => string,
): Proposal {
  return {
    before,
    isNew: false,
    whole,
    keep: (after) => {
      const { sharedModel } = cell.model;
      if (cell.isDisposed) throw new Error("The cell is gone.");
      if (sharedModel.getSource() !== before)
        throw new Error("The cell has been edited since. Discard this and ask again.");
      sharedModel.updateSource(0, before.length, after);
      activate(panel, cell);
    },
    run: () => void NotebookActions.run(panel.content, panel.sessionContext),
  };
}

/** A new cell below another one. */
export function newCell(panel: NotebookPanel, cell: Cell): Proposal {
  const { content } = panel;
  return {
    before: "",
    isNew: true,
    whole: (code) => code,
    keep: (after) => {
      const at = content.widgets.indexOf(cell) + 1;
      if (at === 0 || content.model === null) throw new Error("The cell is gone.");
      content.model.sharedModel.insertCell(at, { cell_type: "code", source: after, metadata: {} });
      content.activeCellIndex = at;
      content.deselectAll();
    },
    run: () => void NotebookActions.run(content, panel.sessionContext),
  };
}

function activate({ content }: NotebookPanel, cell: CodeCell): void {
  content.activeCellIndex = content.widgets.indexOf(cell);
  content.deselectAll();
}
