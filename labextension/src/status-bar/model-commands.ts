/** Commands that load, swap and unload models, in the palette and in the menu of the status bar. */

import type { JupyterFrontEnd } from "@jupyterlab/application";
import { type ICommandPalette, InputDialog } from "@jupyterlab/apputils";
import type { ReadonlyPartialJSONObject } from "@lumino/coreutils";
import { CATEGORY, Commands } from "../base/command-ids";
import { tell, tellError } from "../base/notify";
import type { IMlxServer } from "../server/plugin";
import type { CatalogModel } from "../server/wire-types";

const LOADABLE: readonly CatalogModel["state"][] = ["available"];
const RESIDENT: readonly CatalogModel["state"][] = ["resident"];
const USABLE: readonly CatalogModel["state"][] = ["available", "resident", "loading", "upstream"];
/** Where the server, not a setting, says which model answers. */
export const SERVER_DEFAULT = "The server's default model";

interface Order {
  id: string;
  label: string;
  states: readonly CatalogModel["state"][];
  none: string;
  run: (model: string) => Promise<unknown>;
}

/**
 * Read the catalog; return what gives its models in one of several states.
 *
 * @throws RequestError if the server does not answer or refuses.
 */
export async function readCatalog(
  { client }: IMlxServer,
  signal?: AbortSignal,
): Promise<(...states: readonly CatalogModel["state"][]) => string[]> {
  const { models } = await client.get<{ models: CatalogModel[] }>("mlx/models", signal);
  return (...states) => models.filter((model) => states.includes(model.state)).map(({ id }) => id);
}

const named = (args: ReadonlyPartialJSONObject): string =>
  typeof args.model === "string" ? args.model : "";

export function addModelCommands(
  app: JupyterFrontEnd,
  server: IMlxServer,
  palette: ICommandPalette | null,
): void {
  const { orders, settings } = server;
  const all: Order[] = [
    {
      id: Commands.load,
      label: "Load a Model",
      states: LOADABLE,
      none: "Every model on this machine is in memory.",
      run: orders.load,
    },
    {
      id: Commands.swap,
      label: "Load a Model and Unload Others",
      states: LOADABLE,
      none: "Every model on this machine is in memory.",
      run: (model) => orders.swap(model),
    },
    {
      id: Commands.unload,
      label: "Unload a Model",
      states: RESIDENT,
      none: "No model is in memory.",
      run: orders.unload,
    },
    {
      id: Commands.choose,
      label: "Choose the Model That Answers",
      states: USABLE,
      none: "There is no model on this machine.",
      run: (model) => settings.set("model", model === SERVER_DEFAULT ? "" : model),
    },
  ];
  for (const order of all) {
    app.commands.addCommand(order.id, {
      label: (args) => named(args) || `${order.label}…`,
      isToggled: (args) =>
        order.id === Commands.choose && named(args) === (settings.model || SERVER_DEFAULT),
      isToggleable: order.id === Commands.choose,
      describedBy: {
        args: { type: "object", properties: { model: { type: "string" } } },
      },
      execute: async (args) => {
        try {
          const model = named(args) || (await ask(server, order));
          if (model) await order.run(model);
        } catch (error) {
          tellError(error);
        }
      },
    });
    palette?.addItem({ command: order.id, category: CATEGORY });
  }
}

async function ask(server: IMlxServer, { label, states, none, id }: Order): Promise<string> {
  const modelsIn = await readCatalog(server);
  const models = modelsIn(...states);
  if (id === Commands.choose) models.unshift(SERVER_DEFAULT);
  if (!models.length) {
    tell(none);
    return "";
  }
  const answer = await InputDialog.getItem({ title: label, label: "Model", items: models });
  return answer.button.accept ? (answer.value ?? "") : "";
}
