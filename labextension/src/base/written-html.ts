/** HTML in a model's Markdown, shown as it is written, as in the cells of a notebook. */

// Stands for a `<` while Markdown is parsed. No text of a model uses this private character.
const MARK = "\uE000";
const OPENING = /^[\s>*+\-\d.)]*(?:(`{3,})[^`]*|(~{3,}).*)$/;
// Addresses in angle brackets, and what models write in tables and formulas.
const TAG = /<(?!https?:\/\/|\/?(?:br|sub|sup)\b)/gi;

/**
 * Hide each `<` outside fenced code. There a parser of Markdown shows it by itself. The code of a
 * diagram stays code, since a diagram is an image that would be taken away.
 */
export function hideTags(text: string): string {
  let fence = "";
  const lines = text.split("\n").map((line) => {
    if (fence) {
      const mark = line.trim();
      if (mark.startsWith(fence) && mark === fence.charAt(0).repeat(mark.length)) fence = "";
      return line;
    }
    const [, backticks, tildes] = OPENING.exec(line) ?? [];
    fence = backticks ?? tildes ?? "";
    return fence ? line.replace(/([`~]\s*)mermaid\b/i, "$1text") : line.replace(TAG, MARK);
  });
  return lines.join("\n");
}

/** Show what was hidden, in the HTML that came of the Markdown. */
export const showTags = (html: string): string => html.replaceAll(MARK, "&lt;");
