import { expect, test } from "vitest";
import {
  codeOfAnswer,
  commonIndent,
  hasCodeBlock,
  reindent,
  wholeLines,
} from "../src/assistant/code-of-answer";
import { messagesOf, plainTraceback, type Subject, TASKS } from "../src/assistant/tasks";
import { streamAnswer } from "../src/server/answer-stream";

test("the code of an answer is its first block, also while it grows", () => {
  const answer = "Here it is:\n\n```python\nx = 1\ny = 2\n```\n\nThat is all.";
  expect(codeOfAnswer(answer)).toBe("x = 1\ny = 2");
  expect(codeOfAnswer("x = 1\n")).toBe("x = 1");
  expect([hasCodeBlock(answer), hasCodeBlock("x = 1\n")]).toEqual([true, false]);
  expect(codeOfAnswer("````python\n```\n````")).toBe("```");
  expect(codeOfAnswer("  ```python\n  x = 1\n  ```")).toBe("x = 1");
  // No piece of a fence is ever shown as code.
  const shown = Array.from(answer, (_, at) => codeOfAnswer(answer.slice(answer.indexOf("`"), at)));
  expect(shown.filter((code) => code.includes("`"))).toEqual([]);
});

test("code of indented lines is indented again", () => {
  expect(commonIndent("    a\n\n      b\n")).toBe("    ");
  expect(reindent("a\n\n  b", "    ")).toBe("    a\n\n      b");
  expect(reindent("    a\n    b", "    ")).toBe("    a\n    b");
});

test("a selection is extended to whole lines", () => {
  const text = "one\ntwo\nthree";
  const lines = (start: number, end: number) => {
    const range = wholeLines(text, start, end);
    return text.slice(range.start, range.end);
  };
  expect(lines(5, 6)).toBe("two");
  expect(lines(1, 9)).toBe("one\ntwo\nthree");
  expect(lines(0, 4)).toBe("one");
});

const subject: Subject = {
  code: "1 / 0",
  language: "python",
  cells: [
    { text: "import os", cell_type: "code" },
    { text: "A title", cell_type: "markdown" },
  ],
  error: plainTraceback(["\u001b[0;31mZeroDivisionError\u001b[0m: division by zero"]),
  tokens: 1000,
};
const named = (name: string) => {
  const found = TASKS.find((task) => task.name === name);
  if (found === undefined) throw new Error(name);
  return found;
};

test("a question about an error holds the cells before, the code, and the error without colours", () => {
  const [system, user] = messagesOf(named("fix-error"), subject);
  expect(system?.content).toContain("one python code block");
  for (const part of ["import os\n\n# A title", "1 / 0", "\nZeroDivisionError: division by zero\n"])
    expect(user?.content).toContain(part);
  expect(user?.content).toMatch(/Fix it\.$/);
});

test("other questions leave the error out, and a wish is the question", () => {
  expect(messagesOf(named("improve"), subject)[1]?.content).not.toContain("ZeroDivisionError");
  expect(messagesOf(named("instruct"), subject, "Use numpy")[1]?.content).toMatch(/Use numpy$/);
});

test("backticks in a cell do not end its block", () => {
  const quoting = { ...subject, code: 'x = """\n```\n"""' };
  expect(messagesOf(named("explain"), quoting)[1]?.content).toContain("````python\nx");
});

async function answers(...chunks: unknown[]) {
  const client = {
    async *events<T>(): AsyncGenerator<T> {
      for (const chunk of chunks) yield await Promise.resolve(chunk as T);
    },
  };
  const seen = [];
  const question = { messages: [], model: "", maxTokens: 5 };
  for await (const answer of streamAnswer(client, question, new AbortController().signal))
    seen.push({ ...answer });
  return seen;
}

test("an answer grows, after reasoning, and ends with its tokens", async () => {
  const delta = (content: object) => ({ choices: [{ delta: content }] });
  const seen = await answers(
    delta({ reasoning_content: "Hm" }),
    delta({ content: "a" }),
    delta({ content: "b" }),
    { choices: [], usage: { completion_tokens: 7 } },
  );
  expect(seen.map(({ text, isReasoning }) => [text, isReasoning])).toEqual([
    ["", true],
    ["a", false],
    ["ab", false],
    ["ab", false],
  ]);
  expect(seen.at(-1)?.tokens).toBe(7);
});

test("an error within the stream is the server's sentence", async () => {
  await expect(answers({ error: { message: "The engine ended." } })).rejects.toThrow(
    "The engine ended.",
  );
});

test("a demanded tool is asked for, and nothing is demanded where there are no tools", async () => {
  const bodies: unknown[] = [];
  const client = {
    async *events<T>(_: string, body?: unknown): AsyncGenerator<T> {
      bodies.push(body);
      yield await Promise.resolve({ choices: [] } as T);
    },
  };
  const toolChoice = { type: "function", function: { name: "f" } } as const;
  const tools = [{ type: "function" as const, function: { name: "f", parameters: {} } }];
  for (const offered of [tools, []]) {
    const question = { messages: [], model: "", maxTokens: 5, tools: offered, toolChoice };
    for await (const _ of streamAnswer(client, question, new AbortController().signal)) break;
  }
  expect(bodies).toMatchObject([{ tools, tool_choice: toolChoice }, {}]);
  expect(bodies[1]).not.toHaveProperty("tool_choice");
});
