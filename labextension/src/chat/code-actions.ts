/** What the chat does with a block of code: into a new cell, into this cell, or run it. */

import { CodeCell } from "@jupyterlab/cells";
import type { IEditorLanguageRegistry } from "@jupyterlab/codemirror";
import type { INotebookTracker } from "@jupyterlab/notebook";
import { change, newCell } from "../assistant/cell-subject";
import { ChangeCard } from "../assistant/change-card";
import { CodeDiff } from "../assistant/code-diff";
import { fenced } from "../assistant/tasks";
import { type Answer, emptyAnswer } from "../server/answer-stream";
import type { CodeAction } from "./chat-widget";

export function codeActions(
  notebooks: INotebookTracker,
  languages: IEditorLanguageRegistry,
): CodeAction[] {
  const front = () => {
    const { currentWidget: panel, activeCell: cell } = notebooks;
    if (panel === null || cell === null) throw new Error("Open a notebook first.");
    return { panel, cell };
  };
  return [
    {
      label: "Insert below",
      name: "Insert the code below this cell",
      run: (code) => {
        const { panel, cell } = front();
        newCell(panel, cell).keep(code);
        return "Inserted below.";
      },
    },
    {
      label: "Replace cell",
      name: "Replace this cell by the code, after a look at the changes",
      run: async (code) => {
        const { panel, cell } = front();
        if (!(cell instanceof CodeCell)) throw new Error("Choose a code cell first.");
        const before = cell.model.sharedModel.getSource();
        const diff = await CodeDiff.create(before, cell.model.mimeType, languages);
        const card = new ChangeCard(
          cell,
          "Replace the Cell",
          diff,
          change(panel, cell, before, (answer) => answer),
        );
        await card.run(written(code));
        return "Look at the changes in the notebook.";
      },
    },
    {
      label: "Run",
      name: "Run the code in a new cell below this one",
      run: (code) => {
        const { panel, cell } = front();
        const below = newCell(panel, cell);
        below.keep(code);
        below.run();
        return "It runs in a new cell below.";
      },
    },
  ];
}

/** An answer that is written already. */
async function* written(code: string): AsyncGenerator<Answer> {
  yield await Promise.resolve({ ...emptyAnswer(), text: fenced(code) });
}
