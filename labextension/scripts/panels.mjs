// Writes the scripts of the panels as modules, so that a tab or a sidebar without a kernel draws them
// too. A panel in a notebook gets the same files, joined in the same way (`panels/base/panel.py`).
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

const SCRIPTS = {
  dashboard: ["dashboard/dashboard"],
  inspector: ["inspector/inspector"],
  models: ["models/models"],
  stats: ["stats/stats"],
  chat: ["markdown", "approval", "composer", "settings", "conversation", "chat"].map(
    (name) => `chat/${name}`,
  ),
  markdown: ["chat/markdown"],
};
// What other parts of the extension use of a script that is no panel.
const EXPORTS = { markdown: "export { markdownPlace, markdownRenderer };\n" };

const panels = new URL("../../mlx_notebook/panels/", import.meta.url);
const out = new URL("../lib/panels/", import.meta.url);
const read = (name) => readFileSync(new URL(`${name}.js`, panels), "utf8");
mkdirSync(out, { recursive: true });
for (const [name, parts] of Object.entries(SCRIPTS)) {
  const text = ["base/shared", ...parts].map(read).join("") + (EXPORTS[name] ?? "");
  writeFileSync(new URL(`${name}.js`, out), text);
}
cpSync(new URL("base/panels.css", panels), new URL("panels.css", out));
