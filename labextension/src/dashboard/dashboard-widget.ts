/** The dashboard as a tab: the panels Models, Activity and Inspector without a kernel. */

import type { Message } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";
import type { IMlxServer } from "../server/plugin";
import { inspectorActions } from "./inspector-actions";
import {
  commonFields,
  dashboardFields,
  type Fields,
  inspectorFields,
  modelsFields,
  statsFields,
} from "./panel-fields";
import { type Action, PanelModel } from "./panel-model";
import {
  dashboardScript,
  inspectorScript,
  modelsScript,
  type PanelScript,
  statsScript,
} from "./panel-scripts";

interface Part {
  title: string;
  script: PanelScript;
  model: PanelModel;
  build: () => Fields;
}

export class DashboardWidget extends Widget {
  private readonly parts: Part[];
  private readonly whole: PanelModel;
  private release: (() => void)[] = [];

  constructor(private readonly server: IMlxServer) {
    super();
    this.addClass("mlx-lab-dashboard");
    const { watcher } = server;
    const part = (
      title: string,
      script: PanelScript,
      actions: Record<string, Action>,
      build: () => Fields,
    ): Part => ({ title, script, model: new PanelModel(actions), build });
    this.parts = [
      part("Models", modelsScript, modelActions(server), () => modelsFields(watcher)),
      part("Activity", statsScript, requestActions(server), () => statsFields(watcher)),
      part("Inspector", inspectorScript, inspectorActions(server.client), () =>
        inspectorFields(watcher),
      ),
    ];
    this.whole = new PanelModel(
      {},
      { titles: this.parts.map(({ title }) => title), panels: this.parts.map((_, at) => at) },
      {
        get_model: (at: string) => Promise.resolve(this.parts[Number(at)]),
        create_view: (shown: Part) => Promise.resolve(viewOf(shown)),
      },
    );
  }

  protected override onAfterAttach(_: Message): void {
    const { watcher } = this.server;
    this.release = [watcher.want("models"), watcher.want("traces")];
    watcher.changed.connect(this.draw, this);
    this.draw();
    dashboardScript.initialize({ model: this.whole });
    this.release.push(dashboardScript.render({ model: this.whole, el: this.node }));
  }

  protected override onBeforeDetach(_: Message): void {
    this.server.watcher.changed.disconnect(this.draw, this);
    for (const end of this.release) end();
    this.node.replaceChildren();
  }

  override dispose(): void {
    if (this.isDisposed) return;
    super.dispose();
    for (const { model } of this.parts) model.dispose();
    this.whole.dispose();
  }

  private draw(): void {
    const { watcher, client } = this.server;
    const common = commonFields(watcher, client.settings.baseUrl);
    for (const { model, build } of this.parts) model.show({ ...common, ...build() });
    this.whole.show({ ...common, ...dashboardFields(watcher) });
  }
}

/** A view as the manager of widgets would return it. */
function viewOf({ script, model }: Part): { el: HTMLElement; remove: () => void } {
  const el = document.createElement("div");
  script.initialize({ model });
  const remove = script.render({ model, el });
  return { el, remove };
}

function modelActions({ orders, client }: IMlxServer): Record<string, Action> {
  const named = (order: (model: string) => Promise<unknown>): Action => {
    return ({ model }) => order(String(model));
  };
  return {
    load: named(orders.load),
    swap: named((model) => orders.swap(model)),
    unload: named(orders.unload),
    download: named(orders.download),
    cancel: named(orders.cancel),
    convert: (body) => client.post("mlx/jobs", { ...body, kind: "convert" }),
    job: async ({ id }) => {
      const found = await client.get<{ job: unknown }>(
        `mlx/jobs/${encodeURIComponent(String(id))}`,
      );
      return found.job;
    },
    stop_job: ({ id }) => client.post(`mlx/jobs/${encodeURIComponent(String(id))}/cancel`, {}),
    pin: ({ model, pinned }) => orders.pin(String(model), pinned === true),
  };
}

function requestActions({ client }: IMlxServer): Record<string, Action> {
  return { cancel: ({ id }) => client.post(`mlx/cancel/${encodeURIComponent(String(id))}`, {}) };
}
