import { expect, test } from "vitest";
import type { ChatTurn } from "../src/chat/chat-seam";
import { ChatSession, type SessionHost } from "../src/chat/chat-session";
import {
  type AnswerEntry,
  added,
  type Content,
  type Entry,
  newContent,
  readContent,
  savedContent,
} from "../src/conversations/conversation";
import {
  ChangedElsewhere,
  DataStore,
  type Loaded,
  type Saved,
} from "../src/conversations/conversation-store";
import { commonOf, merge } from "../src/conversations/merge-tabs";
import { errorOf } from "../src/server/request-error";

const user = (text: string): Entry => ({ role: "user", text, images: [], attached: [] });
const answer = (text: string, more: Partial<AnswerEntry> = {}): Entry => ({
  role: "assistant",
  mode: "answer",
  blocks: { 1: { kind: "text", text, whole: text, isWhole: true } },
  note: "",
  failed: false,
  open: false,
  messages: [{ role: "assistant", content: text }],
  ...more,
});
const content = (...entries: Entry[]): Content => ({
  ...newContent("answer"),
  entries: entries.reduce((all, entry) => added(all, entry)[0], newContent("").entries),
});
const said = ({ entries }: Content): string[] =>
  Object.values(entries).map((one) => (one.role === "assistant" ? "answer" : one.text));

const base = content(user("One"), answer("1"));
const ours = content(user("One"), answer("1"), user("Ours"), answer("2"));
const theirs = content(user("One"), answer("1"), user("Theirs"), answer("3"));
const mixed = [
  "One",
  "answer",
  "Theirs",
  "answer",
  expect.stringContaining("tab"),
  "Ours",
  "answer",
];

test("what two tabs have added stands one after the other, with a remark", () => {
  const merged = merge(base, ours, theirs);
  expect(merged && said(merged.content)).toEqual(mixed);
  expect(merged && [...merged.moved]).toEqual([
    ["3", "6"],
    ["4", "7"],
  ]);
  expect(commonOf(ours, theirs)).toEqual(base);
});

test("what only one tab has changed is taken as it is", () => {
  expect(merge(base, base, theirs)?.content).toEqual(theirs);
  expect(merge(base, ours, base)?.content).toEqual(ours);
  expect(merge(base, ours, ours)?.content).toEqual(ours);
  const kind = { ...base, system: "Be kind." };
  expect(merge(base, kind, theirs)?.content).toEqual({ ...theirs, system: "Be kind." });
  // An answer that was still running when the other tab read it.
  const partial = content(user("One"), answer("", { open: true, note: "Interrupted" }));
  expect(said(merge(partial, partial, ours)?.content ?? base)).toEqual(said(ours));
  expect(merge(partial, base, partial)?.content).toEqual(base);
});

test("nothing is merged that would lose something", () => {
  const cut = content(user("One, but better"), answer("5"));
  const without: Content = { ...cut, entries: { 5: user("Other"), 6: answer("6") } };
  expect(merge(base, without, theirs)).toBeUndefined();
  expect(merge(base, ours, without)).toBeUndefined();
  expect(merge(base, cut, content(user("Two"), answer("1")))).toBeUndefined();
});

/** What is saved, as a server keeps it. */
class Kept {
  readonly all = new Map<string, Loaded>();
  private version = 0;

  host(reply: string): SessionHost {
    return {
      client: {
        async *events<T>(): AsyncGenerator<T> {
          yield await Promise.resolve({
            choices: [{ delta: { content: reply }, finish_reason: "stop" }],
          } as T);
        },
      },
      options: { model: "m", maxTokens: 9 },
      modeOf: () => ({
        name: "answer",
        label: "",
        description: "",
        answer: (turn: ChatTurn) => turn.stream({ system: "" }).then(() => undefined),
      }),
      panelOf: () => null,
      load: (id) => Promise.resolve(this.all.get(id)),
      save: (id, saved, basedOn) => {
        if ((this.all.get(id)?.version ?? null) !== basedOn)
          return Promise.reject(new ChangedElsewhere(""));
        this.version += 1;
        const read = readContent(JSON.parse(JSON.stringify(savedContent(saved.content))));
        this.all.set(id, { ...saved, content: read, version: this.version });
        return Promise.resolve(this.version);
      },
      keep: (saved: Saved) => {
        this.all.set(saved.title, { ...saved, version: 0 });
        return Promise.resolve();
      },
    };
  }

  open(reply: string): ChatSession {
    const saved = this.all.get("id");
    const from = saved?.content ?? newContent("answer");
    const session = new ChatSession("id", "a.ipynb", from, this.host(reply));
    session.title = saved?.title ?? "";
    if (saved) session.begin(saved);
    return session;
  }
}

async function ended(session: ChatSession): Promise<void> {
  while (session.isBusy) await new Promise((resolve) => setTimeout(resolve));
  await session.flush();
}

async function ask(session: ChatSession, text: string): Promise<void> {
  session.ask(text, [], [], null);
  await ended(session);
}

