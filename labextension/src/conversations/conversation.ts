/** A conversation as it is saved and shown, and the messages of it that a model gets. */

import type { Block, Json } from "../chat/chat-seam";
import type { ChatMessage, ContentPart, ToolCall } from "../server/answer-stream";

/** What went along with a question: text, or an image as a data URI. */
export interface Attachment {
  /** Its name for the person. */
  label: string;
  text: string;
  image: string;
}

export interface UserEntry {
  role: "user";
  text: string;
  /** Images of the message as data URIs. */
  images: string[];
  attached: Attachment[];
}

export interface AnswerEntry {
  role: "assistant";
  /** The mode that answered. */
  mode: string;
  blocks: Record<string, Block>;
  note: string;
  /** Whether the note says what went wrong. */
  failed: boolean;
  /** Whether the answer was left before its end, so that it can go on. */
  open: boolean;
  /** The messages of this answer for the model. */
  messages: ChatMessage[];
}

export interface NoticeEntry {
  role: "notice";
  text: string;
}

export type Entry = UserEntry | AnswerEntry | NoticeEntry;

/** The entries by number. An entry is replaced, not changed. */
export type Entries = Readonly<Record<string, Entry>>;

const FORMAT = "mlx-notebook conversation 1";
/** How the note of an answer begins that may go on because it was as long as it could be. */
export const LONGEST = "The answer has reached its longest length";
const MAX_TITLE = 80;

export interface Content {
  format: typeof FORMAT;
  entries: Entries;
  /** Instructions of the person for the whole conversation. */
  system: string;
  temperature: number | null;
  mode: string;
}

export const newContent = (mode: string): Content => ({
  format: FORMAT,
  entries: {},
  system: "",
  temperature: null,
  mode,
});

/** The numbers of the entries, in their order. */
export const keysOf = (entries: Entries): string[] => Object.keys(entries);

/** The highest number of an entry. */
export const lastNumber = (entries: Entries): number => Math.max(0, ...keysOf(entries).map(Number));

/** Return the entries with another one at the end, and its number, which is above `used`. */
export function added(entries: Entries, entry: Entry, used = 0): [Entries, string] {
  const key = String(Math.max(used, lastNumber(entries)) + 1);
  return [{ ...entries, [key]: entry }, key];
}

/** Return the entries before one; all of them if it is not there. */
export const before = (entries: Entries, key: string): Entries =>
  Object.fromEntries(Object.entries(entries).filter(([one]) => Number(one) < Number(key)));

/** Return a copy of a conversation up to an entry, with it. */
export const forked = (content: Content, key: string): Content => ({
  ...content,
  entries: before(content.entries, String(Number(key) + 1)),
});

/** Return a title for a conversation: how its first question begins. */
export function titleOf(question: string): string {
  const line = question.trim().replace(/\s+/g, " ");
  return line.length > MAX_TITLE ? `${line.slice(0, MAX_TITLE - 1)}…` : line || "Image";
}

/** Return a question as the model gets it: what goes along first, then the text. */
export function messageOf({ text, images, attached }: UserEntry): ChatMessage {
  const shown = attached.filter((one) => one.text);
  const texts = shown.map((one) => `${one.label}:\n\n${one.text}`);
  const content = texts.length ? `From the notebook:\n\n${texts.join("\n\n")}\n\n${text}` : text;
  const urls = [...attached.flatMap(({ image }) => (image ? [image] : [])), ...images];
  if (!urls.length) return { role: "user", content };
  const parts = urls.map((url): ContentPart => ({ type: "image_url", image_url: { url } }));
  return { role: "user", content: [...parts, { type: "text", text: content }] };
}

/** Return the messages of a conversation for the model. A question without an answer is left out. */
export function messagesOf(entries: Entries): ChatMessage[] {
  const messages: ChatMessage[] = [];
  const all = Object.values(entries);
  all.forEach((entry, at) => {
    if (entry.role === "user") {
      const answer = all.slice(at + 1).find(({ role }) => role !== "notice");
      const isAnswered = answer?.role === "assistant" && answer.messages.length > 0;
      if (isAnswered || answer === undefined || answer === all.at(-1))
        messages.push(messageOf(entry));
    } else if (entry.role === "assistant") {
      messages.push(...entry.messages, ...missingResults(entry.messages));
    }
  });
  return messages;
}

/** The calls at the end of a conversation that have no result yet. */
export function openCalls(messages: readonly ChatMessage[]): ToolCall[] {
  const answered = new Set(messages.map(({ tool_call_id }) => tool_call_id));
  const last = messages.findLast(({ role }) => role === "assistant");
  return (last?.tool_calls ?? []).filter(({ id }) => !answered.has(id));
}

