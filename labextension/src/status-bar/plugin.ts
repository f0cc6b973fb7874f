/** The item of the status bar, and the commands of its menu. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette } from "@jupyterlab/apputils";
import { INotebookTracker } from "@jupyterlab/notebook";
import { IStatusBar } from "@jupyterlab/statusbar";
import { Commands } from "../base/command-ids";
import { KernelServer } from "../kernel/kernel-server";
import { IMlxServer } from "../server/plugin";
import { addModelCommands } from "./model-commands";
import { StatusItem } from "./status-item";

export const statusBarPlugin: JupyterFrontEndPlugin<void> = {
  id: "mlx-notebook:status-bar",
  description: "Shows the model, its state, speed and memory in the status bar.",
  autoStart: true,
  requires: [IMlxServer],
  optional: [IStatusBar, ICommandPalette, INotebookTracker],
  activate: (
    app: JupyterFrontEnd,
    server: IMlxServer,
    statusBar: IStatusBar | null,
    palette: ICommandPalette | null,
    notebooks: INotebookTracker | null,
  ): void => {
    addModelCommands(app, server, palette);
    const kernel = new KernelServer(notebooks);
    const item = new StatusItem(server, app.commands, () => kernel.remark);
    kernel.changed.connect(() => item.draw());
    app.commands.addCommand(Commands.about, {
      label: () => item.details,
      describedBy: { args: { type: "object", properties: {} } },
      isEnabled: () => false,
      execute: () => undefined,
    });
    statusBar?.registerStatusItem("mlx-notebook:status-bar", {
      item,
      align: "right",
      rank: 200,
      // JupyterLab takes items without it away from a narrow page.
      priority: 1,
    });
  },
};
