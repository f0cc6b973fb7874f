/**
 * The chat in the sidebar. The script of the chat panel draws it; this is the other end of the
 * script, which is a kernel in a notebook.
 */

import type { INotebookTracker } from "@jupyterlab/notebook";
import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { Contents } from "@jupyterlab/services";
import { DisposableDelegate, type IDisposable } from "@lumino/disposable";
import type { Message } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";
import { ContextChips } from "../attachments/context-chips";
import { Dictation } from "../attachments/dictation";
import { element } from "../base/elements";
import { ConversationBar } from "../conversations/conversation-bar";
import { PanelModel } from "../dashboard/panel-model";
import { chatScript } from "../dashboard/panel-scripts";
import type { IMlxServer } from "../server/plugin";
import { sentenceOf } from "../server/request-error";
import { AnswerMode } from "./answer-mode";
import type { BlockView, ChatMode, IMlxChat } from "./chat-seam";
import { ChatSessions } from "./chat-sessions";
import { ModeSelect } from "./mode-select";
import { NotebookTools } from "./notebook-tools";

/** What can be done with a block of code. */
export interface CodeAction {
  label: string;
  name: string;
  /** Do it; return what was done, in one sentence, or throw. */
  run: (code: string) => string | Promise<string>;
}

const USABLE: readonly string[] = ["resident", "available", "loading", "upstream"];
const GREETING =
  "Ask about the notebook. What goes along is chosen below the message; @ takes a variable or a file. You can paste or drop images.";

export class ChatWidget extends Widget implements IMlxChat {
  private readonly model: PanelModel;
  private readonly sessions: ChatSessions;
  private readonly bar: ConversationBar;
  private readonly chips: ContextChips;
  private readonly dictation: Dictation;
  private readonly modes: ModeSelect;
  private readonly answerMode: AnswerMode;
  private readonly toolsChip: HTMLElement;
  private readonly makers = new Map<string, () => BlockView>();
  private text: HTMLTextAreaElement | undefined;
  private refused: Record<string, unknown> | null = null;
  private refusals = 0;
  private release: (() => void)[] = [];

  constructor(
    private readonly server: IMlxServer,
    private readonly notebooks: INotebookTracker,
    contents: Contents.IManager,
    rendermime: IRenderMimeRegistry,
    codeActions: readonly CodeAction[],
  ) {
    super();
    this.addClass("mlx-lab-chat");
    const tools = new NotebookTools();
    this.toolsChip = tools.chip;
    this.answerMode = new AnswerMode(tools);
    this.modes = new ModeSelect((mode) => this.sessions.current.set({ mode }));
    this.modes.add(this.answerMode);
    this.sessions = new ChatSessions(server, notebooks, contents, (name) => this.modes.of(name));
    this.bar = new ConversationBar({
      open: (summary) => this.sessions.open(summary),
      rename: (title) => this.sessions.rename(title),
      remove: () => this.sessions.remove(),
    });
    this.dictation = new Dictation(server.client);
    const more = [tools.chip, this.dictation.node];
    this.chips = new ContextChips(notebooks, contents, server.settings, more, () => this.draw());
    const host = {
      codeActions,
      greeting: GREETING,
      head: [this.bar.node],
      context: [this.modes.controls, this.chips.node],
      choices: [this.modes.node],
      makerOf: (kind: string) => this.makers.get(kind) ?? unknownBlock,
      connect: ({ text, notify }: Parts) => {
        this.text = text;
        this.chips.connect(text, notify);
        this.dictation.connect(text, notify);
      },
    };
    this.model = new PanelModel(this.actions(), {}, { rendermime }, host);
    this.sessions.changed.connect(this.draw, this);
    void this.sessions.follow();
  }

  addMode(mode: ChatMode): IDisposable {
    const added = this.modes.add(mode);
    this.draw();
    return added;
  }

  choose(mode: string): void {
    this.sessions.current.set({ mode });
  }

  addBlock(kind: string, make: () => BlockView): IDisposable {
    this.makers.set(kind, make);
    return new DisposableDelegate(() => this.makers.delete(kind));
  }

