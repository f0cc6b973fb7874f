/** One connection to the server extension, and the settings, for all other plugins. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ISettingRegistry } from "@jupyterlab/settingregistry";
import { Token } from "@lumino/coreutils";
import { Settings } from "../base/settings";
import { ModelOrders } from "./model-orders";
import { sentenceOf } from "./request-error";
import { ServerClient } from "./server-client";
import { StatusWatcher } from "./status-watcher";

/** The server extension as the browser sees it. */
export interface IMlxServer {
  readonly client: ServerClient;
  readonly watcher: StatusWatcher;
  readonly orders: ModelOrders;
  readonly settings: Settings;
}

export const IMlxServer = new Token<IMlxServer>(
  "mlx-notebook:IMlxServer",
  "The connection to the server extension of mlx-notebook.",
);

export const serverPlugin: JupyterFrontEndPlugin<IMlxServer> = {
  id: "mlx-notebook:plugin",
  description: "Connects to the server extension of mlx-notebook, and holds the settings.",
  autoStart: true,
  optional: [ISettingRegistry],
  provides: IMlxServer,
  activate: (app: JupyterFrontEnd, registry: ISettingRegistry | null): IMlxServer => {
    const client = new ServerClient(app.serviceManager.serverSettings);
    const watcher = new StatusWatcher(client);
    const settings = new Settings();
    registry
      ?.load(serverPlugin.id)
      .then((loaded) => settings.use(loaded))
      .catch((error: unknown) =>
        console.error(`The settings of mlx-notebook cannot be read: ${sentenceOf(error)}`),
      );
    void app.started.then(() => watcher.start());
    return { client, watcher, orders: new ModelOrders(client, watcher), settings };
  },
};
