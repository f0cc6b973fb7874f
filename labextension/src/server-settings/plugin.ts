/** The server's own settings in JupyterLab's settings editor, and the command that opens it. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette } from "@jupyterlab/apputils";
import { IFormRendererRegistry } from "@jupyterlab/ui-components";
import { createElement } from "react";
import { CATEGORY, Commands } from "../base/command-ids";
import { IMlxServer, serverPlugin } from "../server/plugin";
import { SettingsForm } from "./settings-form";

const EDITOR = "settingeditor:open";

export const serverSettingsPlugin: JupyterFrontEndPlugin<void> = {
  id: "mlx-notebook:server-settings",
  description: "Shows the server's own settings in the settings editor.",
  autoStart: true,
  requires: [IMlxServer],
  optional: [IFormRendererRegistry, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    { client }: IMlxServer,
    forms: IFormRendererRegistry | null,
    palette: ICommandPalette | null,
  ): void => {
    // React calls it again with null when it removes the element.
    const fill = (place: HTMLElement | null): void => {
      if (place === null || place.hasChildNodes()) return;
      const form = new SettingsForm(client);
      place.append(form.node);
      void form.load();
    };
    forms?.addRenderer(`${serverPlugin.id}.server`, {
      fieldRenderer: () => createElement("div", { ref: fill }),
    });
    app.commands.addCommand(Commands.settings, {
      label: "Settings of mlx-notebook",
      describedBy: { args: { type: "object", properties: {} } },
      isVisible: () => app.commands.hasCommand(EDITOR),
      execute: () => app.commands.execute(EDITOR, { query: "mlx-notebook" }),
    });
    palette?.addItem({ command: Commands.settings, category: CATEGORY });
  },
};
