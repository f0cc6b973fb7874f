/** Whether the notebook in front uses the server of the page. */

import type { INotebookTracker, NotebookPanel } from "@jupyterlab/notebook";
import { NotebookActions } from "@jupyterlab/notebook";
import { type ISignal, Signal } from "@lumino/signaling";
import { askKernel } from "./ask-kernel";
import { otherServer } from "./other-server";

// Nothing is imported into the kernel for this: a module that is not there has found no server.
const CONNECTION = '__import__("sys").modules.get("mlx_notebook.notebook.connection.connection")';
const EXPRESSION =
  '(lambda server: server.found + " " + server.url if server else "")' +
  `((lambda module: module and module.server_in_use())(${CONNECTION}))`;

export class KernelServer {
  private other = "";
  private readonly changedSignal = new Signal<this, void>(this);

  constructor(private readonly notebooks: INotebookTracker | null) {
    notebooks?.currentChanged.connect(() => void this.ask());
    if (notebooks)
      NotebookActions.executed.connect((_, { notebook }) => {
        if (notebook === notebooks.currentWidget?.content) void this.askWhenIdle();
      });
  }

  get changed(): ISignal<this, void> {
    return this.changedSignal;
  }

  /** One sentence if this notebook uses another server than the page shows; else an empty text. */
  get remark(): string {
    return this.other && `The kernel of this notebook uses another server, ${this.other}.`;
  }

  private async askWhenIdle(): Promise<void> {
    const kernel = this.panel?.sessionContext.session?.kernel;
    if (!kernel) return;
    if (kernel.status === "idle") return this.ask();
    const wait = (): void => {
      if (kernel.status !== "idle") return;
      kernel.statusChanged.disconnect(wait);
      void this.ask();
    };
    kernel.statusChanged.connect(wait);
  }

  private async ask(): Promise<void> {
    const panel = this.panel;
    await panel?.sessionContext.ready;
    const answer = await askKernel(panel?.sessionContext.session?.kernel, EXPRESSION).catch(
      // A kernel that is restarted meanwhile does not answer.
      () => undefined,
    );
    if (panel !== this.panel) return;
    this.other = otherServer(answer ?? "");
    this.changedSignal.emit();
  }

  private get panel(): NotebookPanel | null {
    return this.notebooks?.currentWidget ?? null;
  }
}
