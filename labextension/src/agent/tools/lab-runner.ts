/** Cells of an open notebook, run in its kernel without taking the focus from the person. */

import { CodeCell } from "@jupyterlab/cells";
import type { NotebookPanel } from "@jupyterlab/notebook";
import type { Kernel } from "@jupyterlab/services";
import type { Settings } from "../../base/settings";
import { askKernel } from "../../kernel/ask-kernel";
import { parseVariables, type Variable, variablesExpression } from "../../kernel/variable-list";
import { ToolError } from "../tool-error";
import type { CellRunner, RunEnd } from "./toolbox";

type Kernelled = Kernel.IKernelConnection;

// The error of a cell whose kernel a person has interrupted.
const INTERRUPT = "KeyboardInterrupt";

export class LabRunner implements CellRunner {
  constructor(
    private readonly panel: NotebookPanel,
    private readonly settings: Pick<Settings, "variables">,
  ) {}

  async run(id: string, seconds: number, signal: AbortSignal, begin: () => void): Promise<RunEnd> {
    const kernel = this.kernel();
    const limit = AbortSignal.timeout(seconds * 1000);
    await untilIdle(kernel, AbortSignal.any([signal, limit]));
    signal.throwIfAborted();
    if (limit.aborted)
      throw new ToolError(`The kernel was busy for ${seconds} seconds with something else.`);
    const cell = await this.cell(id);
    begin();
    const stop = (): void => {
      // A kernel that is gone has nothing to interrupt.
      void kernel.interrupt().catch(() => undefined);
    };
    const rest = AbortSignal.timeout(seconds * 1000);
    const both = AbortSignal.any([signal, rest]);
    both.addEventListener("abort", stop, { once: true });
    try {
      const reply = await CodeCell.execute(cell, this.panel.sessionContext);
      signal.throwIfAborted();
      const content = reply?.content;
      if (content?.status === "ok") return "done";
      if (rest.aborted) return "timeout";
      return content?.status === "error" && content.ename === INTERRUPT ? "interrupted" : "error";
    } catch {
      signal.throwIfAborted();
      // JupyterLab gives up its request when the kernel is not the same any more.
      throw new ToolError(
        "The kernel was restarted or has died before the cell had ended. Its variables are gone.",
      );
    } finally {
      both.removeEventListener("abort", stop);
    }
  }

  async variables(): Promise<readonly Variable[] | undefined> {
    const { variables: kind } = this.settings;
    if (kind === "none") return [];
    const kernel = this.panel.sessionContext.session?.kernel;
    const answer = await askKernel(kernel, variablesExpression(kind));
    return answer === undefined ? undefined : parseVariables(answer);
  }

  private kernel(): Kernelled {
    const { sessionContext } = this.panel;
    const kernel = sessionContext.session?.kernel;
    if (!kernel || sessionContext.isTerminating)
      throw new ToolError("The notebook has no kernel. A person must choose one.");
    if (kernel.status === "dead")
      throw new ToolError("The kernel has died. A person must restart it.");
    if (sessionContext.pendingInput)
      throw new ToolError("A cell waits for an input of the person.");
    return kernel;
  }

  /** The widget of a cell, which is made a moment after the cell. */
  private async cell(id: string): Promise<CodeCell> {
    const find = () => this.panel.content.widgets.find(({ model }) => model.id === id);
    if (!find()) await new Promise((resolve) => requestAnimationFrame(resolve));
    const cell = find();
    if (!(cell instanceof CodeCell)) throw new ToolError("The cell is not shown.");
    return cell;
  }
}

/** Wait until a kernel does nothing, or until the signal. */
async function untilIdle(kernel: Kernelled, signal: AbortSignal): Promise<void> {
  const isBusy = (): boolean => !["idle", "dead"].includes(kernel.status);
  if (!isBusy() || signal.aborted) return;
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (isBusy() && !signal.aborted) return;
      kernel.statusChanged.disconnect(look);
      signal.removeEventListener("abort", look);
      resolve();
    };
    kernel.statusChanged.connect(look);
    signal.addEventListener("abort", look);
    look();
  });
}