test("two tabs lose nothing of each other, and each shows what the other has said", async () => {
  const kept = new Kept();
  await ask(kept.open("1"), "One");
  const [first, second] = [kept.open("3"), kept.open("2")];
  // Both answer at the same time.
  first.ask("Theirs", [], [], null);
  second.ask("Ours", [], [], null);
  await ended(first);
  await ended(second);
  await first.catchUp();
  await second.catchUp();
  const saved = kept.all.get("id")?.content as Content;
  expect([...said(saved)].sort()).toEqual(
    ["One", "Ours", "Theirs", "answer", "answer", "answer", said(saved)[4] as string].sort(),
  );
  expect(said(first.content)).toEqual(said(saved));
  expect(said(second.content)).toEqual(said(saved));
  await ask(first, "And?");
  await second.catchUp();
  expect(said(second.content)).toEqual([...said(saved), "And?", "answer"]);
  expect(second.problem).toBe("");
});

test("where one tab has rewritten what another went on from, both versions are kept", async () => {
  const kept = new Kept();
  await ask(kept.open("1"), "One");
  const [first, second] = [kept.open("2"), kept.open("3")];
  await ask(first, "Two");
  second.ask("One, but better", [], [], "1");
  await ended(second);
  expect(said(kept.all.get("One (other tab)")?.content as Content)).toContain("Two");
  const now = said(kept.all.get("id")?.content as Content);
  expect(now.slice(0, 1)).toEqual(["One, but better"]);
  expect(now.join()).toContain("kept as “One (other tab)”");
});

test("a conversation that was deleted elsewhere is saved anew only if the person asks in it", async () => {
  const kept = new Kept();
  const session = kept.open("1");
  await ask(session, "One");
  kept.all.clear();
  await ask(session, "Two");
  expect(said(kept.all.get("id")?.content as Content)).toHaveLength(4);
  expect(session.problem).toBe("");
  kept.all.clear();
  await session.catchUp();
  session.set({ system: "Be kind." });
  await session.flush();
  expect(kept.all.size).toBe(0);
  expect(session.problem).toContain("deleted elsewhere");
  await ask(session, "Three");
  expect(said(kept.all.get("id")?.content as Content)).toHaveLength(6);
  expect(session.problem).toBe("");
});

test("deleted while its answer is written, a conversation ends and does not come back", async () => {
  const kept = new Kept();
  let isWriting: (value: unknown) => void;
  const writing = new Promise((resolve) => {
    isWriting = resolve;
  });
  const host = kept.host("");
  host.client.events = async function* <T>(_: string, __?: unknown, signal?: AbortSignal) {
    for (;;) {
      signal?.throwIfAborted();
      yield await new Promise<T>((resolve) =>
        setTimeout(() => resolve({ choices: [{ delta: { content: "On " } }] } as T)),
      );
      isWriting(null);
    }
  };
  const session = new ChatSession("id", "a.ipynb", newContent("answer"), host);
  session.ask("One", [], [], null);
  await writing;
  await session.flush();
  expect(kept.all.size).toBe(1);
  kept.all.clear();
  await session.flush();
  await ended(session);
  expect(kept.all.size).toBe(0);
  expect(session.problem).toContain("deleted elsewhere");
  expect(Object.values(session.content.entries).at(-1)).toMatchObject({ note: "Interrupted" });
});

test("a notebook's new path is no deletion, even if the file could not follow", async () => {
  const kept = new Kept();
  const session = kept.open("1");
  await ask(session, "One");
  session.move(
    "b.ipynb",
    Promise.resolve().then(() => {
      kept.all.clear();
      throw new Error("There is a folder already.");
    }),
  );
  session.set({ system: "Be kind." });
  await session.flush();
  expect(kept.all.get("id")).toMatchObject({ notebook: "b.ipynb" });
  expect(session.problem).toBe("");
});

test("the server's refusal of a stale version is told apart from other errors", async () => {
  const refused = (code: string) =>
    new DataStore({
      get: () => Promise.reject(errorOf(404, JSON.stringify({ error: { message: "m", code } }))),
      ask: () => Promise.reject(errorOf(409, JSON.stringify({ error: { message: "m", code } }))),
    });
  const saved = { notebook: "", title: "One", content: base };
  await expect(refused("conversation_changed").save("id", saved, 1)).rejects.toBeInstanceOf(
    ChangedElsewhere,
  );
  await expect(refused("other").save("id", saved, 1)).rejects.not.toBeInstanceOf(ChangedElsewhere);
  expect(await refused("conversation_not_found").load({ id: "id" })).toBeUndefined();
  await expect(refused("").load({ id: "id" })).rejects.toThrow("m");
});

test("an answer that went on after a reload is one answer, however late it was saved before", () => {
  const partial = answer("On", { open: true, note: "Interrupted" });
  const longer = answer("Once upon", { open: true, note: "Interrupted" });
  const whole = content(user("One"), answer("Once upon a time"));
  const early = content(user("One"), partial);
  const late = content(user("One"), longer);
  const nothing = content();
  // The page before had not saved it, had saved less, or saves more after the new page has begun.
  for (const [begun, saved] of [
    [nothing, early],
    [early, late],
    [commonOf(late, early), early],
  ] as const) {
    const merged = merge(begun, whole, saved);
    expect(merged?.content.entries).toEqual(whole.entries);
    expect(merged?.moved.size).toBe(0);
  }
  // Ours may be the earlier one.
  expect(merge(early, late, whole)?.content.entries).toEqual(whole.entries);
  // The same question in two tabs has two answers.
  const other = merge(nothing, whole, content(user("One"), answer("Twice")));
  expect(other && said(other.content).filter((one) => one === "answer")).toHaveLength(2);
});
