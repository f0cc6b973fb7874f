/** A call of a tool as a person reads it who decides about it. */

import type { ToolCall } from "../server/answer-stream";

// Control characters, and characters that hide or reorder text.
const HIDING = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** Write such characters as escapes, so that a text hides nothing. */
export const visible = (text: string): string =>
  text.replace(HIDING, (character) =>
    character === "\n" || character === "\t"
      ? character
      : `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );

/** Return a call with all its arguments: `add(a=17, b=25)`. */
export function callText({ function: { name, arguments: written } }: ToolCall): string {
  let given: unknown;
  try {
    given = JSON.parse(written || "{}");
  } catch {
    given = undefined;
  }
  if (typeof given !== "object" || given === null || Array.isArray(given))
    return visible(`${name}(${written})`);
  const shown = Object.entries(given).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return visible(`${name}(${shown.join(", ")})`);
}
