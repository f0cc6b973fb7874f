/** The chat in the right sidebar, and what its code blocks can do to the notebook. */

import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin,
} from "@jupyterlab/application";
import { ICommandPalette } from "@jupyterlab/apputils";
import { CodeCell } from "@jupyterlab/cells";
import { IEditorLanguageRegistry } from "@jupyterlab/codemirror";
import { INotebookTracker } from "@jupyterlab/notebook";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { change, newCell } from "../assistant/cell-subject";
import { ChangeCard } from "../assistant/change-card";
import { CodeDiff } from "../assistant/code-diff";
import { fenced } from "../assistant/tasks";
import { CATEGORY, Commands } from "../base/command-ids";
import { chatIcon } from "../base/icons";
import { safeRegistry } from "../base/markdown-view";
import { type Answer, emptyAnswer } from "../server/answer-stream";
import { IMlxServer } from "../server/plugin";
import type { CodeAction } from "./chat-entry";
import { ChatWidget } from "./chat-widget";

export const chatPlugin: JupyterFrontEndPlugin<void> = {
  id: "mlx-notebook:chat",
  description: "Chats about the notebook in the sidebar.",
  autoStart: true,
  requires: [IMlxServer, INotebookTracker, IRenderMimeRegistry, IEditorLanguageRegistry],
  optional: [ICommandPalette, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    server: IMlxServer,
    notebooks: INotebookTracker,
    renderers: IRenderMimeRegistry,
    languages: IEditorLanguageRegistry,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
  ): void => {
    const chat = new ChatWidget(
      server,
      notebooks,
      safeRegistry(renderers),
      codeActions(notebooks, languages),
    );
    chat.id = "mlx-notebook-chat";
    chat.title.icon = chatIcon;
    chat.title.caption = "Chat with the model";
    app.shell.add(chat, "right", { rank: 600, type: "Chat" });
    restorer?.add(chat, chat.id);
    app.commands.addCommand(Commands.chat, {
      label: "Chat with the Model",
      icon: ({ isPalette }) => (isPalette ? undefined : chatIcon),
      describedBy: { args: { type: "object", properties: {} } },
      execute: () => app.shell.activateById(chat.id),
    });
    palette?.addItem({ command: Commands.chat, category: CATEGORY, args: { isPalette: true } });
  },
};

function codeActions(
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
  ];
}

/** An answer that is written already. */
async function* written(code: string): AsyncGenerator<Answer> {
  yield await Promise.resolve({ ...emptyAnswer(), text: fenced(code) });
}
