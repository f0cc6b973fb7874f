/** The list of conversations above a chat: choose one, rename it, delete it. */

import { Dialog, InputDialog, showDialog } from "@jupyterlab/apputils";
import { button, element } from "../base/elements";
import { tellError } from "../base/notify";
import type { Summary } from "./conversation-store";

export interface ConversationActions {
  open: (summary: Summary) => Promise<void>;
  rename: (title: string) => Promise<void>;
  remove: () => Promise<void>;
}

const MAX_TITLE = 200;

export class ConversationBar {
  readonly node: HTMLElement;
  private readonly select = element("select", { "aria-label": "Conversation" });
  private readonly renameButton = button("Rename", () => void this.rename().catch(tellError), {
    class: "mlx-button",
    "aria-label": "Rename this conversation",
  });
  private readonly removeButton = button("Delete", () => void this.remove().catch(tellError), {
    class: "mlx-button",
    "aria-label": "Delete this conversation",
  });
  private listed: readonly Summary[] = [];
  private title = "";

  constructor(private readonly actions: ConversationActions) {
    this.node = element(
      "div",
      { class: "mlx-row mlx-lab-conversations" },
      this.select,
      element("div", { class: "mlx-row" }, this.renameButton, this.removeButton),
    );
    this.select.addEventListener("change", () => {
      const chosen = this.listed.find(({ id }) => id === this.select.value);
      if (chosen) actions.open(chosen).catch(tellError);
    });
  }

  /** Show the conversations: those about the notebook first, then the others. */
  show(
    listed: readonly Summary[],
    current: { id: string; notebook: string; isNew: boolean },
  ): void {
    this.listed = listed;
    const own = listed.filter(({ notebook }) => notebook === current.notebook);
    const others = listed.filter(({ notebook }) => notebook !== current.notebook);
    const option = ({ id, title, notebook }: Summary): HTMLElement =>
      element("option", { value: id, title: notebook }, title);
    const parts: HTMLElement[] = [];
    if (current.isNew) parts.push(element("option", { value: current.id }, "New conversation"));
    parts.push(...own.map(option));
    if (others.length)
      parts.push(element("optgroup", { label: "Other notebooks" }, ...others.map(option)));
    const key = JSON.stringify([current, listed.map(({ id, title }) => [id, title])]);
    // An open list must not be replaced under the pointer.
    if (this.select.dataset.shown !== key) {
      this.select.dataset.shown = key;
      this.select.replaceChildren(...parts);
    }
    this.select.value = current.id;
    this.title = listed.find(({ id }) => id === current.id)?.title ?? "";
    this.renameButton.hidden = current.isNew;
    this.removeButton.hidden = current.isNew;
  }

  private async rename(): Promise<void> {
    const { value, button: pressed } = await InputDialog.getText({
      title: "Rename the Conversation",
      label: "Title",
      text: this.title,
      okLabel: "Rename",
    });
    const title = value?.trim().slice(0, MAX_TITLE);
    if (pressed.accept && title) await this.actions.rename(title);
  }

  private async remove(): Promise<void> {
    const { button: pressed } = await showDialog({
      title: "Delete the Conversation?",
      body: `“${this.title}” will be gone.`,
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: "Delete" })],
      defaultButton: 0,
    });
    if (pressed.accept) await this.actions.remove();
    this.select.focus();
  }
}