/** Models expect a result for each call. */
const missingResults = (messages: readonly ChatMessage[]): ChatMessage[] =>
  openCalls(messages).map(({ id }) => ({
    role: "tool",
    tool_call_id: id,
    content: "The call was not made: the person went on to something else.",
  }));

/** Return what is saved of a conversation: nothing that can be made from the rest. */
export function savedContent(content: Content): Content {
  const entries = Object.entries(content.entries).map(([key, entry]) => [
    key,
    entry.role === "assistant" ? { ...entry, blocks: mapped(entry.blocks, withoutViews) } : entry,
  ]);
  return { ...content, entries: Object.fromEntries(entries) as Entries };
}

const mapped = (
  blocks: Record<string, Block>,
  change: (block: Block) => Block,
): Record<string, Block> =>
  Object.fromEntries(Object.entries(blocks).map(([key, block]) => [key, change(block)]));

function withoutViews(block: Block): Block {
  if (block.kind !== "text") return block;
  return { kind: "text", text: block.text ?? "", isWhole: block.isWhole === true };
}

/**
 * Read what was saved. It may come from anybody, since notebooks are passed on with what is beside
 * them, so images are taken only if they are in it.
 *
 * @throws Error if it is no conversation.
 */
export function readContent(saved: unknown): Content {
  const { format, entries, system, temperature, mode } = (saved ?? {}) as Partial<
    Record<keyof Content, unknown>
  >;
  if (format !== FORMAT || typeof entries !== "object" || entries === null)
    throw new Error("The saved conversation cannot be read.");
  const read = Object.entries(entries as Record<string, Record<string, unknown> | null>).flatMap(
    ([key, entry]) => {
      const known = /^\d+$/.test(key) ? entryOf(entry ?? {}) : undefined;
      return known ? [[key, known] as const] : [];
    },
  );
  return {
    format: FORMAT,
    entries: Object.fromEntries(read),
    system: textOf(system),
    temperature: typeof temperature === "number" ? temperature : null,
    mode: textOf(mode),
  };
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");
const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? (value as unknown[]) : []);
const imageOf = (value: unknown): string =>
  /^data:image\/[\w.+-]+;base64,/.test(textOf(value)) ? textOf(value) : "";

function entryOf(entry: Record<string, unknown>): Entry | undefined {
  if (entry.role === "notice") return { role: "notice", text: textOf(entry.text) };
  if (entry.role === "user") {
    return {
      role: "user",
      text: textOf(entry.text),
      images: listOf(entry.images).map(imageOf).filter(Boolean),
      attached: listOf(entry.attached).map((one) => {
        const { label, text, image } = (one ?? {}) as Record<string, unknown>;
        return { label: textOf(label), text: textOf(text), image: imageOf(image) };
      }),
    };
  }
  if (entry.role !== "assistant") return undefined;
  const blocks = Object.entries((entry.blocks ?? {}) as Record<string, Block | null>).flatMap(
    ([key, block]) => (typeof block?.kind === "string" ? [[key, shownBlock(block)] as const] : []),
  );
  const isLeft = entry.open === true && entry.failed !== true;
  return {
    role: "assistant",
    mode: textOf(entry.mode),
    blocks: endedBlocks(Object.fromEntries(blocks)),
    note: isLeft && !textOf(entry.note).startsWith(LONGEST) ? "Interrupted" : textOf(entry.note),
    failed: entry.failed === true,
    open: entry.open === true,
    messages: listOf(entry.messages) as ChatMessage[],
  };
}

/** A block as it is drawn again. */
function shownBlock(block: Block): Block {
  if (block.kind === "text")
    return { ...textBlock(textOf(block.text)), isWhole: block.isWhole === true };
  if (block.kind !== "call") return block;
  const images: Json[] = listOf(block.images).map(imageOf).filter(Boolean);
  return { ...block, text: textOf(block.text), result: textOf(block.result), images };
}

/** Return the blocks of an answer that has ended: no call in them is still to be made. */
export const endedBlocks = (blocks: Record<string, Block>): Record<string, Block> =>
  mapped(blocks, (block) => {
    if (block.kind !== "call") return block;
    if (block.state === "running") return { ...block, state: "interrupted" };
    const isWaiting = typeof block.state === "string" && block.state.startsWith("waiting");
    return isWaiting ? { ...block, state: "not called" } : block;
  });

/** A text as it is drawn when nothing is added to it. */
export const textBlock = (text: string): Block => ({ kind: "text", text, whole: text });
