/** The commands of the extension. */

export const CATEGORY = "mlx-notebook";

export const Commands = {
  about: "mlx-notebook:about",
  dashboard: "mlx-notebook:open-dashboard",
  chat: "mlx-notebook:open-chat",
  load: "mlx-notebook:load-model",
  swap: "mlx-notebook:swap-model",
  unload: "mlx-notebook:unload-model",
  choose: "mlx-notebook:choose-model",
  settings: "mlx-notebook:open-settings",
  completions: "mlx-notebook:toggle-completions",
  agent: "mlx-notebook:open-agent",
  revoke: "mlx-notebook:take-back-permissions",
} as const;
