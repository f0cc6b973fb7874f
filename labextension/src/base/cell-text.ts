/** The text of cells, as far as a model is to see it. */

export interface CellText {
  text: string;
  cell_type: "code" | "markdown";
}

// The server counts tokens. More characters than this a token are not worth sending.
const CHARACTERS_PER_TOKEN = 8;
const MOST_CELLS = 512;

const LANGUAGES: Record<string, string> = {
  ipython: "python",
  python: "python",
  rsrc: "r",
  "c++src": "cpp",
};
/** Cell magics whose cell is Python. */
const PYTHON_MAGIC = /^\s*%%(time|timeit|capture|prun|mprun|memit)\b/;

/**
 * The language of a cell, or undefined if it is not to be completed: prose, or a magic's own text.
 */
export function languageOf(mimeType: string, text: string): string | undefined {
  if (/^\s*%%/.test(text) && !PYTHON_MAGIC.test(text)) return undefined;
  const name = (mimeType.split("/").at(-1) ?? "").replace(/^x-/, "");
  if (/markdown|gfm|plain|^$/.test(name)) return undefined;
  const language = LANGUAGES[name] ?? name;
  return /^[\w+#.-]{1,32}$/.test(language) ? language : undefined;
}

/** The cells nearest to the end that are worth sending, in their order. */
export function nearestCells(cells: readonly CellText[], tokens: number): CellText[] {
  let left = tokens * CHARACTERS_PER_TOKEN;
  const kept: CellText[] = [];
  for (const cell of [...cells].reverse()) {
    if (left <= 0 || kept.length === MOST_CELLS) break;
    if (!cell.text.trim()) continue;
    kept.unshift({ ...cell, text: cell.text.slice(-left) });
    left -= cell.text.length;
  }
  return kept;
}
