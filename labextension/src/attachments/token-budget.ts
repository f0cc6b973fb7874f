/** What goes along with a question, within a number of tokens. */

import { fenced } from "../assistant/tasks";
import { type CellText, nearestCells } from "../base/cell-text";

export type Scope = "cell" | "selected" | "notebook";

export const SCOPES: readonly { scope: Scope; label: string }[] = [
  { scope: "cell", label: "This cell" },
  { scope: "selected", label: "Selected cells" },
  { scope: "notebook", label: "Whole notebook" },
];

export interface NotebookText {
  language: string;
  /** All cells, in their order, with what they show of an error. */
  cells: readonly (CellText & { isActive: boolean; isSelected: boolean; error: string })[];
}

export interface Fitted {
  text: string;
  /** About how many tokens it has. */
  tokens: number;
  /** Whether something was left out to stay within the budget. */
  isCut: boolean;
}

// A rough measure, on the safe side for code.
const CHARACTERS_PER_TOKEN = 3;

export const tokensOf = (text: string): number => Math.ceil(text.length / CHARACTERS_PER_TOKEN);
export const charactersOf = (tokens: number): number => tokens * CHARACTERS_PER_TOKEN;

/** Return the cells of some scopes as text, the last ones if all are too many. */
export function cellsText(
  { language, cells }: NotebookText,
  scopes: ReadonlySet<Scope>,
  budget: number,
): Fitted {
  const wanted = cells.filter(
    ({ isActive, isSelected }) =>
      scopes.has("notebook") ||
      (scopes.has("cell") && isActive) ||
      (scopes.has("selected") && isSelected),
  );
  const blocks = wanted.map(({ text, cell_type, error }) => ({
    cell_type,
    text: [
      cell_type === "code" ? fenced(text, language) : text,
      error ? `It raised this error:\n\n${fenced(error)}` : "",
    ]
      .filter(Boolean)
      .join("\n\n"),
  }));
  // `nearestCells` counts eight characters for a token.
  const kept = nearestCells(blocks, charactersOf(budget) / 8);
  const text = kept.map((cell) => cell.text).join("\n\n");
  const total = blocks.reduce((sum, block) => sum + block.text.length, 0);
  return {
    text,
    tokens: tokensOf(text),
    isCut: kept.reduce((sum, cell) => sum + cell.text.length, 0) < total,
  };
}

/** Leave out the middle of a text that has more tokens than the budget, with a note. */
export function fitted(text: string, budget: number): Fitted {
  const most = charactersOf(Math.max(0, budget));
  if (text.length <= most) return { text, tokens: tokensOf(text), isCut: false };
  const left = `\n[… ${text.length - most} characters left out …]\n`;
  const head = Math.floor((most * 2) / 3);
  const short = most ? text.slice(0, head) + left + text.slice(text.length - (most - head)) : "";
  return { text: short, tokens: tokensOf(short), isCut: true };
}

/** Say what goes along, in a few words. */
export function budgetText({ tokens, isCut }: Omit<Fitted, "text">, budget: number): string {
  if (!tokens && !isCut) return "Goes along: nothing";
  const format = (value: number): string => value.toLocaleString("en");
  const cut = isCut ? ", the rest is left out" : "";
  return `Goes along: about ${format(tokens)} of ${format(budget)} tokens${cut}`;
}
