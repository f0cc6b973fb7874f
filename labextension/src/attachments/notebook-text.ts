/** The notebook in front as text. */

import type { INotebookTracker } from "@jupyterlab/notebook";
import { errorOf } from "../assistant/error-bars";
import { plainTraceback } from "../assistant/tasks";
import { languageOf } from "../base/cell-text";
import type { NotebookText } from "./token-budget";

export function notebookText({ currentWidget, activeCell }: INotebookTracker): NotebookText {
  if (currentWidget === null) return { language: "python", cells: [] };
  const { content } = currentWidget;
  const mimeType = activeCell?.model.type === "code" ? activeCell.model.mimeType : "";
  return {
    language: languageOf(mimeType, "") ?? "python",
    cells: content.widgets.flatMap((cell) => {
      const cell_type = cell.model.type;
      if (cell_type !== "code" && cell_type !== "markdown") return [];
      const error = errorOf(cell);
      return [
        {
          text: cell.model.sharedModel.getSource(),
          cell_type,
          isActive: cell === activeCell,
          isSelected: content.isSelectedOrActive(cell),
          error: error ? plainTraceback(error.traceback) : "",
        },
      ];
    }),
  };
}
