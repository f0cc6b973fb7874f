/** A question that is being answered: what a mode shows and keeps of it. */

import type { NotebookPanel } from "@jupyterlab/notebook";
import { number, plural } from "../base/units";
import { type AnswerEntry, endedBlocks, textBlock } from "../conversations/conversation";
import { GrowingText } from "../conversations/growing-text";
import {
  type Answer,
  type ChatMessage,
  type ContentPart,
  emptyAnswer,
  type Question,
  streamAnswer,
  type ToolCall,
} from "../server/answer-stream";
import type { ServerClient } from "../server/server-client";
import { callText } from "./call-text";
import type { Approval, Block, ChatTurn, Json, ModeQuestion } from "./chat-seam";

// The shortest time between two drawings of an answer, in milliseconds.
const DRAW_MS = 100;
// What takes less time has no speed worth showing.
const MEASURED_SECONDS = 0.05;

/** What a turn needs of its conversation. */
export interface TurnHost {
  readonly client: Pick<ServerClient, "events">;
  readonly panel: NotebookPanel | null;
  /** The messages before the answer, the question among them. */
  readonly before: readonly ChatMessage[];
  /** The parameters of requests, besides messages. */
  readonly options: Omit<Question, "messages">;
  /** The person's instructions for the whole conversation. */
  readonly system: string;
  /** Show the answer and save it. */
  update(answer: AnswerEntry): void;
  ask(question: Approval, signal: AbortSignal): Promise<string>;
}

export class RunningTurn implements ChatTurn {
  private readonly stopping = new AbortController();
  private tokens = 0;
  private seconds = 0;
  /** The line below the answer that the mode has set. */
  private noted = "";
  /** How many decisions of the person are awaited. */
  private undecided = 0;
  /** Whether the last reply has reached its longest length, so that it can go on. */
  private isCut = false;

  /** @param answer The answer so far, which is empty unless an earlier one goes on. */
  constructor(
    private readonly host: TurnHost,
    private answer: AnswerEntry,
  ) {}

  get panel(): NotebookPanel | null {
    return this.host.panel;
  }

  get messages(): readonly ChatMessage[] {
    return [...this.host.before, ...this.answer.messages];
  }

  get signal(): AbortSignal {
    return this.stopping.signal;
  }

  stop(): void {
    this.stopping.abort();
  }

  async stream({ system, tools, messages, toolChoice }: ModeQuestion): Promise<Answer> {
    const { host, signal } = this;
    signal.throwIfAborted();
    const partial = messages ? undefined : this.partial();
    const whole = [system, host.system].filter(Boolean).join("\n\n");
    const sent = [...(messages ?? this.messages)];
    if (partial) sent.push({ role: "assistant", content: partial.text });
    const question: Question = {
      ...host.options,
      messages: [{ role: "system", content: whole }, ...sent],
      ...(tools ? { tools } : {}),
      ...(toolChoice ? { toolChoice } : {}),
      ...(partial ? { isContinued: true } : {}),
    };
    const shown = new AnswerBlocks(this, partial);
    let last = emptyAnswer();
    let began = performance.now();
    try {
      for await (const answer of streamAnswer(host.client, question, signal)) {
        // The speed is that of the answer, without the time that a model takes to load.
        if (!last.text && !last.reasoning && !last.calls.length) began = performance.now();
        last = answer;
        if (this.answer.note && !this.noted) this.set({ note: "" });
        shown.grow(last);
      }
    } finally {
      this.isCut = last.finish === "length" && !last.calls.length && !messages;
      const text = shown.end(last, last.finish !== "" && !this.isCut);
      this.tokens += last.tokens ?? 0;
      this.seconds += (performance.now() - began) / 1000;
      // A call that was cut off does not count.
      const calls = last.finish ? last.calls : [];
      if (last.finish && !this.isCut && (text || calls.length)) {
        this.keep({
          role: "assistant",
          content: text,
          ...(calls.length ? { tool_calls: calls } : {}),
        });
      }
    }
    const calls = last.finish ? last.calls : [];
    return { ...last, calls, text: (partial?.text ?? "") + last.text };
  }

  put(block: Block, key?: string): string {
    const { blocks } = this.answer;
    const at = key ?? String(Math.max(0, ...Object.keys(blocks).map(Number)) + 1);
    this.set({ blocks: { ...blocks, [at]: block } });
    return at;
  }

  putCall(call: ToolCall, state: string, key?: string): string {
    const block = {
      kind: "call",
      id: call.id,
      text: callText(call),
      state,
      result: "",
      images: [],
    };
    return this.put(block, key ?? this.keyOf(call));
  }

  putResult(call: ToolCall, key: string, state: string, content: string | ContentPart[]): void {
    const parts: ContentPart[] =
      typeof content === "string" ? [{ type: "text", text: content }] : content;
    const images: Json[] = parts.flatMap((one) =>
      one.type === "image_url" ? [one.image_url.url] : [],
    );
    const result = parts.flatMap((one) => (one.type === "text" ? [one.text] : [])).join("\n");
    const text = result || images.map(() => "[image]").join("\n");
    this.put({ kind: "call", id: call.id, text: callText(call), state, result, images }, key);
    this.keep({ role: "tool", tool_call_id: call.id, content: text });
    if (images.length) this.keep(imageMessage(images as string[]));
  }

