/** One turn of the chat: the question as it was typed, and the answer as it grows. */

import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { button, element } from "../base/elements";
import { MarkdownView } from "../base/markdown-view";
import { number, plural } from "../base/units";
import type { Answer } from "../server/answer-stream";

export interface CodeAction {
  label: string;
  name: string;
  /** Do it; return what was done, in one sentence, or throw. */
  run: (code: string) => string | Promise<string>;
}

export class ChatEntry {
  readonly node = element("article", { class: "mlx-lab-turn" });
  private readonly view: MarkdownView;
  private readonly note = element("small", { role: "status" });

  constructor(
    question: string,
    attached: string,
    registry: IRenderMimeRegistry,
    private readonly actions: readonly CodeAction[],
  ) {
    this.view = new MarkdownView(registry);
    const asked = element("p", { class: "mlx-lab-question" }, question);
    this.node.setAttribute("aria-label", `Question: ${question.slice(0, 80)}`);
    this.node.append(asked);
    if (attached) this.node.append(element("small", {}, attached));
    this.node.append(this.view.node, this.note);
    this.note.textContent = "Waiting for the model …";
  }

  grow({ text, isReasoning }: Answer): void {
    const doing = isReasoning ? "The model reasons …" : "The model writes …";
    if (this.note.textContent !== doing) this.note.textContent = doing;
    if (text) void this.view.show(text);
  }

  /** Show the whole answer, with buttons at its code, and its figures or what went wrong. */
  async finish(answer: Answer | undefined, seconds: number, problem: string): Promise<void> {
    if (answer?.text) {
      await this.view.show(answer.text);
      this.addTools();
    }
    const tokens = answer?.tokens;
    const figures = tokens
      ? `${plural(tokens, "token")}, ${number(tokens / Math.max(seconds, 0.001))} tokens/s`
      : "";
    this.note.textContent = problem || figures || "The model has not answered.";
    this.note.classList.toggle("mlx-lab-problem", problem !== "");
  }

  private addTools(): void {
    for (const block of this.view.node.querySelectorAll("pre")) {
      const code = block.textContent?.replace(/\n$/, "") ?? "";
      block.tabIndex = 0;
      const said = element("small", { role: "status" });
      const buttons = this.actions.map(({ label, name, run }) =>
        button(
          label,
          () => {
            void (async () => run(code))()
              .catch((error: unknown) => (error instanceof Error ? error.message : String(error)))
              .then((text) => {
                said.textContent = text;
              });
          },
          { "aria-label": name },
        ),
      );
      block.before(element("div", { class: "mlx-lab-row" }, ...buttons, said));
    }
  }
}
