/** The functions that a notebook has made tools with `@tool`, and the chip that offers them. */

import type { NotebookPanel } from "@jupyterlab/notebook";
import type { Kernel } from "@jupyterlab/services";
import { button } from "../base/elements";
import { askTools, type CallResult, callTool } from "../kernel/kernel-questions";
import type { ToolCall, ToolDefinition } from "../server/answer-stream";
import { sentenceOf } from "../server/request-error";

const kernelOf = (panel: NotebookPanel | null): Kernel.IKernelConnection | null =>
  panel?.sessionContext.session?.kernel ?? null;

export class NotebookTools {
  /** Switches the tools on and off. */
  readonly chip = button("Tools", () => this.toggle(), {
    class: "mlx-lab-button mlx-lab-chip",
    "aria-label": "Tools",
    title: "Functions of the notebook made with @tool, which the model may call",
    "aria-pressed": "true",
  });
  /** The tools that the person allows without a question, until the kernel ends or restarts. */
  private readonly allowed = new WeakMap<Kernel.IKernelConnection, Set<string>>();

  /** Return the tools of the notebook; none if they are switched off. */
  async find(panel: NotebookPanel | null): Promise<{ tools: ToolDefinition[]; problem: string }> {
    const kernel = kernelOf(panel);
    if (!this.isOn || kernel === null) return { tools: [], problem: "" };
    const { language_info } = await kernel.info;
    if (language_info.name !== "python") return { tools: [], problem: "" };
    try {
      return { tools: await askTools(kernel), problem: "" };
    } catch (error) {
      const isBusy = kernel.status === "busy";
      const problem = isBusy
        ? "The kernel is busy, so the model has no tools of the notebook."
        : "";
      if (!isBusy) console.warn(`The tools of the notebook are not known: ${sentenceOf(error)}`);
      return { tools: [], problem };
    }
  }

  /**
   * Call a tool in the notebook's kernel.
   *
   * @throws Error if there is no kernel, or the call is stopped.
   */
  async call(
    panel: NotebookPanel | null,
    call: ToolCall,
    signal: AbortSignal,
  ): Promise<CallResult> {
    const kernel = kernelOf(panel);
    if (kernel === null) throw new Error("The notebook has no kernel any more.");
    return callTool(kernel, call, signal);
  }

  isAllowed(panel: NotebookPanel | null, name: string): boolean {
    const kernel = kernelOf(panel);
    return kernel !== null && (this.allowed.get(kernel)?.has(name) ?? false);
  }

  allow(panel: NotebookPanel | null, name: string): void {
    const kernel = kernelOf(panel);
    if (kernel === null) return;
    let names = this.allowed.get(kernel);
    if (names === undefined) {
      const made = new Set<string>();
      names = made;
      this.allowed.set(kernel, made);
      // Another function may have the name then.
      kernel.statusChanged.connect((_, status) => {
        if (status === "restarting" || status === "autorestarting") made.clear();
      });
    }
    names.add(name);
  }

  private get isOn(): boolean {
    return this.chip.getAttribute("aria-pressed") === "true";
  }

  private toggle(): void {
    this.chip.setAttribute("aria-pressed", String(!this.isOn));
  }
}
