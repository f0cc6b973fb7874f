import { expect, test } from "vitest";
import {
  folderOf,
  type Mention,
  matching,
  mentionAt,
  mentionedIn,
} from "../src/attachments/mentions";
import {
  budgetText,
  cellsText,
  fitted,
  type NotebookText,
  tokensOf,
} from "../src/attachments/token-budget";
import { hideTags, showTags } from "../src/base/written-html";
import { callText } from "../src/chat/call-text";
import type { Approval, ChatMode, ChatTurn } from "../src/chat/chat-seam";
import { ChatSession, type SessionHost } from "../src/chat/chat-session";
import { type AnswerEntry, type Entry, newContent } from "../src/conversations/conversation";
import type { Saved } from "../src/conversations/conversation-store";
import { decodeAnswer, questionExpression } from "../src/kernel/question-text";

const notebook: NotebookText = {
  language: "python",
  cells: [
    { text: "a = 1", cell_type: "code", isActive: false, isSelected: true, error: "" },
    { text: "# Title", cell_type: "markdown", isActive: false, isSelected: false, error: "" },
    {
      text: "1 / 0",
      cell_type: "code",
      isActive: true,
      isSelected: true,
      error: "ZeroDivisionError",
    },
  ],
};

test("the chosen cells go along within the budget, the last ones first", () => {
  const cell = cellsText(notebook, new Set(["cell"]), 1000);
  expect(cell.text).toContain("1 / 0");
  expect(cell.text).toContain("ZeroDivisionError");
  expect(cell.text).not.toContain("a = 1");
  expect(cellsText(notebook, new Set(["selected"]), 1000).text).toContain("a = 1");
  expect(cellsText(notebook, new Set(["notebook"]), 1000)).toMatchObject({ isCut: false });
  const short = cellsText(notebook, new Set(["notebook"]), 20);
  expect(short.isCut).toBe(true);
  expect(short.tokens).toBeLessThan(25);
  expect(short.text).not.toContain("a = 1");
  expect(cellsText(notebook, new Set(), 1000).text).toBe("");
});

test("a long text loses its middle, and the person reads how much goes along", () => {
  const long = fitted(`begin${"x".repeat(9000)}end`, 100);
  expect(long.text).toMatch(/^begin.*characters left out.*end$/s);
  expect(tokensOf(long.text)).toBeLessThan(120);
  expect(fitted("short", 100)).toEqual({ text: "short", tokens: 2, isCut: false });
  expect(fitted("no room", 0)).toEqual({ text: "", tokens: 0, isCut: true });
  expect(budgetText({ tokens: 1234, isCut: false }, 3000)).toBe(
    "Goes along: about 1,234 of 3,000 tokens",
  );
  expect(budgetText({ tokens: 3000, isCut: true }, 3000)).toContain("the rest is left out");
  expect(budgetText({ tokens: 0, isCut: false }, 3000)).toBe("Goes along: nothing");
});

test("an @ that begins a word is a mention, one in an address is not", () => {
  const at = (text: string) => mentionAt(text, text.length);
  expect(at("What is @d")).toEqual({ start: 8, typed: "d" });
  expect(at("@")).toEqual({ start: 0, typed: "" });
  expect(at("(@data/a.csv")).toEqual({ start: 1, typed: "data/a.csv" });
  expect(at("me@example")).toBeNull();
  expect(at("@df and")).toBeNull();
  expect(mentionAt("@df and", 3)).toEqual({ start: 0, typed: "df" });
});

test("a mention that was typed to its end is found, without the marks behind it", () => {
  expect(mentionedIn("What is @df? And (@a.csv) or me@example")).toEqual([
    ["df?", "df"],
    ["a.csv)", "a.csv"],
  ]);
  expect(mentionedIn("@data/x.py and @ alone")).toEqual([["data/x.py"]]);
});

test("HTML is shown as it is written, and code is left to the parser of Markdown", () => {
  const shown = (text: string): string => showTags(hideTags(text));
  expect(shown("Use <script> or `<b>`, if a < b")).toBe("Use &lt;script> or `&lt;b>`, if a &lt; b");
  expect(shown("- one\n  ```html\n  <p>\n  ```\n<p>")).toBe(
    "- one\n  ```html\n  <p>\n  ```\n&lt;p>",
  );
  expect(shown("````\n```\n<p>\n````\n<i>")).toBe("````\n```\n<p>\n````\n&lt;i>");
  expect(shown("```mermaid\na-->b\n```")).toBe("```text\na-->b\n```");
  expect(shown("```x``` <p>\n| a<br>b | <https://example.org> |")).toBe(
    "```x``` &lt;p>\n| a<br>b | <https://example.org> |",
  );
});

