/** Orders about models, as the panel Models gives them in a notebook. */

import type { ServerClient } from "./server-client";
import type { StatusWatcher } from "./status-watcher";

export class ModelOrders {
  constructor(
    private readonly client: ServerClient,
    private readonly watcher: StatusWatcher,
  ) {}

  load = (model: string): Promise<unknown> => this.order("load", { model });
  unload = (model: string): Promise<unknown> => this.order("unload", { model });
  download = (model: string): Promise<unknown> => this.order("download", { model });
  cancel = (model: string): Promise<unknown> => this.order("cancel", { model });
  pin = (model: string, pinned: boolean): Promise<unknown> => this.order("pin", { model, pinned });

  /** Load a model after unloading those that are neither pinned nor in use. */
  async swap(model: string): Promise<unknown> {
    for (const other of this.watcher.status?.models ?? []) {
      if (other.id !== model && !other.pinned && !other.active) await this.unload(other.id);
    }
    return this.load(model);
  }

  private async order(name: string, body: Record<string, unknown>): Promise<unknown> {
    // A load takes a while, and the list shows its progress.
    this.watcher.refresh("models");
    try {
      return await this.client.post(`mlx/models/${name}`, body);
    } finally {
      this.watcher.refresh("models");
    }
  }
}
