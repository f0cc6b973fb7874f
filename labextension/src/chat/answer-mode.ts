/** The mode of the chat itself: an answer, with the tools of the notebook where they are wanted. */

import { LONGEST, openCalls } from "../conversations/conversation";
import type { ToolCall } from "../server/answer-stream";
import { sentenceOf } from "../server/request-error";
import { callText } from "./call-text";
import type { ChatMode, ChatTurn } from "./chat-seam";
import type { NotebookTools } from "./notebook-tools";

const SYSTEM =
  "You help in a Jupyter notebook. Answer in Markdown, short and to the point. Write code in fenced blocks.";
// How often the model may be asked within one turn.
const MAX_STEPS = 12;

export class AnswerMode implements ChatMode {
  readonly name = "answer";
  readonly label = "Answer";
  readonly description = "Answers, and calls tools of the notebook when you allow it.";

  constructor(private readonly tools: NotebookTools) {}

  async answer(turn: ChatTurn): Promise<void> {
    const { tools, problem } = await this.tools.find(turn.panel);
    if (problem) turn.put({ kind: "notice", text: problem });
    // Calls of an answer that was left are asked about again.
    await this.make(turn, openCalls(turn.messages));
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const { calls, finish } = await turn.stream({ system: SYSTEM, tools });
      if (finish === "length") turn.note(LONGEST);
      if (!calls.length) return;
      await this.make(turn, calls);
    }
    turn.note(`Stopped after ${MAX_STEPS} replies with calls of tools`);
  }

  private async make(turn: ChatTurn, calls: readonly ToolCall[]): Promise<void> {
    for (const call of calls) {
      const key = turn.putCall(call, "waiting for your approval");
      const decision = await this.decide(turn, call);
      if (decision === "refuse") {
        turn.putResult(call, key, "refused", "The call was refused.");
        continue;
      }
      turn.putCall(call, "running", key);
      try {
        const { state, content } = await this.tools.call(turn.panel, call, turn.signal);
        turn.putResult(call, key, state, content);
      } catch (error) {
        if (turn.signal.aborted) throw error;
        turn.putResult(call, key, "failed", `Error: ${sentenceOf(error)}`);
      }
    }
  }

  private async decide(turn: ChatTurn, call: ToolCall): Promise<string> {
    const { name } = call.function;
    if (this.tools.isAllowed(turn.panel, name)) return "allow";
    const decision = await turn.approve({
      title: "May the model call this tool?",
      text: callText(call),
      choices: [
        { label: "Allow", decision: "allow" },
        { label: "Always allow", decision: "always" },
      ],
    });
    if (decision === "always") this.tools.allow(turn.panel, name);
    return decision;
  }
}
