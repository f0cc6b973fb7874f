/** The settings of the extension, typed. `schema/plugin.json` describes them. */

import type { ISettingRegistry } from "@jupyterlab/settingregistry";
import { type ISignal, Signal } from "@lumino/signaling";

export type Switch = "auto" | "on" | "off";
export type Place = "data" | "beside";
export type Variables = "none" | "types" | "values";

export class Settings {
  private registered: ISettingRegistry.ISettings | undefined;
  private readonly changedSignal = new Signal<this, void>(this);

  /** Emitted when a setting has changed. */
  get changed(): ISignal<this, void> {
    return this.changedSignal;
  }

  /** Take the values of JupyterLab's settings from now on. */
  use(registered: ISettingRegistry.ISettings): void {
    this.registered = registered;
    registered.changed.connect(() => this.changedSignal.emit());
    this.changedSignal.emit();
  }

  /** The model that answers; empty: the server's default model. */
  get model(): string {
    return this.read<string>("model", "");
  }

  get completions(): Switch {
    return this.read<Switch>("completions", "auto");
  }

  /** The model that completes code; empty: the server chooses it. */
  get completionModel(): string {
    return this.read<string>("completionModel", "");
  }

  /** How many tokens of other cells a completion may use. */
  get completionContextTokens(): number {
    return this.read<number>("completionContextTokens", 1024);
  }

  /** Where the conversations of the sidebar are kept. */
  get conversations(): Place {
    return this.read<Place>("conversations", "data");
  }

  /** How many tokens of the notebook a question may use. */
  get contextTokens(): number {
    return this.read<number>("contextTokens", 3000);
  }

  get maxTokens(): number {
    return this.read<number>("maxTokens", 1024);
  }

  get variables(): Variables {
    return this.read<Variables>("variables", "types");
  }

  /** After how many requests of one turn the agent asks whether it may go on. */
  get agentSteps(): number {
    return this.read<number>("agentSteps", 20);
  }

  /** Whether the agent shows a plan first. */
  get agentPlan(): boolean {
    return this.read<boolean>("agentPlan", true);
  }

  /** @throws Error if JupyterLab cannot write its settings. */
  async set(name: string, value: string | number): Promise<void> {
    if (this.registered === undefined) throw new Error("The settings are not loaded yet.");
    await this.registered.set(name, value);
  }

  private read<T extends string | number | boolean>(name: string, otherwise: T): T {
    const value = this.registered?.composite[name];
    return typeof value === typeof otherwise ? (value as T) : otherwise;
  }
}