  keep(...messages: ChatMessage[]): void {
    this.set({ messages: [...this.answer.messages, ...messages] });
  }

  async approve(question: Approval): Promise<string> {
    this.signal.throwIfAborted();
    this.undecided += 1;
    this.set({ note: "Waiting for your decision" });
    try {
      return await this.host.ask(question, this.signal);
    } finally {
      this.undecided -= 1;
      if (!this.undecided) this.set({ note: this.noted });
    }
  }

  note(text: string): void {
    this.noted = text;
    this.set({ note: text });
  }

  /** Show how the turn has ended. */
  end(problem: string): void {
    const { messages, blocks } = this.answer;
    const isStopped = this.signal.aborted;
    const figures = [this.noted, this.figures()].filter(Boolean).join(" · ");
    const isEmpty = Object.keys(blocks).length === 0;
    const partial = this.partial();
    this.set({
      blocks: endedBlocks(blocks),
      note: isStopped
        ? isEmpty
          ? "Interrupted before the first word"
          : "Interrupted"
        : problem || figures || (isEmpty ? "The model has not answered." : ""),
      failed: problem !== "" && !isStopped,
      open: isStopped || problem !== "" || this.isCut,
      // The text so far counts: the next question may be about it.
      messages: partial ? [...messages, { role: "assistant", content: partial.text }] : messages,
    });
  }

  /** The tokens and their speed, which is not known of an answer that came all at once. */
  private figures(): string {
    const { tokens, seconds } = this;
    if (!tokens) return "";
    const speed = seconds > MEASURED_SECONDS ? `, ${number(tokens / seconds)} tokens/s` : "";
    return plural(tokens, "token") + speed;
  }

  /** The text that an earlier request or page has left unfinished, with its block. */
  private partial(): { text: string; key: string } | undefined {
    const [key, block] = Object.entries(this.answer.blocks).at(-1) ?? [];
    if (key === undefined || block?.kind !== "text" || block.isWhole === true) return undefined;
    return { text: block.text as string, key };
  }

  /** The block of a call, if it was shown before the page was left. */
  private keyOf({ id }: ToolCall): string | undefined {
    const blocks = Object.entries(this.answer.blocks);
    return blocks.findLast(([, block]) => block.kind === "call" && block.id === id)?.[0];
  }

  private set(change: Partial<AnswerEntry>): void {
    this.answer = { ...this.answer, ...change };
    this.host.update(this.answer);
  }
}

/**
 * Return an answer that was left as it goes on.
 *
 * What it kept of a partial text is kept no more. Reasoning that was cut off goes: the model
 * reasons anew.
 */
export function reopened(answer: AnswerEntry): AnswerEntry {
  const blocks = Object.entries(answer.blocks);
  const [, block] = blocks.at(-1) ?? [];
  const last = answer.messages.at(-1);
  const isPartial =
    block?.kind === "text" && block.isWhole !== true && last?.content === block.text;
  return {
    ...answer,
    blocks: block?.kind === "reasoning" ? Object.fromEntries(blocks.slice(0, -1)) : answer.blocks,
    messages: isPartial ? answer.messages.slice(0, -1) : answer.messages,
    note: "Waiting for the model",
    failed: false,
    open: true,
  };
}

/** The blocks of one reply as it grows. */
class AnswerBlocks {
  private readonly text = new GrowingText();
  private reasoningKey: string | undefined;
  private textKey: string | undefined;
  private readonly before: string;
  private drawn = 0;

  constructor(
    private readonly turn: RunningTurn,
    partial: { text: string; key: string } | undefined,
  ) {
    this.textKey = partial?.key;
    this.before = partial?.text ?? "";
  }

  grow(answer: Answer): void {
    const now = performance.now();
    if (now - this.drawn < DRAW_MS) return;
    this.drawn = now;
    this.reason(answer.reasoning);
    const text = this.before + answer.text;
    if (answer.text)
      this.textKey = this.turn.put(
        { kind: "text", text, parts: this.text.show(text) },
        this.textKey,
      );
  }

  /** Show the whole reply, and return its text. */
  end(answer: Answer, isWhole: boolean): string {
    this.reason(answer.reasoning);
    const text = this.before + answer.text;
    if (text) {
      this.textKey = this.turn.put({ ...textBlock(text), isWhole }, this.textKey);
    }
    return text;
  }

  private reason(text: string): void {
    if (text) this.reasoningKey = this.turn.put({ kind: "reasoning", text }, this.reasoningKey);
  }
}

const imageMessage = (urls: string[]): ChatMessage => ({
  role: "user",
  content: [
    {
      type: "text",
      text: `${urls.length === 1 ? "The image" : "The images, in order,"} from the tool call above:`,
    },
    ...urls.map((url): ContentPart => ({ type: "image_url", image_url: { url } })),
  ],
});