test("what begins with the typed text is offered first, and few of them", () => {
  const named = (name: string): Mention => ({ kind: "variable", name, note: "" });
  const all = ["add", "df", "Data", "other", "folder/data.csv"].map(named);
  const names = (typed: string) => matching(all, typed).map(({ name }) => name);
  expect(names("d")).toEqual(["df", "Data", "folder/data.csv", "add"]);
  expect(names("x")).toEqual([]);
  expect(
    matching(
      Array.from({ length: 50 }, (_, at) => named(`v${at}`)),
      "v",
    ),
  ).toHaveLength(8);
  expect(folderOf("work/a.ipynb", "data/x")).toBe("work/data");
  expect(folderOf("a.ipynb", "x")).toBe("");
});

test("a call hides nothing from the person who decides", () => {
  const text = (args: string) =>
    callText({ id: "1", type: "function", function: { name: "run", arguments: args } });
  expect(text('{"a": 1, "b": "x"}')).toBe('run(a=1, b="x")');
  expect(text("")).toBe("run()");
  expect(text("{broken")).toBe("run({broken)");
  expect(text('{"a": "\u202egnp.exe"}')).toContain("\\u{202e}");
});

test("a question to the kernel cannot leave its text, and its answer is read or told", () => {
  const expression = questionExpression({ variable: 'x")+evil("', characters: 5 });
  expect(expression).not.toContain("evil");
  const encoded = btoa(JSON.stringify([{ type: "text", text: "a" }]));
  const given = { status: "ok", data: { "text/plain": `'${encoded}'` } };
  expect(decodeAnswer(given)).toEqual([{ type: "text", text: "a" }]);
  const problem = btoa(JSON.stringify({ problem: "There is none." }));
  expect(() => decodeAnswer({ status: "ok", data: { "text/plain": `'${problem}'` } })).toThrow(
    "There is none.",
  );
  expect(() => decodeAnswer({ status: "error", ename: "ModuleNotFoundError" })).toThrow(
    "has no mlx-notebook",
  );
  expect(() => decodeAnswer({ status: "error", ename: "KeyboardInterrupt" })).toThrow(
    "interrupted",
  );
});

type Chunk = Record<string, unknown>;
const part = (delta: Chunk, finish: string | null = null): Chunk => ({
  choices: [{ delta, finish_reason: finish }],
});

/** A conversation whose model sends these chunks, one list a request. */
function chat(answer: ChatMode["answer"], ...replies: (Chunk | Error)[][]) {
  const bodies: Chunk[] = [];
  const saved: Saved[] = [];
  const host: SessionHost = {
    client: {
      async *events<T>(_path: string, body?: unknown, signal?: AbortSignal): AsyncGenerator<T> {
        bodies.push(body as Chunk);
        for (const chunk of replies.shift() ?? []) {
          signal?.throwIfAborted();
          if (chunk instanceof Error) throw chunk;
          yield await Promise.resolve(chunk as T);
        }
      },
    },
    options: { model: "m", maxTokens: 9 },
    modeOf: () => ({ name: "answer", label: "", description: "", answer }),
    panelOf: () => null,
    load: () => Promise.resolve(undefined),
    save: (_id, one) => {
      saved.push(one);
      return Promise.resolve(saved.length);
    },
    keep: () => Promise.resolve(),
  };
  const session = new ChatSession("id", "a.ipynb", newContent("answer"), host);
  const ended = async (): Promise<void> => {
    while (session.isBusy) await new Promise((resolve) => setTimeout(resolve));
    await session.flush();
  };
  const last = (): AnswerEntry => Object.values(session.content.entries).at(-1) as AnswerEntry;
  return { session, bodies, saved, ended, last };
}

const stream = (turn: ChatTurn): Promise<void> =>
  turn.stream({ system: "Be short." }).then(() => undefined);

test("an answer is kept, shown and saved, and the next question has it before", async () => {
  const usage = { choices: [], usage: { completion_tokens: 2 } };
  const reply = [part({ content: "Hel" }), part({ content: "lo" }, "stop"), usage];
  const { session, bodies, saved, ended, last } = chat(stream, reply, [part({}, "stop")]);
  session.ask("Hi", [], [{ label: "This cell", text: "x = 1", image: "" }], null);
  expect(session.isBusy).toBe(true);
  expect(() => session.ask("Too early", [], [], null)).toThrow("stop it first");
  await ended();
  expect(last().blocks[1]).toMatchObject({ kind: "text", text: "Hello", whole: "Hello" });
  expect(last().note).toMatch(/^2 tokens/);
  expect(saved.at(-1)).toMatchObject({ title: "Hi", notebook: "a.ipynb" });
  session.ask("And?", [], [], null);
  await ended();
  const messages = bodies[1]?.messages as { role: string; content: string }[];
  expect(messages.map(({ role }) => role)).toEqual(["system", "user", "assistant", "user"]);
  expect(messages[1]?.content).toContain("x = 1");
  expect(last().note).toBe("The model has not answered.");
});