  protected override onAfterAttach(_: Message): void {
    const { watcher, settings } = this.server;
    chatScript.initialize({ model: this.model });
    this.release = [
      watcher.want("models"),
      chatScript.render({ model: this.model, el: this.node }),
      () => watcher.changed.disconnect(this.draw, this),
      () => settings.changed.disconnect(this.chips.draw, this.chips),
      () => this.notebooks.activeCellChanged.disconnect(this.chips.draw, this.chips),
      () => this.notebooks.selectionChanged.disconnect(this.chips.draw, this.chips),
    ];
    watcher.changed.connect(this.draw, this);
    settings.changed.connect(this.chips.draw, this.chips);
    this.notebooks.activeCellChanged.connect(this.chips.draw, this.chips);
    this.notebooks.selectionChanged.connect(this.chips.draw, this.chips);
    this.draw();
  }

  protected override onBeforeDetach(_: Message): void {
    for (const end of this.release) end();
    this.node.replaceChildren();
  }

  protected override onActivateRequest(_: Message): void {
    this.text?.focus();
    // The command palette gives the focus back to where it was before.
    requestAnimationFrame(() => this.text?.focus());
  }

  override dispose(): void {
    if (this.isDisposed) return;
    super.dispose();
    this.dictation.cancel();
    this.model.dispose();
  }

  private actions(): ConstructorParameters<typeof PanelModel>[0] {
    const { settings } = this.server;
    const now = (action: () => void): Promise<void> => Promise.resolve().then(action);
    return {
      ask: async ({ text, images, replaces }) => {
        try {
          await this.ask(String(text), images as string[], replaces as string | null);
        } catch (error) {
          this.refusals += 1;
          this.refused = { id: this.refusals, text, images, replaces };
          this.draw();
          throw error;
        }
      },
      stop: () => now(() => this.sessions.current.stop()),
      regenerate: () => now(() => this.sessions.current.regenerate()),
      resume: () => now(() => this.sessions.current.resume()),
      reset: () => now(() => this.sessions.startNew()),
      fork: ({ entry }) => now(() => this.sessions.fork(String(entry))),
      decide: ({ call, decision }) =>
        now(() => this.sessions.current.decide(String(call), String(decision))),
      choose: ({ model }) => settings.set("model", (model ?? "") as string),
      set: ({ system, temperature }) =>
        now(() => {
          const given = temperature as number | null;
          if (given !== null && !(given >= 0 && given <= 2))
            throw new Error(`temperature must be between 0 and 2; you gave ${given}.`);
          this.sessions.current.set({ system: String(system), temperature: given });
        }),
    };
  }

  private async ask(text: string, images: string[], replaces: string | null): Promise<void> {
    const { current } = this.sessions;
    const attached = replaces === null ? await this.chips.take(text) : [];
    current.ask(text, images, attached, replaces);
    if (replaces === null) this.chips.forget();
  }

  private draw(): void {
    if (!this.isAttached) return;
    const { current, listed } = this.sessions;
    const { watcher, settings } = this.server;
    const models = (watcher.catalog?.models ?? []).filter(
      ({ state, capabilities }) => USABLE.includes(state) && capabilities.includes("chat"),
    );
    this.bar.show(listed, {
      id: current.id,
      notebook: current.notebook,
      isNew: current.isEmpty,
    });
    this.modes.show(current.content.mode);
    // The functions of the notebook belong to the mode that answers. Others have their own tools.
    this.toolsChip.hidden = current.content.mode !== this.answerMode.name;
    this.dictation.show(watcher.catalog?.models ?? []);
    this.model.show({
      conversation: `${current.id} ${current.renumbered}`,
      entries: current.content.entries,
      busy: current.isBusy || null,
      asking: current.asking,
      models: models.map(({ id }) => id),
      vision_models: models
        .filter(({ capabilities }) => capabilities.includes("vision"))
        .map(({ id }) => id),
      notebook_model: watcher.status?.default_model ?? null,
      own_model: "Server's default",
      model: settings.model || null,
      system: current.content.system || null,
      temperature: current.content.temperature,
      attached_images: this.chips.hasImages,
      problem: watcher.problem || current.problem || null,
      refused: this.refused,
    });
  }
}

/** Parts of the panel's script that the page works with. */
interface Parts {
  text: HTMLTextAreaElement;
  notify: (message: string, isError?: boolean) => void;
}

/** A block of an extension that is not there any more. */
function unknownBlock(): BlockView {
  const el = element("p", { class: "mlx-change" });
  return {
    el,
    update: ({ kind }) => {
      el.textContent = sentenceOf(`A part of the kind ${kind}, which cannot be shown here.`);
    },
  };
}
