import { expect, test } from "vitest";
import {
  type AnswerEntry,
  added,
  before,
  type Content,
  type Entries,
  forked,
  LONGEST,
  messageOf,
  messagesOf,
  newContent,
  openCalls,
  readContent,
  savedContent,
  titleOf,
  type UserEntry,
} from "../src/conversations/conversation";
import { GrowingText, settledLength } from "../src/conversations/growing-text";
import { leave, takeLeft } from "../src/conversations/left-pages";
import type { ToolCall } from "../src/server/answer-stream";

const PNG = "data:image/png;base64,AAAA";
const user = (text: string, more: Partial<UserEntry> = {}): UserEntry => ({
  role: "user",
  text,
  images: [],
  attached: [],
  ...more,
});
const answer = (text: string, more: Partial<AnswerEntry> = {}): AnswerEntry => ({
  role: "assistant",
  mode: "answer",
  blocks: text ? { 1: { kind: "text", text, whole: text, isWhole: true } } : {},
  note: "",
  failed: false,
  open: false,
  messages: text ? [{ role: "assistant", content: text }] : [],
  ...more,
});
const entriesOf = (...all: (UserEntry | AnswerEntry)[]): Entries =>
  all.reduce<Entries>((entries, entry) => added(entries, entry)[0], {});
const call = (id: string): ToolCall => ({
  id,
  type: "function",
  function: { name: "add", arguments: "{}" },
});

test("what goes along stands before the question, and images are parts", () => {
  const attached = [
    { label: "@df", text: "a table", image: "" },
    { label: "@figure", text: "", image: PNG },
  ];
  expect(messageOf(user("Why?", { attached: attached.slice(0, 1) })).content).toBe(
    "From the notebook:\n\n@df:\n\na table\n\nWhy?",
  );
  const { content } = messageOf(user("Why?", { attached, images: [PNG] }));
  expect(Array.isArray(content) && content.map(({ type }) => type)).toEqual([
    "image_url",
    "image_url",
    "text",
  ]);
});

test("the model gets each question that was answered, and a result for each call", () => {
  const calls = [call("1"), call("2")];
  const entries = entriesOf(
    user("One"),
    answer("", { failed: true }),
    user("Two"),
    answer("", {
      messages: [
        { role: "assistant", content: "", tool_calls: calls },
        { role: "tool", tool_call_id: "1", content: "3" },
      ],
    }),
    user("Three"),
  );
  const messages = messagesOf(entries);
  expect(messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "tool", "user"]);
  expect(messages[3]).toMatchObject({ tool_call_id: "2" });
  expect(openCalls(messages.slice(0, 3)).map(({ id }) => id)).toEqual(["2"]);
});

test("an edit replaces what follows, and a fork keeps what was before", () => {
  const entries = entriesOf(user("One"), answer("1"), user("Two"), answer("2"));
  expect(Object.keys(before(entries, "3"))).toEqual(["1", "2"]);
  const content: Content = { ...newContent("answer"), entries, system: "Be kind." };
  const fork = forked(content, "2");
  expect(Object.keys(fork.entries)).toEqual(["1", "2"]);
  expect(fork.system).toBe("Be kind.");
  expect(added(fork.entries, user("Other"))[1]).toBe("3");
  expect(Object.keys(content.entries)).toHaveLength(4);
});

test("what is saved is read again as it was", () => {
  const entries = entriesOf(user("One", { images: [PNG] }), answer("1"));
  const content = { ...newContent("answer"), entries, temperature: 0.5 };
  expect(readContent(JSON.parse(JSON.stringify(savedContent(content))))).toEqual(content);
  expect(JSON.stringify(savedContent(content))).not.toContain("whole");
});

