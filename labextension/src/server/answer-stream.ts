/** An answer of a model as it grows. */

import type { Settings } from "../base/settings";
import { RequestError } from "./request-error";
import type { ServerClient } from "./server-client";

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

interface Chunk {
  choices?: { delta?: { content?: string | null; reasoning_content?: string | null } }[];
  usage?: { completion_tokens: number } | null;
  error?: { message?: string };
}

export interface Answer {
  text: string;
  /** Whether the model reasons and has not begun to answer. */
  isReasoning: boolean;
  /** Tokens of the whole answer, known at its end. */
  tokens: number | null;
}

export interface Question {
  messages: ChatMessage[];
  /** Empty: the server's default model. */
  model: string;
  maxTokens: number;
}

/** The question with the model and the limit of the settings. */
export const questionOf = (messages: ChatMessage[], settings: Settings): Question => ({
  messages,
  model: settings.model,
  maxTokens: settings.maxTokens,
});

/**
 * Yield the answer after each part of it.
 *
 * @throws RequestError if the server refuses, or ends the answer with an error.
 */
export async function* streamAnswer(
  client: Pick<ServerClient, "events">,
  { messages, model, maxTokens }: Question,
  signal: AbortSignal,
): AsyncGenerator<Answer> {
  const body = {
    messages,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: maxTokens,
    ...(model ? { model } : {}),
  };
  const answer: Answer = { text: "", isReasoning: false, tokens: null };
  for await (const chunk of client.events<Chunk>("v1/chat/completions", body, signal)) {
    if (chunk.error) throw new RequestError(chunk.error.message ?? "The answer failed.", 500);
    const delta = chunk.choices?.[0]?.delta;
    if (delta?.content) answer.text += delta.content;
    answer.isReasoning = !answer.text && Boolean(delta?.reasoning_content ?? answer.isReasoning);
    if (chunk.usage) answer.tokens = chunk.usage.completion_tokens;
    yield answer;
  }
}
