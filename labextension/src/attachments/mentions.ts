/** What `@` in the message box may stand for. */

export interface Mention {
  kind: "variable" | "file";
  /** The name of the variable, or the path of the file. */
  name: string;
  /** A remark in the list, such as a type. */
  note: string;
}

const MOST_SHOWN = 8;

/** Return what is typed behind an `@` before the cursor, and where that stands. */
export function mentionAt(text: string, cursor: number): { start: number; typed: string } | null {
  const found = /(?:^|[\s(])@([^\s@`'"]*)$/.exec(text.slice(0, cursor));
  if (found === null) return null;
  const typed = found[1] ?? "";
  return { start: cursor - typed.length - 1, typed };
}

/**
 * Return the names that a message mentions, each as it is written and without the marks behind it:
 * in `What is @df?` the question mark is not part of the name.
 */
export function mentionedIn(text: string): string[][] {
  return [...text.matchAll(/(?<=^|[\s(])@([^\s@`'"]+)/g)].map(([, name = ""]) => {
    const short = name.replace(/[.,;:!?)\]]+$/, "");
    return short && short !== name ? [name, short] : [name];
  });
}

/** Return the mentions that fit what is typed, those that begin with it first. */
export function matching(all: readonly Mention[], typed: string): Mention[] {
  const wanted = typed.toLowerCase();
  const rank = ({ name }: Mention): number => {
    const lower = name.toLowerCase();
    const last = lower.slice(lower.lastIndexOf("/") + 1);
    if (lower.startsWith(wanted) || last.startsWith(wanted)) return 0;
    return lower.includes(wanted) ? 1 : 2;
  };
  return all
    .map((mention) => ({ mention, place: rank(mention) }))
    .filter(({ place }) => place < 2)
    .sort((one, other) => one.place - other.place)
    .slice(0, MOST_SHOWN)
    .map(({ mention }) => mention);
}

/** Return the folder that a typed path is in, seen from the notebook's folder. */
export function folderOf(notebook: string, typed: string): string {
  const own = notebook.slice(0, notebook.lastIndexOf("/") + 1);
  const below = typed.slice(0, typed.lastIndexOf("/") + 1);
  return (own + below).replace(/\/$/, "");
}
