/** The agent: a mode of the chat that works on the notebook, with tools that a person allows. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette } from "@jupyterlab/apputils";
import { IEditorLanguageRegistry } from "@jupyterlab/codemirror";
import { PathExt } from "@jupyterlab/coreutils";
import { INotebookTracker, type NotebookPanel } from "@jupyterlab/notebook";
import { CATEGORY, Commands } from "../base/command-ids";
import { type ChatTurn, IMlxChat } from "../chat/chat-seam";
import { IMlxServer } from "../server/plugin";
import { AgentTurn, CHANGE, PLAN } from "./agent-turn";
import { PermissionList } from "./permission-list";
import { ASKED_KINDS, Permissions } from "./permissions";
import { LabRunner } from "./tools/lab-runner";
import { Toolbox } from "./tools/toolbox";
import { changeView, planView, UNDO, UndoableTurns } from "./turn-blocks";

// Of what a question may use, one result of a tool may take a part.
const RESULT_PART = 1 / 2;
// Of what a model can read, the tools and what is written beside the messages take the rest.
const MESSAGES_PART = 3 / 4;

const MODE = "agent";

export const agentPlugin: JupyterFrontEndPlugin<void> = {
  id: "mlx-notebook:agent",
  description: "Works on the notebook with tools that a person allows.",
  autoStart: true,
  requires: [IMlxServer, IMlxChat, INotebookTracker, IEditorLanguageRegistry],
  optional: [ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    { settings, watcher }: IMlxServer,
    chat: IMlxChat,
    notebooks: INotebookTracker,
    languages: IEditorLanguageRegistry,
    palette: ICommandPalette | null,
  ): void => {
    const permissions = new PermissionsOfNotebooks();
    const undoable = new UndoableTurns();
    const list = new PermissionList();
    const showPermissions = (): void => {
      const { currentWidget: panel } = notebooks;
      list.show(panel === null ? undefined : permissions.of(panel));
    };
    notebooks.currentChanged.connect(showPermissions);
    showPermissions();
    chat.addBlock(PLAN, planView);
    chat.addBlock(CHANGE, () => changeView(languages));
    chat.addBlock(UNDO, () => undoable.view());
    const answer = async (turn: ChatTurn): Promise<void> => {
      const { panel } = turn;
      const notebook = panel?.content.model?.sharedModel;
      if (panel === null || notebook === undefined) throw new Error("Open a notebook first.");
      const resultTokens = settings.contextTokens * RESULT_PART;
      const tools = new Toolbox(
        notebook,
        new LabRunner(panel, settings),
        resultTokens,
        () => panel.content.activeCell?.model.id,
      );
      const agent = new AgentTurn(turn, tools, permissions.of(panel), {
        steps: settings.agentSteps,
        isPlanned: settings.agentPlan,
        notebook: PathExt.basename(panel.context.path),
        room: () => {
          const { models = [], default_model } = watcher.status ?? {};
          const model = models.find(({ id }) => id === (settings.model || default_model));
          return model && model.context_length * MESSAGES_PART - settings.maxTokens;
        },
        reveal: (at) => void panel.content.scrollToItem(at, "auto"),
      });
      try {
        await agent.run();
      } finally {
        if (tools.changes) turn.put(undoable.add(tools.changes));
      }
    };
    chat.addMode({
      name: MODE,
      label: "Agent",
      description: "Reads, changes and runs cells step by step, after you have allowed it.",
      controls: list.node,
      answer,
    });
    app.commands.addCommand(Commands.agent, {
      label: "Work on the Notebook with the Agent",
      describedBy: { args: { type: "object", properties: {} } },
      execute: () => {
        chat.choose(MODE);
        return app.commands.execute(Commands.chat);
      },
    });
    app.commands.addCommand(Commands.revoke, {
      label: "Take Back What the Agent May Do in This Notebook",
      describedBy: { args: { type: "object", properties: {} } },
      isEnabled: () => notebooks.currentWidget !== null,
      execute: () => {
        const { currentWidget: panel } = notebooks;
        if (panel) for (const { kind } of ASKED_KINDS) permissions.of(panel).revoke(kind);
      },
    });
    for (const command of [Commands.agent, Commands.revoke])
      palette?.addItem({ command, category: CATEGORY });
  },
};

/** The permissions of each open notebook. They end when it is closed. */
class PermissionsOfNotebooks {
  private readonly known = new WeakMap<NotebookPanel["context"], Permissions>();

  of({ context }: NotebookPanel): Permissions {
    const found = this.known.get(context) ?? new Permissions();
    this.known.set(context, found);
    return found;
  }
}
