/** The chat in the right sidebar. */

import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin,
} from "@jupyterlab/application";
import { ICommandPalette } from "@jupyterlab/apputils";
import { IEditorLanguageRegistry } from "@jupyterlab/codemirror";
import { INotebookTracker } from "@jupyterlab/notebook";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { CATEGORY, Commands } from "../base/command-ids";
import { chatIcon } from "../base/icons";
import { safeRegistry } from "../base/markdown-view";
import { IMlxServer } from "../server/plugin";
import { IMlxChat } from "./chat-seam";
import { ChatWidget } from "./chat-widget";
import { codeActions } from "./code-actions";

const NARROW_PIXELS = 640;

export const chatPlugin: JupyterFrontEndPlugin<IMlxChat> = {
  id: "mlx-notebook:chat",
  description: "Chats about the notebook in the sidebar.",
  autoStart: true,
  requires: [IMlxServer, INotebookTracker, IRenderMimeRegistry, IEditorLanguageRegistry],
  optional: [ICommandPalette, ILayoutRestorer, ILabShell],
  provides: IMlxChat,
  activate: (
    app: JupyterFrontEnd,
    server: IMlxServer,
    notebooks: INotebookTracker,
    renderers: IRenderMimeRegistry,
    languages: IEditorLanguageRegistry,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    labShell: ILabShell | null,
  ): IMlxChat => {
    const chat = new ChatWidget(
      server,
      notebooks,
      app.serviceManager.contents,
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
      execute: () => {
        // Both sidebars have no room there.
        if (window.innerWidth < NARROW_PIXELS) labShell?.collapseLeft();
        app.shell.activateById(chat.id);
      },
    });
    palette?.addItem({ command: Commands.chat, category: CATEGORY, args: { isPalette: true } });
    return chat;
  },
};
