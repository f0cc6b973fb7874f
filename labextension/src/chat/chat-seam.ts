/**
 * How another module answers in the chat, and draws in it.
 *
 * A plugin requires `IMlxChat`. It adds a **mode**: the person chooses it beside the model, and the
 * mode answers the next questions. Within a question the mode has a **turn**. All that it shows goes
 * through the turn, in **blocks** of one answer: plain objects that are saved with the conversation.
 * The kinds `text`, `reasoning`, `call` and `notice` are drawn already; `addBlock` draws others, such
 * as a plan or a diff. The elements of a block are made again after a reload, from its fields alone.
 *
 * A decision of the person is `turn.approve`. It is drawn at one place for all modes, below the
 * message box, with the rules of the chat: the focus stays in the text, Refuse stands first, and no
 * button and no key counts in the first second. Do not draw approvals into blocks.
 *
 * A button in a block is for what comes later, such as undoing a turn. Use `button` and `element` of
 * `base/elements`; what a model or a tool wrote is set as text, or shown with `MarkdownView`.
 *
 * Stop aborts `turn.signal`. A turn that then throws ends with "Interrupted"; any other error that
 * `answer` throws is shown below the answer. The page may be left at any moment: what was `put` and
 * `keep`-ed until then is there again.
 *
 * ```ts
 * activate: (app, chat: IMlxChat) => {
 *   chat.addBlock("plan", () => {
 *     const el = element("ol");
 *     return {
 *       el,
 *       update: ({ steps }) =>
 *         el.replaceChildren(...(steps as string[]).map((step) => element("li", {}, step))),
 *     };
 *   });
 *   chat.addMode({
 *     name: "agent",
 *     label: "Agent",
 *     description: "Changes the notebook step by step, after you have allowed it.",
 *     answer: async (turn) => {
 *       const plan = turn.put({ kind: "plan", steps: ["Read the cells"] });
 *       const answer = await turn.stream({ system: "…", tools });
 *       for (const call of answer.calls) {
 *         const key = turn.putCall(call, "waiting for your approval");
 *         const decision = await turn.approve({
 *           title: "May the model change cell 3?",
 *           text: "…",
 *           block: { kind: "diff", before, after },
 *           choices: [
 *             { label: "Allow once", decision: "once" },
 *             { label: "Allow in this notebook", decision: "notebook" },
 *           ],
 *         });
 *         turn.putResult(call, key, decision === "refuse" ? "refused" : "done", "The result.");
 *       }
 *     },
 *   });
 * }
 * ```
 */

import type { NotebookPanel } from "@jupyterlab/notebook";
import { Token } from "@lumino/coreutils";
import type { IDisposable } from "@lumino/disposable";
import type {
  Answer,
  ChatMessage,
  ContentPart,
  ToolCall,
  ToolChoice,
  ToolDefinition,
} from "../server/answer-stream";

export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };

/** One part of an answer. All fields are JSON, since they are saved. */
export interface Block {
  /** What draws it. */
  readonly kind: string;
  readonly [field: string]: Json;
}

/** The element of one block. */
export interface BlockView {
  readonly el: HTMLElement;
  /** Show the block's fields; called at first and after each `put`. */
  update(block: Block): void;
}

/** A question of approval. */
export interface Approval {
  /** What is asked, in one sentence. */
  title: string;
  /** What would be done: all of it, since this is what the person allows. Shown as text. */
  text: string;
  /** What is drawn above the buttons besides, such as a diff; its kind is one of `addBlock`. */
  block?: Block;
  /** The buttons after Refuse. */
  choices: readonly { label: string; decision: string }[];
}

/** What a mode asks the model. */
export interface ModeQuestion {
  system: string;
  tools?: ToolDefinition[];
  messages?: readonly ChatMessage[];
  toolChoice?: ToolChoice;
}

/** One question and what answers it. */
export interface ChatTurn {
  /** The notebook of the conversation; null if none is open. */
  readonly panel: NotebookPanel | null;
  /**
   * The messages for the model: earlier turns, the question, and what this turn has kept since.
   * There is no system message among them.
   */
  readonly messages: readonly ChatMessage[];
  /** Aborted when the person stops the answer. */
  readonly signal: AbortSignal;

  /**
   * Ask the model, and show its reasoning and its text as they come. The reply is kept; if it is
   * cut off at its longest length, the person may let it go on. Calls of tools in it are for the
   * mode to show and to answer, each with `putResult`.
   *
   * @param question `messages` takes the place of the turn's own, such as with shorter results;
   *   `toolChoice` demands a call.
   * @throws RequestError if the server refuses.
   */
  stream(question: ModeQuestion): Promise<Answer>;

  /** Show a block; with the key of an earlier one, in its place. Return its key. */
  put(block: Block, key?: string): string;

  /** Show a call of a tool and its state, such as "running". Return its key. */
  putCall(call: ToolCall, state: string, key?: string): string;

  /** Show the result of a call below it, and keep it for the model. */
  putResult(call: ToolCall, key: string, state: string, content: string | ContentPart[]): void;

  /** Keep messages for the model which the person does not see. */
  keep(...messages: ChatMessage[]): void;

  /**
   * Ask the person. Several questions are asked one after the other.
   *
   * @returns The decision of the choice, or `refuse`.
   * @throws DOMException if the answer is stopped meanwhile.
   */
  approve(question: Approval): Promise<string>;

  /** Show one line below the answer, in place of the one before. */
  note(text: string): void;
}

/** A way to answer. */
export interface ChatMode {
  /** One word, which is saved with the conversation. */
  readonly name: string;
  /** The name in the list of modes. */
  readonly label: string;
  /** What it does, in one sentence. */
  readonly description: string;
  /** What stands below the message box while the mode is chosen. */
  readonly controls?: HTMLElement;
  /** Answer the question of the turn. */
  answer(turn: ChatTurn): Promise<void>;
}

/** The chat in the sidebar. */
export interface IMlxChat {
  /** Offer another mode. */
  addMode(mode: ChatMode): IDisposable;
  /** Answer the next questions of the present conversation in a mode. */
  choose(mode: string): void;
  /** Draw blocks of a kind. */
  addBlock(kind: string, make: () => BlockView): IDisposable;
}

export const IMlxChat = new Token<IMlxChat>(
  "mlx-notebook:IMlxChat",
  "The chat in the sidebar: other modes and other blocks in it.",
);
