/** The choice of the model that answers, which is a setting. */

import { element } from "../base/elements";
import { tellError } from "../base/notify";
import type { IMlxServer } from "../server/plugin";

const USABLE: readonly string[] = ["resident", "available", "loading", "upstream"];

export class ModelSelect {
  readonly node = element("select", { class: "mlx-lab-select", "aria-label": "Model" });
  private release: () => void = () => undefined;

  constructor(private readonly server: IMlxServer) {
    this.node.addEventListener("change", () => {
      server.settings.set("model", this.node.value).catch(tellError);
    });
  }

  start(): void {
    const { watcher, settings } = this.server;
    this.release = watcher.want("models");
    watcher.changed.connect(this.draw, this);
    settings.changed.connect(this.draw, this);
    this.draw();
  }

  stop(): void {
    this.release();
    this.server.watcher.changed.disconnect(this.draw, this);
    this.server.settings.changed.disconnect(this.draw, this);
  }

  private draw(): void {
    const { watcher, settings } = this.server;
    const models = (watcher.catalog?.models ?? [])
      .filter(({ state, capabilities }) => USABLE.includes(state) && capabilities.includes("chat"))
      .map(({ id }) => id);
    if (settings.model && !models.includes(settings.model)) models.push(settings.model);
    const standard = watcher.status?.default_model;
    const wanted = [["", standard ? `Server's default: ${standard}` : "Server's default"]];
    wanted.push(...models.map((id) => [id, id]));
    const key = JSON.stringify(wanted);
    // An open list must not be replaced under the pointer.
    if (this.node.dataset.shown !== key) {
      this.node.dataset.shown = key;
      this.node.replaceChildren(
        ...wanted.map(([value = "", label = ""]) => element("option", { value }, label)),
      );
    }
    this.node.value = settings.model;
  }
}
