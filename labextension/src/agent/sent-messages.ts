/** The messages of a turn as they are sent: in a form that servers take, and not too many. */

import type { ModeQuestion } from "../chat/chat-seam";
import type { ChatMessage, ToolCall } from "../server/answer-stream";

// A rough measure, on the safe side for code.
const CHARACTERS_PER_TOKEN = 3;
// The last results are what the model works with.
const KEPT_RESULTS = 2;
const LEFT_OUT = "This result was left out to save room. Call the tool again if you need it.";

/**
 * Return other messages to send in place of a turn's own; nothing if these can be sent.
 *
 * @param room How many tokens they may have; the oldest results of tools are left out beyond.
 */
export function sentMessages(
  messages: readonly ChatMessage[],
  room: number | undefined,
): Pick<ModeQuestion, "messages"> {
  const sent = shortened(messages.map(mended), room);
  return sent.every((message, at) => message === messages[at]) ? {} : { messages: sent };
}

/** Servers refuse calls whose arguments are no JSON object. */
function mended(message: ChatMessage): ChatMessage {
  const { tool_calls: calls } = message;
  if (!calls?.some(isWrong)) return message;
  return {
    ...message,
    tool_calls: calls.map((call) =>
      isWrong(call) ? { ...call, function: { ...call.function, arguments: "{}" } } : call,
    ),
  };
}

function isWrong({ function: { arguments: written } }: ToolCall): boolean {
  try {
    const value: unknown = JSON.parse(written);
    return typeof value !== "object" || value === null || Array.isArray(value);
  } catch {
    return true;
  }
}

function shortened(messages: ChatMessage[], room: number | undefined): ChatMessage[] {
  if (room === undefined) return messages;
  let length = messages.reduce((sum, message) => sum + lengthOf(message), 0);
  const results = messages.flatMap(({ role }, at) => (role === "tool" ? [at] : []));
  for (const at of results.slice(0, -KEPT_RESULTS)) {
    if (length <= room * CHARACTERS_PER_TOKEN) break;
    const message = messages[at];
    if (message === undefined || message.content.length <= LEFT_OUT.length) continue;
    length -= message.content.length - LEFT_OUT.length;
    messages[at] = { ...message, content: LEFT_OUT };
  }
  return messages;
}

const lengthOf = ({ content, tool_calls }: ChatMessage): number =>
  (typeof content === "string" ? content.length : 0) +
  (tool_calls ?? []).reduce((sum, call) => sum + call.function.arguments.length, 0);
