/** Characters that a reader does not see, or that show a text in another order than it has. */

// Joiners belong to emoji and to letters of some scripts, and nowhere else.
const HIDDEN =
  /[\u200c\u200d](?![^\0-\x7f])|(?!\u200c|\u200d)[\p{Cf}\p{Co}\u2028\u2029]|[^\P{Cc}\n\t\r]/gu;

/** Whether a text has such characters. */
export const hiddenCharacters = (text: string): boolean => text.search(HIDDEN) >= 0;

/** Write such characters as their numbers. */
export const withSeenCharacters = (text: string): string =>
  text.replace(HIDDEN, (one) => `⟨U+${(one.codePointAt(0) ?? 0).toString(16).toUpperCase()}⟩`);
