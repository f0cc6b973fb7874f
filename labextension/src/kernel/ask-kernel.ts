/** Ask a kernel for the value of an expression, unseen: no cell, no history, no output. */

import type { Kernel } from "@jupyterlab/services";

/**
 * Return the value of a Python expression whose value is an ASCII text, or undefined if the kernel is
 * busy, runs another language, or raises an error.
 */
export async function askKernel(
  kernel: Kernel.IKernelConnection | null | undefined,
  expression: string,
): Promise<string | undefined> {
  // A busy kernel would answer after its cell, when nobody wants to know any more.
  if (kernel?.status !== "idle" || !(await speaksPython(kernel))) return undefined;
  const asked = kernel.requestExecute(
    { code: "", silent: true, store_history: false, user_expressions: { asked: expression } },
    true,
  );
  const { content } = await asked.done;
  if (content.status !== "ok") return undefined;
  const answer = content.user_expressions.asked as
    | { status: string; data?: Record<string, unknown> }
    | undefined;
  const text = answer?.status === "ok" ? answer.data?.["text/plain"] : undefined;
  return typeof text === "string" ? unquoted(text) : undefined;
}

/** The text that Python's `repr` shows. What is asked for contains no quotes and no backslashes. */
const unquoted = (text: string): string => text.replace(/^'(.*)'$/s, "$1");

async function speaksPython(kernel: Kernel.IKernelConnection): Promise<boolean> {
  return (await kernel.info).language_info.name === "python";
}
