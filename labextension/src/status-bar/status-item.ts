/** The item of the status bar: a button with the state of the server, which opens a menu. */

import { MenuSvg } from "@jupyterlab/ui-components";
import type { CommandRegistry } from "@lumino/commands";
import type { Message } from "@lumino/messaging";
import { type Menu, Widget } from "@lumino/widgets";
import { Commands } from "../base/command-ids";
import { button, element } from "../base/elements";
import type { IMlxServer } from "../server/plugin";
import { describeStatus, type StatusText } from "./describe-status";
import { readCatalog, SERVER_DEFAULT } from "./model-commands";

// A menu that is to open does not wait longer for the list of models.
const PATIENCE_MS = 3000;

export class StatusItem extends Widget {
  private readonly control: HTMLButtonElement;
  private readonly label = element("span");
  private menu: Menu | undefined;
  private isOpening = false;
  private shown: StatusText | undefined;

  constructor(
    private readonly server: IMlxServer,
    private readonly commands: CommandRegistry,
    /** What else is to be said of the notebook in front, or an empty text. */
    private readonly remark: () => string,
  ) {
    super();
    this.addClass("mlx-lab-status");
    this.control = button("", () => void this.open(), {
      class: "mlx-lab-status-button",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
    });
    this.control.append(
      element("span", { class: "mlx-lab-dot", "aria-hidden": "true" }),
      this.label,
    );
    this.node.append(this.control);
  }

  /** What the menu shows of the server in whole sentences. */
  get details(): string {
    return [this.shown?.details, this.remark()].filter(Boolean).join(" ");
  }

  protected override onAfterAttach(_: Message): void {
    this.server.watcher.changed.connect(this.draw, this);
    this.server.settings.changed.connect(this.draw, this);
    this.draw();
  }

  protected override onBeforeDetach(_: Message): void {
    this.server.watcher.changed.disconnect(this.draw, this);
    this.server.settings.changed.disconnect(this.draw, this);
  }

  draw(): void {
    const { watcher, settings } = this.server;
    const shown = describeStatus(watcher.status, watcher.problem, settings.model);
    const remark = this.remark();
    if (remark && shown.state !== "problem") shown.text = `${shown.text} · other server`;
    this.shown = shown;
    if (this.label.textContent !== shown.text) this.label.textContent = shown.text;
    this.control.dataset.state = remark ? "problem" : shown.state;
    this.control.title = this.details;
    this.control.setAttribute("aria-label", `mlx-notebook: ${shown.text}. Open its menu`);
    this.commands.notifyCommandChanged(Commands.about);
  }

  private async open(): Promise<void> {
    if (this.isOpening || this.menu?.isAttached) return;
    this.isOpening = true;
    const { commands } = this;
    const menu = new MenuSvg({ commands });
    menu.addClass("mlx-lab-menu");
    menu.addItem({ command: Commands.about });
    menu.addItem({ type: "separator" });
    await this.addModels(menu);
    for (const command of [
      Commands.completions,
      Commands.chat,
      Commands.dashboard,
      Commands.settings,
    ])
      if (commands.hasCommand(command)) menu.addItem({ command });
    this.place(menu);
    this.isOpening = false;
  }

  /** Add what can be done with models. Without an answer of the server, the rest can be chosen. */
  private async addModels(menu: Menu): Promise<void> {
    const { server, commands } = this;
    if (server.watcher.problem) return;
    const modelsIn = await readCatalog(server, AbortSignal.timeout(PATIENCE_MS)).catch(
      () => () => [],
    );
    const submenu = (label: string, command: string, models: readonly string[]): void => {
      if (!models.length) return;
      const list = new MenuSvg({ commands });
      list.title.label = label;
      for (const model of models) list.addItem({ command, args: { model } });
      menu.addItem({ type: "submenu", submenu: list });
    };
    const loadable = modelsIn("available");
    const resident = modelsIn("resident");
    const usable = [...[...resident, ...loadable].sort(), ...modelsIn("upstream").sort()];
    submenu("Load", Commands.load, loadable);
    if (resident.length) submenu("Load and Unload Others", Commands.swap, loadable);
    submenu("Unload", Commands.unload, resident);
    if (usable.length) submenu("Answers Come From", Commands.choose, [SERVER_DEFAULT, ...usable]);
    if (menu.items.length > 2) menu.addItem({ type: "separator" });
  }

  private place(menu: Menu): void {
    this.menu = menu;
    menu.aboutToClose.connect(() => {
      this.control.setAttribute("aria-expanded", "false");
      this.control.focus();
    });
    const { left, top } = this.control.getBoundingClientRect();
    this.control.setAttribute("aria-expanded", "true");
    // It does not fit below, so it opens above.
    menu.open(left, top);
    menu.activeIndex = 2;
  }
}
