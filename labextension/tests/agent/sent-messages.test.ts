import { expect, test } from "vitest";
import { sentMessages } from "../../src/agent/sent-messages";
import type { ChatMessage } from "../../src/server/answer-stream";

const result = (content: string): ChatMessage => ({ role: "tool", tool_call_id: "x", content });
const call = (written: string): ChatMessage => ({
  role: "assistant",
  content: "",
  tool_calls: [{ id: "x", type: "function", function: { name: "f", arguments: written } }],
});

test("messages are sent as they are where they fit", () => {
  const messages = [call('{"a": 1}'), result("x".repeat(300))];
  expect(sentMessages(messages, undefined)).toEqual({});
  expect(sentMessages(messages, 200)).toEqual({});
});

test("the oldest results are left out as far as needed, and the last two never", () => {
  const long = Array.from({ length: 5 }, (_, at) => result(String(at).repeat(900)));
  const left = (room: number) =>
    sentMessages(long, room).messages?.map(({ content }) => content.length === 900);
  expect(left(1300)).toEqual([false, true, true, true, true]);
  expect(left(1000)).toEqual([false, false, true, true, true]);
  expect(left(10)).toEqual([false, false, false, true, true]);
  expect(long.every(({ content }) => content.length === 900)).toBe(true);
});

test("arguments that are no JSON object are sent as an empty one", () => {
  for (const written of ['{"a', "[1]", "null", "3", ""])
    expect(sentMessages([call(written)], undefined)).toEqual({ messages: [call("{}")] });
});
