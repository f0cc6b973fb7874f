/** The choice of the way in which the chat answers. */

import { DisposableDelegate, type IDisposable } from "@lumino/disposable";
import { element } from "../base/elements";
import type { ChatMode } from "./chat-seam";

export class ModeSelect {
  /** The choice; hidden while there is one mode only. */
  readonly node: HTMLLabelElement;
  /** What the chosen mode shows above the message's chips. */
  readonly controls = element("div", {});
  private readonly select = element("select", { "aria-label": "Mode" });
  private readonly modes = new Map<string, ChatMode>();
  private shown = "";

  constructor(choose: (mode: string) => void) {
    this.node = element("label", { class: "mlx-row" }, "Mode", this.select);
    this.select.addEventListener("change", () => choose(this.select.value));
  }

  /** Offer a mode, in place of another one of its name. */
  add(mode: ChatMode): IDisposable {
    this.modes.set(mode.name, mode);
    this.draw();
    return new DisposableDelegate(() => {
      this.modes.delete(mode.name);
      this.draw();
    });
  }

  /**
   * Return a mode by its name.
   *
   * @throws Error if there is none.
   */
  of(name: string): ChatMode {
    const mode = this.modes.get(name);
    if (mode === undefined) throw new Error(`This page has no mode ${name}: choose another one.`);
    return mode;
  }

  /** Show which mode is chosen. */
  show(name: string): void {
    this.select.value = name;
    const mode = this.modes.get(name);
    this.select.title = mode?.description ?? "";
    if (this.shown === name) return;
    this.shown = name;
    this.controls.replaceChildren(...(mode?.controls ? [mode.controls] : []));
  }

  private draw(): void {
    const { value } = this.select;
    this.select.replaceChildren(
      ...[...this.modes.values()].map(({ name, label, description }) =>
        element("option", { value: name, title: description }, label),
      ),
    );
    this.select.value = value;
    this.node.hidden = this.modes.size < 2;
    // The controls of a mode may have come with it.
    this.shown = "";
  }
}
