/** Questions to `mlx_notebook` in a kernel: what a variable holds, and the notebook's tools. */

import type { Kernel } from "@jupyterlab/services";
import type { ContentPart, ToolCall, ToolDefinition } from "../server/answer-stream";
import { askKernel } from "./ask-kernel";
import { decodeAnswer, questionExpression } from "./question-text";
import { parseVariables, type Variable, variablesExpression } from "./variable-list";

/** What came of a call. `call` is how a person reads it. */
export interface CallResult {
  call: string;
  state: string;
  content: string | ContentPart[];
  seconds: number | null;
}

// A question does not wait longer for a kernel that is busy.
const PATIENCE_MS = 400;
const BUSY = "The kernel is busy. Ask again when its cell has finished.";

/**
 * Return a variable as the model sees it: a table's schema and a few rows, an array's shape, an image.
 *
 * @throws Error if the kernel is busy or has no such variable.
 */
export async function askVariable(
  kernel: Kernel.IKernelConnection,
  variable: string,
  characters: number,
): Promise<ContentPart[]> {
  await idleSoon(kernel);
  return ask<ContentPart[]>(kernel, { variable, characters });
}

/** Return the names and types of the variables; none if there is no kernel or it runs a cell. */
export async function listVariables(kernel: Kernel.IKernelConnection | null): Promise<Variable[]> {
  if (kernel === null) return [];
  await idleSoon(kernel);
  const answer = await askKernel(kernel, variablesExpression("types"));
  return answer ? parseVariables(answer) : [];
}

/**
 * Return the tools that the notebook has made with `@tool`.
 *
 * @throws Error if the kernel is busy or does not know `mlx_notebook`.
 */
export async function askTools(kernel: Kernel.IKernelConnection): Promise<ToolDefinition[]> {
  await idleSoon(kernel);
  return ask<ToolDefinition[]>(kernel, { tools: true });
}

/**
 * Call a tool when the kernel is free. The signal interrupts it.
 *
 * @throws Error if the kernel cannot be asked, or the signal is aborted.
 */
export async function callTool(
  kernel: Kernel.IKernelConnection,
  { id, function: { name, arguments: written } }: ToolCall,
  signal: AbortSignal,
): Promise<CallResult> {
  await untilIdle(kernel, signal);
  return ask<CallResult>(kernel, { call: name, arguments: written, id }, signal);
}

/**
 * Wait a moment for a kernel that answers another question.
 *
 * @throws Error if it runs a cell.
 */
async function idleSoon(kernel: Kernel.IKernelConnection): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  while (kernel.status !== "idle") {
    if (performance.now() > until) throw new Error(BUSY);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Wait for the end of a cell that runs. A request that is sent before could not be taken back. */
function untilIdle(kernel: Kernel.IKernelConnection, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      const isOver = ["dead", "terminating"].includes(kernel.status);
      if (!signal.aborted && !isOver && kernel.status !== "idle") return;
      kernel.statusChanged.disconnect(look);
      signal.removeEventListener("abort", look);
      if (signal.aborted) reject(signal.reason as Error);
      else if (isOver) reject(new Error("The kernel has ended."));
      else resolve();
    };
    kernel.statusChanged.connect(look);
    signal.addEventListener("abort", look);
    look();
  });
}

async function ask<T>(
  kernel: Kernel.IKernelConnection,
  question: Record<string, unknown>,
  signal?: AbortSignal,
): Promise<T> {
  if ((await kernel.info).language_info.name !== "python")
    throw new Error("Only Python kernels have variables and tools for the chat.");
  const asked = kernel.requestExecute(
    {
      code: "",
      silent: true,
      store_history: false,
      user_expressions: { asked: questionExpression(question) },
    },
    true,
  );
  let isRunning = false;
  asked.onIOPub = ({ content }) => {
    isRunning = "execution_state" in content && content.execution_state === "busy";
  };
  // Only our own request is interrupted, not a cell.
  const stop = (): void => void (isRunning && kernel.interrupt());
  signal?.addEventListener("abort", stop);
  try {
    const { content } = await asked.done;
    signal?.throwIfAborted();
    if (content.status !== "ok") throw new Error("The kernel was interrupted.");
    return decodeAnswer(content.user_expressions.asked) as T;
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}