test("what was written before a failure is kept, and the answer goes on from there", async () => {
  const broken = [part({ content: "One " }), new Error("The connection broke.")];
  const { session, bodies, ended, last } = chat(stream, broken, [part({ content: "two" }, "stop")]);
  session.ask("Count", [], [], null);
  await ended();
  expect(last()).toMatchObject({ note: "The connection broke.", failed: true, open: true });
  expect(last().messages).toEqual([{ role: "assistant", content: "One " }]);
  session.resume();
  await ended();
  expect(bodies[1]).toMatchObject({ continue_final_message: true, add_generation_prompt: false });
  const messages = bodies[1]?.messages as Chunk[];
  expect(messages.at(-1)).toEqual({ role: "assistant", content: "One " });
  expect(last().messages).toEqual([{ role: "assistant", content: "One two" }]);
  expect(last()).toMatchObject({ failed: false, open: false });
  expect(Object.keys(last().blocks)).toEqual(["1"]);
});

test("an answer that has reached its longest length goes on when the person wants it", async () => {
  const long = [part({ content: "One " }, "length")];
  const { session, bodies, ended, last } = chat(stream, long, [part({ content: "two" }, "stop")]);
  session.ask("Count", [], [], null);
  await ended();
  expect(last()).toMatchObject({ failed: false, open: true });
  expect(last().messages).toEqual([{ role: "assistant", content: "One " }]);
  session.resume();
  await ended();
  expect(bodies[1]).toMatchObject({ continue_final_message: true, add_generation_prompt: false });
  const messages = bodies[1]?.messages as Chunk[];
  expect(messages.at(-1)).toEqual({ role: "assistant", content: "One " });
  expect(last().messages).toEqual([{ role: "assistant", content: "One two" }]);
  expect(last()).toMatchObject({ open: false });
  expect(Object.keys(last().blocks)).toEqual(["1"]);
});

test("reasoning that was cut off is replaced when the answer goes on", async () => {
  const broken = [part({ reasoning_content: "Let me" }), new Error("The connection broke.")];
  const whole = [part({ reasoning_content: "Two and two." }), part({ content: "4" }, "stop")];
  const { session, bodies, ended, last } = chat(stream, broken, whole);
  session.ask("What is 2 + 2?", [], [], null);
  await ended();
  expect(Object.values(last().blocks)).toEqual([{ kind: "reasoning", text: "Let me" }]);
  session.resume();
  await ended();
  expect(bodies[1]).not.toHaveProperty("continue_final_message");
  expect(Object.values(last().blocks)).toMatchObject([
    { kind: "reasoning", text: "Two and two." },
    { kind: "text", text: "4" },
  ]);
});

test("questions of approval come one after the other, and a stop ends them", async () => {
  const asked: string[] = [];
  const approval = (text: string): Approval => ({ title: "May it?", text, choices: [] });
  const { session, ended, last } = chat(async (turn) => {
    const both = ["one", "two"].map((text) => turn.approve(approval(text)));
    asked.push(await (both[0] as Promise<string>));
    await both[1];
  });
  session.ask("Do it", [], [], null);
  expect(session.asking).toMatchObject({ text: "one" });
  const id = String(session.asking?.id);
  session.decide(id, "allow");
  expect(session.asking).toMatchObject({ text: "two" });
  expect(() => session.decide(id, "allow")).toThrow("no longer waiting");
  await Promise.resolve();
  session.stop();
  await ended();
  expect(asked).toEqual(["allow"]);
  expect(session.asking).toBeNull();
  expect(last().note).toBe("Interrupted before the first word");
});

test("while the person is asked, the answer says so, also after a reload", async () => {
  const { session, ended, last } = chat(async (turn) => {
    await turn.approve({ title: "May it?", text: "it()", choices: [] });
    turn.note("Step 1");
    await turn.approve({ title: "May it?", text: "more()", choices: [] });
  });
  const open: AnswerEntry = {
    role: "assistant",
    mode: "answer",
    blocks: { 1: { kind: "call", id: "1", text: "it()", state: "", result: "", images: [] } },
    note: "Interrupted",
    failed: false,
    open: true,
    messages: [],
  };
  const question: Entry = { role: "user", text: "Do it", images: [], attached: [] };
  session.content = { ...session.content, entries: { 1: question, 2: open } };
  const allow = (): void => session.decide(String(session.asking?.id), "allow");
  session.resume();
  await Promise.resolve();
  expect(last().note).toBe("Waiting for your decision");
  allow();
  while (session.asking === null) await Promise.resolve();
  expect(last().note).toBe("Waiting for your decision");
  allow();
  await ended();
  expect(last().note).toBe("Step 1");
});

test("an edit asks again with what went along, and forgets what came after", async () => {
  const reply = () => [part({ content: "Yes" }, "stop")];
  const { session, bodies, ended } = chat(stream, reply(), reply(), reply());
  session.ask("One", [], [{ label: "@df", text: "a table", image: "" }], null);
  await ended();
  session.ask("Two", [], [], null);
  await ended();
  session.ask("Other", [], [], "1");
  await ended();
  const roles = Object.values(session.content.entries).map(({ role }: Entry) => role);
  expect(roles).toEqual(["user", "assistant"]);
  const messages = bodies[2]?.messages as { content: string }[];
  expect(messages).toHaveLength(2);
  expect(messages[1]?.content).toContain("a table");
  session.delete();
});
