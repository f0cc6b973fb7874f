/** The cells of a notebook as text. */

import type { Cell } from "@jupyterlab/cells";
import type { NotebookPanel } from "@jupyterlab/notebook";
import type { CellText } from "./cell-text";

/** The cells before one, without outputs. */
export function cellsBefore(panel: NotebookPanel, cell: Cell): CellText[] {
  const { widgets } = panel.content;
  return widgets.slice(0, widgets.indexOf(cell)).flatMap(({ model }) => {
    const cell_type = model.type;
    if (cell_type !== "code" && cell_type !== "markdown") return [];
    return [{ text: model.sharedModel.getSource(), cell_type }];
  });
}
