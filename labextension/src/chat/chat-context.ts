/** What of the notebook goes along with a question of the chat. */

import { fenced } from "../assistant/tasks";
import { type CellText, nearestCells } from "../base/cell-text";
import type { ChatMessage } from "../server/answer-stream";

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

export interface Context {
  text: string;
  /** About how many tokens it has. */
  tokens: number;
  /** Whether cells were left out to stay within the budget. */
  isCut: boolean;
}

// A rough measure, on the safe side for code.
const CHARACTERS_PER_TOKEN = 3;

/** Return the cells of a scope as text, the last ones if all are too many. */
export function contextOf(
  { language, cells }: NotebookText,
  scopes: ReadonlySet<Scope>,
  budget: number,
): Context {
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
  const kept = nearestCells(blocks, (budget * CHARACTERS_PER_TOKEN) / 8);
  const text = kept.map((cell) => cell.text).join("\n\n");
  const total = blocks.reduce((sum, block) => sum + block.text.length, 0);
  return {
    text,
    tokens: Math.ceil(text.length / CHARACTERS_PER_TOKEN),
    isCut: kept.reduce((sum, cell) => sum + cell.text.length, 0) < total,
  };
}

/** One question and its answer. */
export interface Turn {
  question: string;
  /** The cells that went along. */
  context: string;
  answer: string;
}

const SYSTEM =
  "You help in a Jupyter notebook. Answer in Markdown, short and to the point. Write code in fenced blocks.";

/** Return the messages of a conversation, of which the last turn has no answer yet. */
export function conversationOf(turns: readonly Turn[]): ChatMessage[] {
  const messages: ChatMessage[] = [{ role: "system", content: SYSTEM }];
  turns.forEach(({ question, context, answer }, at) => {
    const content = context ? `From the notebook:\n\n${context}\n\n${question}` : question;
    messages.push({ role: "user", content });
    if (at < turns.length - 1) messages.push({ role: "assistant", content: answer });
  });
  return messages;
}
