/** Whether code is completed, with which model, and if not, why. */

import type { Settings } from "../base/settings";
import type { ServerClient } from "../server/server-client";
import type { StatusWatcher } from "../server/status-watcher";

interface Answer {
  available: boolean;
  model: string | null;
  reason: string | null;
}

const SWITCH = "To switch on: the command Complete Code While Typing.";

export interface Choice {
  isOn: boolean;
  /** The model to name in requests; empty: the server's model for completions. */
  model: string;
  /** Why it is off, or what to know about it; may be empty. */
  remark: string;
}

/**
 * Decide by the settings and by what the server says of its model for completions.
 *
 * @param problem Why the server says nothing, as one sentence.
 */
export function decide(
  { completions, completionModel }: Pick<Settings, "completions" | "completionModel">,
  answer: Answer | undefined,
  defaultModel: string | null,
  problem = "",
): Choice {
  if (completions === "off")
    return { isOn: false, model: "", remark: `Completions are off in the settings. ${SWITCH}` };
  if (problem) return { isOn: false, model: "", remark: problem };
  if (completionModel) return { isOn: true, model: completionModel, remark: "" };
  if (answer === undefined)
    return { isOn: false, model: "", remark: "The server has not answered yet." };
  if (answer.available) return { isOn: true, model: "", remark: "" };
  const remark = answer.reason ?? "";
  return completions === "on" && defaultModel !== null
    ? { isOn: true, model: defaultModel, remark }
    : { isOn: false, model: "", remark: `${remark} ${SWITCH}`.trim() };
}

export class Availability {
  private answer: Answer | undefined;
  private askedFor: string | undefined;

  constructor(
    private readonly client: ServerClient,
    private readonly watcher: StatusWatcher,
    private readonly settings: Settings,
  ) {
    watcher.changed.connect(() => void this.refresh());
  }

  /** Whether the server has a model that is good enough for code. */
  get isOffered(): boolean {
    return this.answer?.available ?? false;
  }

  get choice(): Choice {
    const { status, problem } = this.watcher;
    return decide(this.settings, this.answer, status?.default_model ?? null, problem);
  }

  /** Ask the server again when it is another one, or has another default model. */
  private async refresh(): Promise<void> {
    const { status } = this.watcher;
    if (status === null) {
      this.answer = this.askedFor = undefined;
      return;
    }
    const key = status.default_model ?? "";
    if (this.askedFor === key) return;
    this.askedFor = key;
    try {
      this.answer = await this.client.get<Answer>("mlx/completions/inline");
    } catch {
      // The next status asks again. The status bar shows that the server is gone.
      this.askedFor = undefined;
    }
  }
}