test("a conversation of somebody else loads nothing from an address, and asks for nothing", () => {
  const url = "https://evil.example/pixel.png";
  const read = readContent({
    format: "mlx-notebook conversation 1",
    entries: {
      1: { role: "user", text: 7, images: [url, PNG], attached: [{ label: "x", image: url }] },
      2: {
        role: "assistant",
        open: true,
        blocks: {
          1: { kind: "call", text: "add()", state: "waiting for your approval", images: [url] },
        },
      },
      x: { role: "user", text: "no" },
      3: { role: "system", text: "no" },
      4: null,
    },
  });
  expect(Object.keys(read.entries)).toEqual(["1", "2"]);
  expect(JSON.stringify(read)).not.toContain("evil");
  expect(read.entries[1]).toMatchObject({ text: "", images: [PNG] });
  expect(read.entries[2]).toMatchObject({
    note: "Interrupted",
    blocks: { 1: { state: "not called" } },
  });
  for (const wrong of [null, "text", {}, { format: "other", entries: {} }])
    expect(() => readContent(wrong)).toThrow("cannot be read");
});

test("an answer that was as long as it could be says so when it is read again", () => {
  const long = { role: "assistant", blocks: {}, note: `${LONGEST} · 9 tokens`, open: true };
  const read = readContent({ ...newContent("answer"), entries: { 1: long } });
  expect(read.entries[1]).toMatchObject({ note: long.note, open: true });
});

test("a conversation has the beginning of its question as its title", () => {
  expect(titleOf(" Why\n is  it so? ")).toBe("Why is it so?");
  expect(titleOf("x".repeat(200))).toHaveLength(80);
  expect(titleOf("  ")).toBe("Image");
});

test("a growing text is shown in parts whose settled ones stay, and lose nothing", () => {
  const paragraph = `${"word ".repeat(60)}\n\n`;
  const code = `\`\`\`python\n${"x = 1\n\n".repeat(120)}\`\`\`\n\n`;
  const text = paragraph.repeat(6) + code + paragraph.repeat(6);
  const growing = new GrowingText();
  let before: Record<string, string> = {};
  for (let at = 1; at <= text.length; at += 97) {
    const parts = growing.show(text.slice(0, at));
    expect(Object.values(parts).join("")).toBe(text.slice(0, at));
    for (const key of Object.keys(before).slice(0, -1)) expect(parts[key]).toBe(before[key]);
    // No part begins or ends inside of the code.
    for (const part of Object.values(parts).slice(0, -1))
      expect((part.match(/```/g) ?? []).length % 2).toBe(0);
    before = parts;
  }
  expect(Object.keys(before).length).toBeGreaterThan(3);
});

test("a text is not divided in a list or a formula", () => {
  expect(settledLength("One.\n\nTwo")).toBe(6);
  expect(settledLength("1. One\n\n2. Two")).toBe(0);
  expect(settledLength("$$\nx\n\ny\n$$\n\nz")).toBe(12);
});

class TabStorage implements Pick<Storage, "getItem" | "setItem" | "removeItem"> {
  private readonly kept = new Map<string, string>();
  constructor(private readonly most: number) {}
  getItem = (key: string): string | null => this.kept.get(key) ?? null;
  removeItem = (key: string): void => void this.kept.delete(key);
  setItem = (key: string, value: string): void => {
    if (value.length > this.most) throw new Error("QuotaExceededError");
    this.kept.set(key, value);
  };
}

test("a page that is reloaded finds what it left, once", () => {
  const content = { ...newContent("answer"), entries: entriesOf(user("One"), answer("1")) };
  const left = {
    id: "x",
    notebook: "a.ipynb",
    title: "One",
    version: 7,
    content: savedContent(content),
  };
  const storage = new TabStorage(10_000) as unknown as Storage;
  leave([left], storage);
  expect(takeLeft(storage)).toEqual([{ ...left, content }]);
  expect(takeLeft(storage)).toEqual([]);
  // One that is too large is found on the server.
  const small = new TabStorage(200) as unknown as Storage;
  leave([left], small);
  expect(takeLeft(small)).toEqual([{ id: "x", version: 7, notebook: "a.ipynb", title: "One" }]);
});
