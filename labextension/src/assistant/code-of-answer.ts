/** The code in a model's answer, also while the answer grows. */

const FENCE = /^([ \t]*)(`{3,}|~{3,})[^\n`]*$/m;

/** Whether an answer has a code block. */
export const hasCodeBlock = (answer: string): boolean => FENCE.test(answer);

/** Return the first code block of an answer; the whole answer if it has none. */
export function codeOfAnswer(answer: string): string {
  const opening = FENCE.exec(answer);
  if (opening === null) {
    // A fence whose line has not ended may follow.
    return /^\s*(`|~)/.test(answer) ? "" : answer.trim();
  }
  const [, indent = "", marks = ""] = opening;
  const body = answer.slice(opening.index + opening[0].length).replace(/^\n/, "");
  const closing = new RegExp(`^[ \\t]*${marks.charAt(0)}{${marks.length},}[ \\t]*$`, "m").exec(
    body,
  );
  // Of an open block, the last line may be the beginning of its fence.
  const code = closing ? body.slice(0, closing.index) : body.replace(/\n?[ \t]*[`~]+$/, "");
  return withoutIndent(code.replace(/\s+$/, ""), indent);
}

const withoutIndent = (code: string, indent: string): string =>
  indent
    ? code
        .split("\n")
        .map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line))
        .join("\n")
    : code;

/** The indentation that all lines of a text share. */
export function commonIndent(code: string): string {
  const indents = code
    .split("\n")
    .filter((line) => line.trim())
    .map((line) => /^[ \t]*/.exec(line)?.[0] ?? "");
  if (!indents.length) return "";
  return indents.reduce((shared, one) => {
    let at = 0;
    while (at < shared.length && shared[at] === one[at]) at += 1;
    return shared.slice(0, at);
  });
}

/** Give code that stands in indented lines their indentation. */
export const reindent = (code: string, indent: string): string =>
  commonIndent(code).startsWith(indent)
    ? code
    : code
        .split("\n")
        .map((line) => (line.trim() ? indent + line : line))
        .join("\n");

/** Extend a range of a text to whole lines. */
export function wholeLines(
  text: string,
  start: number,
  end: number,
): { start: number; end: number } {
  const from = text.lastIndexOf("\n", start - 1) + 1;
  // A selection that ends at the beginning of a line does not contain it.
  const last = end > start && text[end - 1] === "\n" ? end - 1 : end;
  const to = text.indexOf("\n", last);
  return { start: from, end: to < 0 ? text.length : to };
}
