/** The chips below the message box: what of the notebook goes along with the next question. */

import type { INotebookTracker } from "@jupyterlab/notebook";
import type { Contents } from "@jupyterlab/services";
import { button, element } from "../base/elements";
import type { Settings } from "../base/settings";
import type { Attachment } from "../conversations/conversation";
import { sentenceOf } from "../server/request-error";
import { MentionList } from "./mention-list";
import { listMentions, readMention } from "./mentioned-objects";
import { type Mention, mentionedIn } from "./mentions";
import { notebookText } from "./notebook-text";
import { budgetText, cellsText, type Fitted, SCOPES, type Scope, tokensOf } from "./token-budget";

const BUSY = "The kernel is busy, so its variables are not known. ";

/** Something that was mentioned, as it was when it was chosen. */
interface Chosen {
  mention: Mention;
  read: Attachment & { isCut: boolean };
}

export class ContextChips {
  readonly node: HTMLElement;
  private readonly scopes = new Set<Scope>(["cell"]);
  private readonly chips = new Map<Scope, HTMLButtonElement>();
  private readonly places = element("div", { class: "mlx-lab-chips" });
  private readonly budget = element("small", { role: "status" });
  private readonly list = element("div", {});
  private chosen: Chosen[] = [];
  /** What was removed again: its name in the message takes it no more. */
  private readonly removed = new Set<string>();
  // What is still being read of what was chosen.
  private reading: Promise<void> = Promise.resolve();
  private text: HTMLTextAreaElement | undefined;
  private notify: (message: string, isError?: boolean) => void = () => undefined;

  constructor(
    private readonly notebooks: INotebookTracker,
    private readonly contents: Contents.IManager,
    private readonly settings: Settings,
    more: readonly HTMLElement[],
    private readonly imagesChanged: () => void,
  ) {
    for (const { scope, label } of SCOPES) {
      const chip = button(label, () => this.toggle(scope), {
        class: "mlx-lab-button mlx-lab-chip",
        "aria-label": label,
      });
      this.chips.set(scope, chip);
    }
    const mention = button("@ Variable or file", () => this.mention(), {
      class: "mlx-lab-button mlx-lab-chip",
      title: "Type @ in the message",
    });
    this.node = element(
      "div",
      { role: "group", "aria-label": "What the model sees" },
      this.list,
      element("div", { class: "mlx-lab-chips" }, ...this.chips.values(), mention, ...more),
      this.places,
      this.budget,
    );
  }

  /** Offer the list of `@` in a message box. */
  connect(text: HTMLTextAreaElement, notify: typeof this.notify): void {
    this.text = text;
    this.notify = notify;
    const { currentWidget } = this.notebooks;
    const find = async (typed: string): Promise<Mention[]> => {
      const panel = this.notebooks.currentWidget ?? currentWidget;
      const found = await listMentions(panel, this.contents, typed);
      if (this.isBusy && found.every(({ kind }) => kind === "file"))
        notify(`${BUSY}Only files are listed.`);
      return found;
    };
    this.list.replaceChildren(new MentionList(text, find, (one) => this.add(one)).node);
    this.draw();
  }

  /** Whether an image goes along. */
  get hasImages(): boolean {
    return this.chosen.some(({ read }) => read.image !== "");
  }

  /**
   * Read what goes along now. What was mentioned is read again, since it may have changed; where that
   * is not possible, it goes along as it was when it was chosen. What was chosen a moment ago is
   * waited for, and what cannot be read then is an error. What the message names with `@` goes along
   * too if it was not chosen from the list.
   */
  async take(message: string): Promise<Attachment[]> {
    await this.reading;
    await this.takeTyped(message);
    const { contextTokens } = this.settings;
    const taken: Attachment[] = [];
    let left = contextTokens;
    for (const { mention, read } of this.chosen) {
      const again = await this.read(mention, left).catch(() => read);
      const { label, text, image } = again;
      taken.push({ label, text, image });
      left -= tokensOf(text);
    }
    const cells = this.cells(left);
    const names = SCOPES.filter(({ scope }) => this.scopes.has(scope)).map(({ label }) => label);
    if (cells.text) taken.push({ label: names.join(" and "), text: cells.text, image: "" });
    return taken;
  }

