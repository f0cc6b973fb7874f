/** The plugins of the JupyterLab extension, one a feature. */

import { agentPlugin } from "./agent/plugin";
import { assistantPlugin } from "./assistant/plugin";
import { chatPlugin } from "./chat/plugin";
import { completionPlugin } from "./completion/plugin";
import { dashboardPlugin } from "./dashboard/plugin";
import { proseCellsPlugin } from "./prose-cells/prose-cells";
import { serverPlugin } from "./server/plugin";
import { serverSettingsPlugin } from "./server-settings/plugin";
import { statusBarPlugin } from "./status-bar/plugin";

export default [
  proseCellsPlugin,
  serverPlugin,
  statusBarPlugin,
  dashboardPlugin,
  serverSettingsPlugin,
  completionPlugin,
  assistantPlugin,
  chatPlugin,
  agentPlugin,
];
