/** The list that opens behind an `@` in the message box. The focus stays in the text. */

import { element } from "../base/elements";
import { type Mention, matching, mentionAt } from "./mentions";

let lists = 0;

export class MentionList {
  readonly node: HTMLElement;
  private readonly status = element("span", { class: "mlx-screen-reader", role: "status" });
  private readonly options: HTMLElement;
  private shown: Mention[] = [];
  private chosen = 0;
  private asked = 0;
  private known: { key: string; all: Promise<Mention[]> } | undefined;

  constructor(
    private readonly text: HTMLTextAreaElement,
    private readonly find: (typed: string) => Promise<Mention[]>,
    private readonly take: (mention: Mention) => void,
  ) {
    lists += 1;
    const id = `mlx-lab-mentions-${lists}`;
    this.options = element("div", { class: "mlx-lab-mentions", role: "listbox", id });
    this.options.setAttribute("aria-label", "Variables and files");
    this.options.hidden = true;
    this.node = element("div", {}, this.options, this.status);
    text.setAttribute("aria-autocomplete", "list");
    text.setAttribute("aria-controls", id);
    text.addEventListener("input", () => void this.look());
    text.addEventListener("keydown", (event) => this.press(event), true);
    text.addEventListener("blur", () => this.close());
    // A press must not take the focus from the text.
    this.options.addEventListener("mousedown", (event) => event.preventDefault());
  }

  private async look(): Promise<void> {
    this.asked += 1;
    const { asked } = this;
    const found = mentionAt(this.text.value, this.text.selectionStart);
    if (found === null) {
      this.close();
      return;
    }
    // The list is read once for a word, since each question keeps the kernel busy for a moment.
    const folder = found.typed.slice(0, found.typed.lastIndexOf("/") + 1);
    const key = `${found.start} ${folder}`;
    if (this.known?.key !== key) this.known = { key, all: this.find(found.typed) };
    const all = await this.known.all;
    if (asked !== this.asked || document.activeElement !== this.text) return;
    this.shown = matching(all, found.typed);
    this.chosen = 0;
    this.draw();
  }

  private draw(): void {
    this.options.hidden = this.shown.length === 0;
    this.options.replaceChildren(
      ...this.shown.map(({ name, note }, at) => {
        const option = element(
          "div",
          {
            role: "option",
            id: `${this.options.id}-${at}`,
            "aria-selected": String(at === this.chosen),
          },
          element("span", {}, name),
          element("small", {}, note),
        );
        option.addEventListener("click", () => this.choose(at));
        return option;
      }),
    );
    if (this.shown.length) {
      this.text.setAttribute("aria-activedescendant", `${this.options.id}-${this.chosen}`);
      this.options.children[this.chosen]?.scrollIntoView({ block: "nearest" });
    } else this.text.removeAttribute("aria-activedescendant");
    const said = this.shown.length ? `${this.shown.length} to choose from with the arrow keys` : "";
    if (this.status.textContent !== said) this.status.textContent = said;
  }

  private press(event: KeyboardEvent): void {
    if (this.options.hidden || event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) {
      this.chosen = (this.chosen + step + this.shown.length) % this.shown.length;
      this.draw();
    } else if (event.key === "Enter" || event.key === "Tab") this.choose(this.chosen);
    else if (event.key === "Escape") this.close();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  private choose(at: number): void {
    const mention = this.shown[at];
    const { text } = this;
    const found = mentionAt(text.value, text.selectionStart);
    if (mention === undefined || found === null) {
      this.close();
      return;
    }
    const isFolder = mention.name.endsWith("/");
    const written = `@${mention.name}${isFolder ? "" : " "}`;
    text.setRangeText(written, found.start, text.selectionStart, "end");
    if (isFolder) {
      void this.look();
      return;
    }
    this.close();
    this.take(mention);
  }

  private close(): void {
    this.asked += 1;
    this.known = undefined;
    this.shown = [];
    this.draw();
  }
}
