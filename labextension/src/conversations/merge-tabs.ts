/** Brings together what two pages have made of one conversation. */

import {
  added,
  type Content,
  type Entries,
  type Entry,
  keysOf,
  readContent,
  savedContent,
} from "./conversation";

export interface Merged {
  content: Content;
  /** The numbers that our entries have now, by the numbers that they had. */
  moved: ReadonlyMap<string, string>;
}

const ADDED = "The messages above come from another tab or window.";

/**
 * Merge our version of a conversation with the saved one. `base` is what both began with. What both
 * have added stands one after the other, the saved first. An answer that one of them has seen in an
 * earlier state is one answer, such as that of a page that was reloaded in the middle of it.
 *
 * Returns undefined if something would be lost: one page has removed or changed what the other has
 * changed or gone on from.
 */
export function merge(base: Content, mine: Content, saved: Content): Merged | undefined {
  const [ours, theirs] = [withLater(mine, saved), withLater(saved, mine)];
  const before = textsOf(base);
  const here = textsOf(ours);
  const there = textsOf(theirs);
  const settings = settingsOf(base, ours, theirs);
  const only = (content: Content): Merged => ({
    content: { ...content, ...settings },
    moved: new Map(),
  });
  if (isSame(before, here)) return only(theirs);
  if (isSame(before, there) || isSame(here, there)) return only(ours);
  let entries: Entries = {};
  for (const [key, text] of before) {
    const mine = here.get(key);
    const other = there.get(key);
    if (mine === undefined || other === undefined) return undefined;
    if (mine !== text && other !== text && mine !== other) return undefined;
    entries = { ...entries, [key]: (mine === text ? theirs : ours).entries[key] as Entry };
  }
  const shared = sharedKeys(before, ours, theirs);
  for (const key of shared) entries = { ...entries, [key]: theirs.entries[key] as Entry };
  const isNew = (key: string): boolean => !before.has(key) && !shared.includes(key);
  const others = keysOf(theirs.entries).filter(isNew);
  const own = keysOf(ours.entries).filter(isNew);
  for (const key of others) entries = { ...entries, [key]: theirs.entries[key] as Entry };
  if (others.length && own.length) [entries] = added(entries, { role: "notice", text: ADDED });
  const moved = new Map<string, string>();
  for (const key of own) {
    const [more, at] = added(entries, ours.entries[key] as Entry);
    entries = more;
    moved.set(key, at);
  }
  return { content: { ...ours, ...settings, entries }, moved };
}

/** What two versions have in common; with it nothing of either counts as removed. */
export function commonOf(mine: Content, theirs: Content): Content {
  const ours = withLater(mine, theirs);
  const there = textsOf(theirs);
  const entries = [...textsOf(ours)].flatMap(([key, text]) =>
    there.get(key) === text ? [[key, ours.entries[key] as Entry] as const] : [],
  );
  return { ...theirs, entries: Object.fromEntries(entries) };
}

/** The keys that both have added with the same entry: a question only with its answer. */
function sharedKeys(before: Texts, ours: Content, theirs: Content): string[] {
  const [here, there] = [textsOf(ours), textsOf(theirs)];
  const added = [...here.keys()].filter((key) => !before.has(key));
  const end = added.findIndex((key) => here.get(key) !== there.get(key));
  const shared = end < 0 ? added : added.slice(0, end);
  const next = shared.at(-1);
  const isAsked = next !== undefined && ours.entries[next]?.role === "user";
  return isAsked && here.size > before.size + shared.length ? shared.slice(0, -1) : shared;
}

/** A version with the later state of each answer that the other one has further. */
function withLater(one: Content, other: Content): Content {
  const [here, there] = [textsOf(one), textsOf(other)];
  let { entries } = one;
  for (const key of keysOf(entries)) {
    const [entry, met] = [entries[key], other.entries[key]];
    if (entry === undefined || met === undefined) break;
    if (isEarlier(entry, met)) entries = { ...entries, [key]: met };
    else if (here.get(key) !== there.get(key) && !isEarlier(met, entry)) break;
  }
  return { ...one, entries };
}

/** Whether an entry is an answer that was still being written, and another one goes on from it. */
function isEarlier(one: Entry, later: Entry): boolean {
  if (one.role !== "assistant" || later.role !== "assistant" || !one.open) return false;
  const last = one.messages.length - 1;
  return one.messages.every((message, at) => {
    const other = later.messages[at];
    if (other === undefined) return false;
    if (at < last) return JSON.stringify(message) === JSON.stringify(other);
    const [text, whole] = [message.content, other.content];
    return (
      message.role === other.role &&
      (text === whole ||
        (typeof text === "string" && typeof whole === "string" && whole.startsWith(text)))
    );
  });
}

type Texts = ReadonlyMap<string, string>;

/** The entries as they are saved and read again, as texts to compare. */
function textsOf(content: Content): Texts {
  const { entries } = readContent(JSON.parse(JSON.stringify(savedContent(content))));
  return new Map(Object.entries(entries).map(([key, entry]) => [key, JSON.stringify(entry)]));
}

const isSame = (one: Texts, other: Texts): boolean =>
  one.size === other.size && [...one].every(([key, text]) => other.get(key) === text);

/** The settings that we have changed, and else those that are saved. */
function settingsOf(
  base: Content,
  ours: Content,
  theirs: Content,
): Pick<Content, "system" | "temperature" | "mode"> {
  const of = <K extends keyof Content>(name: K): Content[K] =>
    (ours[name] === base[name] ? theirs : ours)[name];
  return { system: of("system"), temperature: of("temperature"), mode: of("mode") };
}
