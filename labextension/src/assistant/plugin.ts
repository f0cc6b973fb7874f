/** Commands about the active cell, its selection, and its error. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette, InputDialog } from "@jupyterlab/apputils";
import { CodeCell } from "@jupyterlab/cells";
import { IEditorLanguageRegistry } from "@jupyterlab/codemirror";
import { INotebookTracker, type NotebookPanel } from "@jupyterlab/notebook";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { CATEGORY } from "../base/command-ids";
import { safeRegistry } from "../base/markdown-view";
import { tell, tellError } from "../base/notify";
import { questionOf, streamAnswer } from "../server/answer-stream";
import { IMlxServer } from "../server/plugin";
import { AnswerCard } from "./answer-card";
import { askedOf } from "./cell-subject";
import { ChangeCard } from "./change-card";
import { CodeDiff } from "./code-diff";
import { commandOf } from "./command-of";
import { ErrorBars, errorOf } from "./error-bars";
import { messagesOf, TASKS, type Task } from "./tasks";

export const assistantPlugin: JupyterFrontEndPlugin<void> = {
  id: "mlx-notebook:assistant",
  description: "Explains and changes cells, and helps with errors.",
  autoStart: true,
  requires: [IMlxServer, INotebookTracker, IRenderMimeRegistry, IEditorLanguageRegistry],
  optional: [ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    { client, settings }: IMlxServer,
    notebooks: INotebookTracker,
    renderers: IRenderMimeRegistry,
    languages: IEditorLanguageRegistry,
    palette: ICommandPalette | null,
  ): void => {
    const registry = safeRegistry(renderers);
    const help = async (task: Task, panel: NotebookPanel, cell: CodeCell): Promise<void> => {
      if (task.isAboutError && errorOf(cell) === undefined) {
        tell("This cell shows no error.");
        return;
      }
      const wish = task.instruction ? "" : await askForWish();
      if (wish === undefined) return;
      const { subject, proposal, mimeType } = askedOf(panel, cell, task, settings);
      const title = wish ? `Change: ${wish}` : task.label;
      const card =
        task.result === "answer"
          ? new AnswerCard(cell, title, registry)
          : new ChangeCard(
              cell,
              title,
              await CodeDiff.create(proposal.before, mimeType, languages),
              proposal,
            );
      const question = questionOf(messagesOf(task, subject, wish), settings);
      await card.run(streamAnswer(client, question, card.signal));
    };
    for (const task of TASKS) {
      app.commands.addCommand(commandOf(task.name), {
        label: task.label,
        describedBy: { args: { type: "object", properties: {} } },
        isEnabled: () => notebooks.activeCell instanceof CodeCell,
        execute: async () => {
          const { currentWidget: panel, activeCell: cell } = notebooks;
          if (panel === null || !(cell instanceof CodeCell)) return;
          await help(task, panel, cell).catch(tellError);
        },
      });
      palette?.addItem({ command: commandOf(task.name), category: CATEGORY });
    }
    new ErrorBars(notebooks, app.commands);
  },
};

async function askForWish(): Promise<string | undefined> {
  const answer = await InputDialog.getText({
    title: "Change This Code",
    label: "What should change?",
    okLabel: "Ask the model",
  });
  return answer.button.accept && answer.value?.trim() ? answer.value.trim() : undefined;
}
