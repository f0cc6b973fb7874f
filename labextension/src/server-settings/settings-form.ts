/** The server's own settings as a form. A change counts at once, as in the rest of the editor. */

import { element } from "../base/elements";
import { sentenceOf } from "../server/request-error";
import type { ServerClient } from "../server/server-client";
import type { CatalogModel, ServerSetting } from "../server/wire-types";

type Value = ServerSetting["value"];
type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

interface Kind {
  title: string;
  /** What stands below the title, before the description of the server's documentation. */
  hint?: string;
  create: (value: Value, models: readonly CatalogModel[]) => Control;
  /** The value to send; null is the default. */
  read: (text: string) => Value;
}

const USABLE: readonly CatalogModel["state"][] = ["resident", "loading", "available", "upstream"];

const KINDS: Record<ServerSetting["name"], Kind> = {
  default_model: {
    title: "Default model",
    create: (value, models) => modelSelect("The model that was used last", value, models),
    read: (text) => text || null,
  },
  completion_model: {
    title: "Model for completions",
    create: (value, models) => modelSelect("The server chooses it", value, models),
    read: (text) => text || null,
  },
  models_dirs: {
    title: "Folders of models",
    hint: "One folder a line.",
    create: (value) =>
      element(
        "textarea",
        { rows: 3, spellcheck: "false" },
        (value as string[] | null)?.join("\n") ?? "",
      ),
    read: (text) => {
      const folders = text.split("\n").map((line) => line.trim());
      return folders.some(Boolean) ? folders.filter(Boolean) : null;
    },
  },
  idle_unload_minutes: {
    title: "Idle time in minutes",
    create: (value) =>
      element("input", { type: "number", min: 0, step: "any", value: String(value) }),
    read: (text) => (text.trim() === "" ? null : Number(text)),
  },
};

function modelSelect(otherwise: string, value: Value, models: readonly CatalogModel[]): Control {
  const names = models
    .filter(({ state, capabilities }) => USABLE.includes(state) && capabilities.includes("chat"))
    .map(({ id }) => id)
    .sort();
  const chosen = typeof value === "string" ? value : "";
  if (chosen && !names.includes(chosen)) names.unshift(chosen);
  return element(
    "select",
    {},
    element("option", { value: "" }, otherwise),
    ...names.map((name) => element("option", { value: name, selected: name === chosen }, name)),
  );
}

export class SettingsForm {
  readonly node = element(
    "section",
    { class: "mlx-lab-settings", "aria-label": "Settings of the server" },
    element("h3", {}, "Settings of the server"),
    element(
      "p",
      {},
      "They hold for everyone who uses this server, and also after it starts again.",
    ),
  );
  private readonly rows = element("div");
  private readonly said = element("p", { role: "status", class: "mlx-lab-said" });
  private models: readonly CatalogModel[] = [];

  constructor(private readonly client: Pick<ServerClient, "get" | "patch">) {
    this.node.append(this.rows, this.said);
  }

  /** Ask the server, and show its settings. */
  async load(): Promise<void> {
    try {
      const [shown, catalog] = await Promise.all([
        this.client.get<{ settings: ServerSetting[] }>("mlx/settings"),
        this.client.get<{ models: CatalogModel[] }>("mlx/models"),
      ]);
      this.models = catalog.models;
      this.rows.replaceChildren(...shown.settings.map((setting) => this.row(setting)));
      this.say("");
    } catch (error) {
      this.say(sentenceOf(error), true);
    }
  }

  private row(setting: ServerSetting): HTMLElement {
    const { name, value, description, changeable, obstacle } = setting;
    const kind = KINDS[name];
    const control = kind.create(value, this.models);
    const id = `mlx-lab-setting-${name}`;
    control.id = id;
    control.classList.add("mlx-lab-field");
    control.setAttribute("aria-describedby", `${id}-help`);
    control.disabled = !changeable;
    control.addEventListener("change", () => void this.change(setting, control));
    const help = [kind.hint, description, obstacle].filter(Boolean).join(" ");
    return element(
      "div",
      { class: "mlx-lab-setting" },
      element("label", { for: id }, kind.title),
      element("p", { id: `${id}-help`, class: "mlx-lab-help" }, help),
      control,
    );
  }

  private async change(setting: ServerSetting, control: Control): Promise<void> {
    const { title, read } = KINDS[setting.name];
    const value = read(control.value);
    try {
      const { settings } = await this.client.patch<{ settings: ServerSetting[] }>("mlx/settings", {
        [setting.name]: value,
      });
      const now = settings.find(({ name }) => name === setting.name);
      // A field that was emptied shows the default.
      if (value === null && now && control instanceof HTMLInputElement)
        control.value = String(now.value);
      control.removeAttribute("aria-invalid");
      this.say(`${title}: saved.`);
    } catch (error) {
      control.setAttribute("aria-invalid", "true");
      this.say(`${title}: ${sentenceOf(error)}`, true);
    }
  }

  private say(text: string, isProblem = false): void {
    this.said.textContent = text;
    this.said.classList.toggle("mlx-lab-problem", isProblem);
  }
}
