/** An answer of a model as it grows: its reasoning, its text, and the calls of tools in it. */

import type { Settings } from "../base/settings";
import { RequestError } from "./request-error";
import type { ServerClient } from "./server-client";

/** A part of a message: text, or an image as a data URI. */
export type ContentPart =
  | { type: "text"; text: string }
  | { type: "image_url"; image_url: { url: string } };

/** A call of a tool as OpenAI's API writes it. */
export interface ToolCall {
  id: string;
  type: "function";
  /** `arguments` is JSON as the model has written it, which may be wrong. */
  function: { name: string; arguments: string };
}

/** A message of a conversation as OpenAI's API has it. */
export interface ChatMessage {
  role: "system" | "user" | "assistant" | "tool";
  content: string | ContentPart[];
  /** The calls of an assistant's message. */
  tool_calls?: ToolCall[];
  /** The call that a tool's message answers. */
  tool_call_id?: string;
}

/** A tool that the model may call. */
export interface ToolDefinition {
  type: "function";
  function: { name: string; description?: string; parameters: Record<string, unknown> };
}

/** Whether the model may call a tool, must call one, or must call this one. */
export type ToolChoice =
  | "auto"
  | "none"
  | "required"
  | { type: "function"; function: { name: string } };

interface CallDelta {
  index: number;
  id?: string;
  function?: { name?: string; arguments?: string };
}

interface Chunk {
  model?: string;
  choices?: {
    delta?: {
      content?: string | null;
      reasoning_content?: string | null;
      tool_calls?: CallDelta[] | null;
    };
    finish_reason?: string | null;
  }[];
  usage?: { completion_tokens: number } | null;
  error?: { message?: string };
}

export interface Answer {
  text: string;
  reasoning: string;
  /** Whether the model reasons and has not begun to answer. */
  isReasoning: boolean;
  /** The calls of tools; complete when `finish` is set. */
  calls: ToolCall[];
  /** The model that answers; empty before its first part. */
  model: string;
  /** Why the answer has ended: `stop`, `length`, `tool_calls`, …; empty while it grows. */
  finish: string;
  /** Tokens of the whole answer, known at its end. */
  tokens: number | null;
}

export const emptyAnswer = (): Answer => ({
  text: "",
  reasoning: "",
  isReasoning: false,
  calls: [],
  model: "",
  finish: "",
  tokens: null,
});

export interface Question {
  messages: ChatMessage[];
  /** Empty: the server's default model. */
  model: string;
  maxTokens: number;
  /** The tools that the model may call. */
  tools?: ToolDefinition[];
  /** Which of the tools it must call; left out: it may choose. */
  toolChoice?: ToolChoice;
  /** The model's own if it is not given. */
  temperature?: number;
  /** Whether the answer goes on with the last message, which is the assistant's. */
  isContinued?: boolean;
}

/** The question with the model and the limit of the settings. */
export const questionOf = (messages: ChatMessage[], settings: Settings): Question => ({
  messages,
  model: settings.model,
  maxTokens: settings.maxTokens,
});

/**
 * Yield the answer after each part of it; the same object each time.
 *
 * @throws RequestError if the server refuses, or ends the answer with an error.
 */
export async function* streamAnswer(
  client: Pick<ServerClient, "events">,
  { messages, model, maxTokens, tools, toolChoice, temperature, isContinued }: Question,
  signal: AbortSignal,
): AsyncGenerator<Answer> {
  const body = {
    messages,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: maxTokens,
    ...(model ? { model } : {}),
    ...(temperature === undefined ? {} : { temperature }),
    ...(tools?.length ? { tools } : {}),
    ...(tools?.length && toolChoice ? { tool_choice: toolChoice } : {}),
    ...(isContinued ? { continue_final_message: true, add_generation_prompt: false } : {}),
  };
  const answer = emptyAnswer();
  for await (const chunk of client.events<Chunk>("v1/chat/completions", body, signal)) {
    if (chunk.error) throw new RequestError(chunk.error.message ?? "The answer failed.", 500);
    add(answer, chunk);
    yield answer;
  }
}

function add(answer: Answer, { choices, model, usage }: Chunk): void {
  const { delta, finish_reason } = choices?.[0] ?? {};
  answer.text += delta?.content ?? "";
  answer.reasoning += delta?.reasoning_content ?? "";
  answer.isReasoning = answer.reasoning !== "" && !answer.text && !answer.calls.length;
  for (const { index, id, function: written } of delta?.tool_calls ?? []) {
    const call = answer.calls[index] ?? newCall(id ?? "");
    answer.calls[index] = call;
    call.function.name += written?.name ?? "";
    call.function.arguments += written?.arguments ?? "";
  }
  answer.model = model ?? answer.model;
  answer.finish = finish_reason ?? answer.finish;
  if (usage) answer.tokens = usage.completion_tokens;
}

const newCall = (id: string): ToolCall => ({
  id,
  type: "function",
  function: { name: "", arguments: "" },
});
