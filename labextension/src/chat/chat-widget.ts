/** The chat in the sidebar. A conversation lasts as long as the page. */

import type { INotebookTracker } from "@jupyterlab/notebook";
import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { Message } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";
import { button, claimKeys, element } from "../base/elements";
import { number } from "../base/units";
import { type Answer, questionOf, streamAnswer } from "../server/answer-stream";
import type { IMlxServer } from "../server/plugin";
import { sentenceOf } from "../server/request-error";
import { contextOf, conversationOf, SCOPES, type Scope, type Turn } from "./chat-context";
import { ChatEntry, type CodeAction } from "./chat-entry";
import { ModelSelect } from "./model-select";
import { notebookText } from "./notebook-text";

export class ChatWidget extends Widget {
  private readonly log = element("div", {
    class: "mlx-lab-log",
    tabindex: 0,
    "aria-label": "Conversation",
    role: "region",
  });
  private readonly input = element("textarea", {
    rows: 3,
    placeholder: "Ask about your notebook",
    "aria-label": "Question",
  });
  private readonly sendButton = button("Send", () => void this.send(), {
    class: "mlx-lab-button mlx-lab-main",
  });
  private readonly stopButton = button("Stop", () => this.running?.abort());
  private readonly budget = element("small", { role: "status" });
  private readonly chips = new Map<Scope, HTMLButtonElement>();
  private readonly scopes = new Set<Scope>(["cell"]);
  private readonly models: ModelSelect;
  private turns: Turn[] = [];
  private running: AbortController | undefined;

  constructor(
    private readonly server: IMlxServer,
    private readonly notebooks: INotebookTracker,
    private readonly registry: IRenderMimeRegistry,
    private readonly actions: readonly CodeAction[],
  ) {
    super();
    this.addClass("mlx-lab-chat");
    this.node.setAttribute("aria-label", "Chat with the model");
    this.node.setAttribute("role", "region");
    this.models = new ModelSelect(server);
    const again = button("New chat", () => this.clear());
    const chips = SCOPES.map(({ scope, label }) => {
      const chip = button(label, () => this.toggle(scope), {
        class: "mlx-lab-button mlx-lab-chip",
        "aria-label": label,
      });
      this.chips.set(scope, chip);
      return chip;
    });
    this.stopButton.hidden = true;
    this.node.append(
      element("div", { class: "mlx-lab-row" }, this.models.node, again),
      this.log,
      element(
        "div",
        { class: "mlx-lab-row", role: "group", "aria-label": "What the model sees" },
        ...chips,
        this.budget,
      ),
      this.input,
      element("div", { class: "mlx-lab-row" }, this.sendButton, this.stopButton),
    );
    claimKeys(this.node);
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      void this.send();
    });
    this.clear();
  }

  protected override onAfterAttach(_: Message): void {
    this.models.start();
    this.notebooks.activeCellChanged.connect(this.showContext, this);
    this.notebooks.selectionChanged.connect(this.showContext, this);
    this.showContext();
  }

  protected override onBeforeDetach(_: Message): void {
    this.models.stop();
    this.notebooks.activeCellChanged.disconnect(this.showContext, this);
    this.notebooks.selectionChanged.disconnect(this.showContext, this);
  }

  protected override onActivateRequest(_: Message): void {
    this.input.focus();
  }

  private toggle(scope: Scope): void {
    if (!this.scopes.delete(scope)) this.scopes.add(scope);
    this.showContext();
  }

  private context(): ReturnType<typeof contextOf> {
    const { contextTokens } = this.server.settings;
    return contextOf(notebookText(this.notebooks), this.scopes, contextTokens);
  }

  private showContext(): void {
    for (const [scope, chip] of this.chips)
      chip.setAttribute("aria-pressed", String(this.scopes.has(scope)));
    const { tokens, isCut } = this.context();
    const cut = isCut ? ", the rest is left out" : "";
    this.budget.textContent = tokens
      ? `about ${number(tokens)} tokens${cut}`
      : "nothing goes along";
  }

  private clear(): void {
    this.running?.abort();
    this.turns = [];
    this.log.replaceChildren(
      element("p", {}, "Ask about the notebook. What goes along is chosen below."),
    );
  }

  private async send(): Promise<void> {
    const question = this.input.value.trim();
    if (!question || this.running) return;
    this.input.value = "";
    const { client, settings } = this.server;
    const { text: context, tokens } = this.context();
    if (!this.turns.length) this.log.replaceChildren();
    const attached = tokens ? `with about ${number(tokens)} tokens of the notebook` : "";
    const entry = new ChatEntry(question, attached, this.registry, this.actions);
    this.log.append(entry.node);
    entry.node.scrollIntoView({ block: "end" });
    const turn: Turn = { question, context, answer: "" };
    this.turns.push(turn);
    const turns = this.turns;
    const controller = new AbortController();
    this.setRunning(controller);
    let began = performance.now();
    let last: Answer | undefined;
    let problem = "";
    try {
      const asked = questionOf(conversationOf(turns), settings);
      for await (const answer of streamAnswer(client, asked, controller.signal)) {
        // The speed is that of the answer, without the time that a model takes to load.
        if (!last?.text) began = performance.now();
        last = { ...answer };
        turn.answer = answer.text;
        entry.grow(answer);
        this.follow();
      }
    } catch (error) {
      problem = controller.signal.aborted ? "Stopped." : sentenceOf(error);
    }
    this.setRunning(undefined);
    await entry.finish(last, (performance.now() - began) / 1000, problem);
    this.follow();
  }

  private setRunning(controller: AbortController | undefined): void {
    this.running = controller;
    const hadFocus = document.activeElement === this.stopButton;
    this.sendButton.hidden = controller !== undefined;
    this.stopButton.hidden = controller === undefined;
    if (hadFocus) this.input.focus();
  }

  /** Keep the end in view, unless the reader has scrolled up. */
  private follow(): void {
    const { scrollHeight, scrollTop, clientHeight } = this.log;
    if (scrollHeight - scrollTop - clientHeight < 120) this.log.scrollTop = scrollHeight;
  }
}