  /** Forget what was mentioned; it belongs to one message. */
  forget(): void {
    this.chosen = [];
    this.removed.clear();
    this.draw();
  }

  draw(): void {
    for (const [scope, chip] of this.chips)
      chip.setAttribute("aria-pressed", String(this.scopes.has(scope)));
    this.places.hidden = this.chosen.length === 0;
    this.places.replaceChildren(...this.chosen.map((one) => this.chip(one)));
    const { contextTokens } = this.settings;
    const used = this.chosen.reduce((sum, { read }) => sum + tokensOf(read.text), 0);
    const cells = this.cells(contextTokens - used);
    const said = budgetText(
      {
        tokens: used + cells.tokens,
        isCut: cells.isCut || this.chosen.some(({ read }) => read.isCut),
      },
      contextTokens,
    );
    const images = this.chosen.filter(({ read }) => read.image).length;
    const more = images ? `, and ${images === 1 ? "an image" : `${images} images`}` : "";
    const text = `${said}${more}`.replace("nothing, and ", "");
    if (this.budget.textContent !== text) this.budget.textContent = text;
    this.imagesChanged();
  }

  private cells(budget: number): Fitted {
    return cellsText(notebookText(this.notebooks), this.scopes, Math.max(0, budget));
  }

  private toggle(scope: Scope): void {
    if (!this.scopes.delete(scope)) this.scopes.add(scope);
    this.draw();
  }

  /** Begin a mention at the cursor, as the key does. */
  private mention(): void {
    const { text } = this;
    if (text === undefined) return;
    text.focus();
    const isApart = /(^|\s)$/.test(text.value.slice(0, text.selectionStart));
    text.setRangeText(isApart ? "@" : " @", text.selectionStart, text.selectionEnd, "end");
    text.dispatchEvent(new Event("input", { bubbles: true }));
  }

  private add(mention: Mention): void {
    const before = this.reading.catch(() => undefined);
    const reading = before.then(() => this.choose(mention));
    this.reading = reading;
    reading
      .catch((error: unknown) => {
        this.notify(sentenceOf(error), true);
        // It was told: the next message goes without it.
        if (this.reading === reading) this.reading = Promise.resolve();
      })
      .finally(() => this.draw());
  }

  private async choose(mention: Mention): Promise<void> {
    const used = this.chosen.reduce((sum, { read }) => sum + tokensOf(read.text), 0);
    const read = await this.read(mention, this.settings.contextTokens - used);
    const others = this.chosen.filter((one) => one.mention.name !== mention.name);
    this.chosen = [...others, { mention, read }];
    this.removed.delete(mention.name);
  }

  /** Choose what was typed to its end, such as `@df` in `What is @df?`. */
  private async takeTyped(message: string): Promise<void> {
    for (const names of mentionedIn(message)) {
      const known = [...this.removed, ...this.chosen.map(({ mention }) => mention.name)];
      if (names.some((name) => known.includes(name))) continue;
      const { currentWidget } = this.notebooks;
      const listed = await listMentions(currentWidget, this.contents, names[0] ?? "");
      const found = names
        .map((name) => listed.find((one) => one.name === name))
        .find((one) => one !== undefined);
      if (found) await this.choose(found);
      else {
        const why = this.isBusy ? BUSY : "There is no such variable or file. ";
        this.notify(`${why}Of @${names.at(-1)} only the name goes along.`);
      }
    }
  }

  private get isBusy(): boolean {
    return this.notebooks.currentWidget?.sessionContext.session?.kernel?.status === "busy";
  }

  private read(mention: Mention, budget: number): Promise<Chosen["read"]> {
    return readMention(mention, this.notebooks.currentWidget, this.contents, budget);
  }

  private chip(one: Chosen): HTMLElement {
    const { label, text, image } = one.read;
    const size = image ? "image" : `${tokensOf(text).toLocaleString("en")} tokens`;
    return element(
      "span",
      { class: "mlx-lab-mentioned" },
      `${label} (${size})`,
      button(
        "Remove",
        () => {
          this.chosen = this.chosen.filter((other) => other !== one);
          this.removed.add(one.mention.name);
          this.draw();
          this.text?.focus();
        },
        { "aria-label": `Remove ${label}` },
      ),
    );
  }
}
