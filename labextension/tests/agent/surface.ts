/** A chat without a page: the model's answers and the person's decisions are written beforehand. */

import type { TurnSurface } from "../../src/agent/agent-turn";
import type { Approval, Block, ModeQuestion } from "../../src/chat/chat-seam";
import {
  type Answer,
  type ChatMessage,
  emptyAnswer,
  type ToolCall,
} from "../../src/server/answer-stream";

/** What the scripted model answers: text, or calls as names with arguments. */
export type Scripted = string | [name: string, given: object | string][];

export class ScriptedSurface implements TurnSurface {
  readonly messages: ChatMessage[] = [{ role: "user", content: "Do it." }];
  readonly stopping = new AbortController();
  readonly asked: Approval[] = [];
  readonly questions: ModeQuestion[] = [];
  readonly blocks: Block[] = [];
  readonly states = new Map<string, string[]>();
  noted = "";
  finish = "stop";

  constructor(
    private readonly answers: Scripted[],
    /** What the person decides, in turn; a function may do something meanwhile. */
    private readonly decisions: (string | (() => string))[] = [],
  ) {}

  get signal(): AbortSignal {
    return this.stopping.signal;
  }

  stream(question: ModeQuestion): Promise<Answer> {
    this.signal.throwIfAborted();
    this.questions.push(question);
    const scripted = this.answers.shift();
    if (scripted === undefined) throw new Error("The script has ended.");
    const answer = { ...emptyAnswer(), finish: this.finish };
    if (typeof scripted === "string") answer.text = scripted;
    else
      answer.calls = scripted.map(([name, given], at) => ({
        id: `call-${this.questions.length}-${at}`,
        type: "function",
        function: { name, arguments: typeof given === "string" ? given : JSON.stringify(given) },
      }));
    this.messages.push({
      role: "assistant",
      content: answer.text,
      ...(answer.calls.length ? { tool_calls: answer.calls } : {}),
    });
    return Promise.resolve(answer);
  }

  put(block: Block): string {
    this.blocks.push(block);
    return String(this.blocks.length);
  }

  putCall(call: ToolCall, state: string, key = call.id): string {
    this.states.set(key, [...(this.states.get(key) ?? []), state]);
    return key;
  }

  putResult(call: ToolCall, key: string, state: string, content: string): void {
    this.putCall(call, state, key);
    this.messages.push({ role: "tool", tool_call_id: call.id, content });
  }

  keep(...messages: ChatMessage[]): void {
    this.messages.push(...messages);
  }

  approve(question: Approval): Promise<string> {
    this.asked.push(question);
    const decision = this.decisions.shift();
    const made = typeof decision === "function" ? decision() : decision;
    this.signal.throwIfAborted();
    if (made === undefined) throw new Error(`Nobody decides: ${question.title}`);
    return Promise.resolve(made);
  }

  note(text: string): void {
    this.noted = text;
  }

  /** What the model was told of a call. */
  told(id: string): string {
    const found = this.messages.filter((message) => message.tool_call_id === id);
    if (found.length !== 1) throw new Error(`${found.length} results of ${id}`);
    const content = found[0]?.content;
    if (typeof content !== "string") throw new Error(`no text of ${id}`);
    return content;
  }
}
