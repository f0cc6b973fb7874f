/** The request for grey text behind a cursor. */

import { type CellText, nearestCells } from "../base/cell-text";
import type { Variable } from "../kernel/variable-list";

export type ContextItem =
  | ({ kind: "cell" } & CellText)
  | { kind: "variable"; name: string; type: string; note: string };

/** The body of `mlx/completions/inline`. */
export interface InlineRequest {
  prefix: string;
  suffix: string;
  language: string;
  context: ContextItem[];
  model?: string;
  max_context_tokens: number;
  /** Left out: the likeliest text. */
  temperature?: number;
}

const NAME_CHARACTERS = 500;

export function inlineRequest(given: {
  text: string;
  offset: number;
  language: string;
  cells: readonly CellText[];
  variables: readonly Variable[];
  tokens: number;
  model: string;
}): InlineRequest {
  const cells = nearestCells(given.cells, given.tokens);
  const short = (text: string): string => text.slice(0, NAME_CHARACTERS);
  return {
    prefix: given.text.slice(0, given.offset),
    suffix: given.text.slice(given.offset),
    language: given.language,
    context: [
      ...cells.map((cell) => ({ kind: "cell" as const, ...cell })),
      ...given.variables.map(({ name, type, note }) => ({
        kind: "variable" as const,
        name: short(name),
        type: short(type),
        note: short(note),
      })),
    ],
    ...(given.model ? { model: given.model } : {}),
    max_context_tokens: given.tokens,
  };
}
