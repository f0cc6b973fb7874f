/** How a question to `mlx_notebook` in a kernel is written, and its answer read. */

const MODULE = "mlx_notebook.notebook.sidebar.kernel_answers";

/** Return the expression that answers a question. What it holds cannot end the text that it is in. */
export function questionExpression(question: Record<string, unknown>): string {
  const bytes = new TextEncoder().encode(JSON.stringify(question));
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return `__import__("${MODULE}", fromlist=["answer"]).answer(globals(), "${text}")`;
}

/**
 * Return what a kernel answered.
 *
 * @throws Error with one sentence if there is no answer.
 */
export function decodeAnswer(given: unknown): unknown {
  const { status, data, ename, evalue } = (given ?? {}) as {
    status?: string;
    data?: Record<string, string>;
    ename?: string;
    evalue?: string;
  };
  if (status !== "ok") throw new Error(whyNot(ename ?? "", evalue ?? ""));
  const text = (data?.["text/plain"] ?? "").replace(/^'(.*)'$/s, "$1");
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const answer = JSON.parse(new TextDecoder().decode(bytes)) as { problem?: string } | null;
  if (typeof answer?.problem === "string") throw new Error(answer.problem);
  return answer;
}

function whyNot(ename: string, evalue: string): string {
  if (ename === "ModuleNotFoundError")
    return "The kernel has no mlx-notebook: install it in the kernel's environment.";
  if (ename === "KeyboardInterrupt") return "The call was interrupted.";
  return `The kernel cannot answer: ${ename}: ${evalue}`;
}
