/** A text that grows, in parts of which all but the last stay as they are. */

// A part that is longer than this many characters is divided where it can be.
const SETTLED = 1200;
const FENCE = /^ {0,3}(`{3,}|~{3,}|\$\$)/;

/**
 * Where a Markdown text can be divided: behind the last empty line that is in no code, no formula and
 * no list; 0 if there is none.
 */
export function settledLength(text: string): number {
  let at = 0;
  let settled = 0;
  let fence = "";
  for (const line of text.split("\n").slice(0, -1)) {
    const mark = FENCE.exec(line)?.[1] ?? "";
    if (!fence) fence = mark && !/\$\$.*\$\$/.test(line) ? mark : "";
    else if (mark.startsWith(fence)) fence = "";
    at += line.length + 1;
    if (!fence && !line.trim() && !/^(\s|[-*+] |\d+[.)] |\|)/.test(text.slice(at, at + 8)))
      settled = at;
  }
  return settled;
}

export class GrowingText {
  private readonly parts: Record<string, string> = {};
  private begin = 0;
  private count = 0;

  /** Return the parts of the whole text so far. Those that are settled stay the same. */
  show(text: string): Record<string, string> {
    let last = text.slice(this.begin);
    if (last.length > SETTLED) {
      const cut = settledLength(last);
      if (cut) {
        this.parts[this.count] = last.slice(0, cut);
        this.count += 1;
        this.begin += cut;
        last = last.slice(cut);
      }
    }
    return { ...this.parts, [this.count]: last };
  }
}
