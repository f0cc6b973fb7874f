/** Long messages in several parts, of which none is cut off. */

/** Divide a text between sentences into parts of at most so many characters, where that is possible. */
export function shortParts(text: string, most: number): string[] {
  const parts: string[] = [];
  for (const sentence of text.split(/(?<=[.!?]) +/)) {
    const last = parts.at(-1);
    if (last !== undefined && last.length + 1 + sentence.length <= most)
      parts[parts.length - 1] = `${last} ${sentence}`;
    else parts.push(sentence);
  }
  return parts;
}
