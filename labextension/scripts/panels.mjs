// Writes the scripts of the panels as modules, so that a tab without a kernel draws them too.
// A panel in a notebook gets the same files, joined in the same way (`panels/base/panel.py`).
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

const panels = new URL("../../mlx_notebook/panels/", import.meta.url);
const out = new URL("../lib/panels/", import.meta.url);
mkdirSync(out, { recursive: true });
const shared = readFileSync(new URL("base/shared.js", panels), "utf8");
for (const name of ["dashboard", "inspector", "models", "stats"]) {
  writeFileSync(
    new URL(`${name}.js`, out),
    shared + readFileSync(new URL(`${name}/${name}.js`, panels), "utf8"),
  );
}
cpSync(new URL("base/panels.css", panels), new URL("panels.css", out));
