/** The names and types of a kernel's variables, and short values where the settings allow it. */

import { NotebookActions } from "@jupyterlab/notebook";
import type { Kernel } from "@jupyterlab/services";
import type { Variables } from "../base/settings";
import { askKernel } from "./ask-kernel";
import { parseVariables, type Variable, variablesExpression } from "./variable-list";

// A completion does not wait longer for the kernel.
const PATIENCE_MS = 150;

interface Known {
  variables: Variable[];
  kind: Variables;
  isStale: boolean;
}

/** Asks each kernel once after each run of a cell, when somebody wants to know. */
export class VariableCache {
  private readonly known = new WeakMap<Kernel.IKernelConnection, Known>();

  constructor() {
    NotebookActions.executed.connect((_, { notebook }) => {
      // Where the notebook is shown, its kernel is asked anew; others keep what is known.
      const kernel = sessionKernel(notebook.parent);
      const known = kernel && this.known.get(kernel);
      if (known) known.isStale = true;
    });
  }

  /** Return the variables as far as they are known after a short while. */
  async of(
    kernel: Kernel.IKernelConnection | null | undefined,
    kind: Variables,
  ): Promise<readonly Variable[]> {
    if (!kernel || kind === "none") return [];
    const known = this.known.get(kernel);
    if (known?.kind === kind && !known.isStale) return known.variables;
    const before = known?.kind === kind ? known.variables : [];
    const asked = this.ask(kernel, kind);
    const late = new Promise<undefined>((resolve) =>
      setTimeout(() => resolve(undefined), PATIENCE_MS),
    );
    return (await Promise.race([asked, late])) ?? before;
  }

  private async ask(
    kernel: Kernel.IKernelConnection,
    kind: "types" | "values",
  ): Promise<Variable[] | undefined> {
    try {
      const answer = await askKernel(kernel, variablesExpression(kind));
      if (answer === undefined) return undefined;
      const variables = parseVariables(answer);
      this.known.set(kernel, { variables, kind, isStale: false });
      return variables;
    } catch {
      // A kernel that ends or restarts meanwhile has no variables.
      return undefined;
    }
  }
}

function sessionKernel(panel: unknown): Kernel.IKernelConnection | undefined {
  const { sessionContext } = (panel ?? {}) as {
    sessionContext?: { session?: { kernel?: Kernel.IKernelConnection | null } | null };
  };
  return sessionContext?.session?.kernel ?? undefined;
}
