/** Inline completions, and the command that switches them on and off. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette } from "@jupyterlab/apputils";
import { ICompletionProviderManager } from "@jupyterlab/completer";
import { CATEGORY, Commands } from "../base/command-ids";
import { tell, tellError } from "../base/notify";
import { VariableCache } from "../kernel/variables";
import { IMlxServer } from "../server/plugin";
import { Availability } from "./availability";
import { InlineProvider } from "./inline-provider";
import { MoreProposals } from "./more-proposals";

export const completionPlugin: JupyterFrontEndPlugin<void> = {
  id: "mlx-notebook:completion",
  description: "Completes code at the cursor.",
  autoStart: true,
  requires: [IMlxServer, ICompletionProviderManager],
  optional: [ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    { client, watcher, settings }: IMlxServer,
    manager: ICompletionProviderManager,
    palette: ICommandPalette | null,
  ): void => {
    const availability = new Availability(client, watcher, settings);
    const inline = new InlineProvider(client, settings, availability, new VariableCache());
    manager.registerInlineProvider(inline);
    manager.registerInlineProvider(new MoreProposals(inline));
    app.commands.addCommand(Commands.completions, {
      label: "Complete Code While Typing",
      caption: () => availability.choice.remark,
      isToggleable: true,
      isToggled: () => availability.choice.isOn,
      describedBy: { args: { type: "object", properties: {} } },
      execute: async () => {
        try {
          const isWanted = !availability.choice.isOn;
          // Without a model that is made for code: the user wants it nevertheless.
          const on = availability.isOffered ? "auto" : "on";
          await settings.set("completions", isWanted ? on : "off");
          const { model, remark } = availability.choice;
          if (isWanted && remark) tell(`${model || "No model"} completes code. ${remark}`);
        } catch (error) {
          tellError(error);
        }
      },
    });
    palette?.addItem({ command: Commands.completions, category: CATEGORY });
    const changed = (): void => app.commands.notifyCommandChanged(Commands.completions);
    settings.changed.connect(changed);
    watcher.changed.connect(changed);
  },
};
