/** The scripts of the panels, as a notebook has them. `scripts/panels.mjs` writes the modules. */

import type { PanelModel } from "./panel-model";

export interface PanelScript {
  initialize(context: { model: PanelModel }): void;
  /** Draw the panel into `el`; return a function that removes it. */
  render(context: { model: PanelModel; el: HTMLElement }): () => void;
}

// @ts-expect-error The module is JavaScript without types.
import chatModule from "../panels/chat.js";
// @ts-expect-error The module is JavaScript without types.
import dashboardModule from "../panels/dashboard.js";
// @ts-expect-error The module is JavaScript without types.
import inspectorModule from "../panels/inspector.js";
// @ts-expect-error The module is JavaScript without types.
import modelsModule from "../panels/models.js";
// @ts-expect-error The module is JavaScript without types.
import statsModule from "../panels/stats.js";

export const chatScript = chatModule as PanelScript;
export const dashboardScript = dashboardModule as PanelScript;
export const inspectorScript = inspectorModule as PanelScript;
export const modelsScript = modelsModule as PanelScript;
export const statsScript = statsModule as PanelScript;
