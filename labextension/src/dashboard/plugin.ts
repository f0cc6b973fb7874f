/** The dashboard: a tab, a tile of the launcher, a command. */

import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin,
} from "@jupyterlab/application";
import { ICommandPalette, MainAreaWidget, WidgetTracker } from "@jupyterlab/apputils";
import { ILauncher } from "@jupyterlab/launcher";
import { CATEGORY, Commands } from "../base/command-ids";
import { modelIcon } from "../base/icons";
import { IMlxServer } from "../server/plugin";
import { DashboardWidget } from "./dashboard-widget";

const LABEL = "Model Dashboard";

export const dashboardPlugin: JupyterFrontEndPlugin<void> = {
  id: "mlx-notebook:dashboard",
  description: "Shows the models and the activity of the server in a tab.",
  autoStart: true,
  requires: [IMlxServer],
  optional: [ICommandPalette, ILauncher, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    server: IMlxServer,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    restorer: ILayoutRestorer | null,
  ): void => {
    const tracker = new WidgetTracker<MainAreaWidget<DashboardWidget>>({
      namespace: "mlx-notebook-dashboard",
    });
    app.commands.addCommand(Commands.dashboard, {
      label: ({ isPalette }) => (isPalette ? "Open the Model Dashboard" : LABEL),
      caption: "Show the models, the memory and the activity of mlx-notebook",
      icon: ({ isPalette }) => (isPalette ? undefined : modelIcon),
      describedBy: { args: { type: "object", properties: {} } },
      execute: () => {
        let shown = tracker.currentWidget;
        if (shown === null || shown.isDisposed) {
          shown = new MainAreaWidget({ content: new DashboardWidget(server) });
          shown.id = "mlx-notebook-dashboard";
          shown.title.label = LABEL;
          shown.title.icon = modelIcon;
          shown.title.closable = true;
          void tracker.add(shown);
        }
        // A page of Notebook 7 holds one document, and has room at its side.
        const area = app.name === "JupyterLab" ? "main" : "right";
        if (!shown.isAttached) app.shell.add(shown, area);
        app.shell.activateById(shown.id);
      },
    });
    palette?.addItem({
      command: Commands.dashboard,
      category: CATEGORY,
      args: { isPalette: true },
    });
    launcher?.add({ command: Commands.dashboard, category: "Other", rank: 10 });
    if (restorer) {
      void restorer.restore(tracker, { command: Commands.dashboard, name: () => "dashboard" });
    }
  },
};
