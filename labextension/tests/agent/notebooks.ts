/** Notebooks as JupyterLab holds them, without a page, and a kernel that writes what it is told. */

import { type ISharedCodeCell, YNotebook } from "@jupyter/ydoc";
import type { SharedNotebook } from "../../src/agent/cells/notebook-cell";
import type { CellRunner, RunEnd } from "../../src/agent/tools/toolbox";

export function notebook(...sources: string[]): SharedNotebook {
  const made = YNotebook.create();
  for (const [at, source] of sources.entries()) {
    made.insertCell(at, {
      id: `cell-${at}`,
      cell_type: source.startsWith("#") ? "markdown" : "code",
      source,
      metadata: { tags: [`tag${at}`] },
    });
  }
  return made;
}

export const sources = ({ cells }: SharedNotebook): string[] =>
  cells.map((cell) => cell.getSource());

/** A kernel that shows the length of the code. */
export class CountingRunner implements CellRunner {
  ran: string[] = [];
  end: RunEnd = "done";

  constructor(private readonly notebook: SharedNotebook) {}

  run(id: string, _seconds: number, _signal: AbortSignal, begin: () => void): Promise<RunEnd> {
    return Promise.resolve().then(() => {
      begin();
      const cell = this.notebook.cells.find((one) => one.id === id);
      if (cell?.cell_type !== "code") throw new Error(id);
      this.ran.push(cell.getSource());
      const text = String(cell.getSource().length);
      (cell as ISharedCodeCell).setOutputs([{ output_type: "stream", name: "stdout", text }]);
      return this.end;
    });
  }

  variables() {
    return Promise.resolve([{ name: "x", type: "int", note: "" }]);
  }
}
