/** The conversations of the page: found, opened, saved, and continued after a reload. */

import type { INotebookTracker, NotebookPanel } from "@jupyterlab/notebook";
import type { Contents } from "@jupyterlab/services";
import { UUID } from "@lumino/coreutils";
import { type ISignal, Signal } from "@lumino/signaling";
import { tellError } from "../base/notify";
import { forked, newContent } from "../conversations/conversation";
import {
  BesideStore,
  type ConversationStore,
  DataStore,
  type Saved,
  type Summary,
} from "../conversations/conversation-store";
import { leave, takeLeft } from "../conversations/left-pages";
import type { IMlxServer } from "../server/plugin";
import type { ChatMode } from "./chat-seam";
import { ChatSession, type SessionHost } from "./chat-session";

export class ChatSessions {
  current: ChatSession;
  listed: Summary[] = [];
  private readonly opened = new Map<string, ChatSession>();
  private readonly left = new Map(takeLeft().map((one) => [one.id, one]));
  private readonly data: ConversationStore;
  private readonly beside: ConversationStore;
  private readonly changedSignal = new Signal<this, void>(this);
  private wanted = 0;

  constructor(
    private readonly server: IMlxServer,
    private readonly notebooks: INotebookTracker,
    contents: Contents.IManager,
    private readonly modeOf: (name: string) => ChatMode,
  ) {
    this.data = new DataStore(server.client);
    this.beside = new BesideStore(contents);
    this.current = this.make(UUID.uuid4(), this.path);
    notebooks.currentChanged.connect(() => void this.follow());
    notebooks.widgetAdded.connect((_, panel) => this.watch(panel));
    notebooks.forEach((panel) => {
      this.watch(panel);
    });
    server.settings.changed.connect(() => void this.refresh());
    window.addEventListener("pagehide", () => this.leave());
    window.addEventListener("focus", () => this.comeBack());
    document.addEventListener("visibilitychange", () => this.comeBack());
  }

  /** Emitted when another conversation is current, or the list or the current one has changed. */
  get changed(): ISignal<this, void> {
    return this.changedSignal;
  }

  /** Open the last conversation about the notebook in front. */
  async follow(): Promise<void> {
    this.wanted += 1;
    const { wanted, path } = this;
    await this.notebooks.currentWidget?.context.ready;
    await this.refresh();
    if (wanted !== this.wanted || (path === this.current.notebook && !this.current.isEmpty)) return;
    const last = this.listed.find(({ notebook }) => notebook === path);
    if (last === undefined) this.show(this.make(UUID.uuid4(), path));
    else
      await this.open(last).catch((error: unknown) => {
        tellError(error);
        if (path === this.path) this.startNew();
      });
  }

  /** @throws Error if it cannot be read. */
  async open(summary: Pick<Summary, "id" | "notebook" | "title">): Promise<void> {
    const { id, notebook } = summary;
    this.wanted += 1;
    const { wanted } = this;
    let session = this.opened.get(id);
    if (session === undefined) {
      const left = this.left.get(id);
      this.left.delete(id);
      const stored = await this.storeOf(notebook).load({ id, notebook });
      // What the page has left of a conversation that was deleted meanwhile is deleted too.
      if (stored === undefined && left?.version != null) {
        void this.refresh();
        throw new Error(`The conversation “${left.title}” was deleted elsewhere.`);
      }
      const saved = left?.content ? { ...left, content: left.content } : stored;
      if (saved === undefined) throw new Error("The conversation is gone.");
      session = this.opened.get(id) ?? this.make(id, notebook, saved);
      if (stored) session.begin(stored, left?.content ? left.version : stored.version);
      if (left) session.resume();
    } else void session.catchUp();
    if (wanted === this.wanted) this.show(session);
  }

  /** Begin another conversation about the notebook in front. */
  startNew(): void {
    this.wanted += 1;
    this.show(this.make(UUID.uuid4(), this.path));
  }

  /** Go on from an entry in another conversation. */
  fork(key: string): void {
    const { notebook, content, title } = this.current;
    const copy = { notebook, title: `${title} (fork)`, content: forked(content, key) };
    const session = this.make(UUID.uuid4(), notebook, copy);
    this.wanted += 1;
    this.show(session);
    void session.flush().then(() => this.refresh());
  }

  async rename(title: string): Promise<void> {
    const { current } = this;
    current.rename(title);
    await current.flush();
    await this.refresh();
  }

  async remove(): Promise<void> {
    const { id, notebook } = this.current;
    this.current.delete();
    this.opened.delete(id);
    await this.storeOf(notebook).remove({ id, notebook });
    this.startNew();
    await this.refresh();
  }

  /** Read the list again. */
  async refresh(): Promise<void> {
    const { path } = this;
    try {
      const stored = await this.storeOf(path).list(path);
      this.listed = [...stored, ...this.unlisted(stored)];
    } catch (error) {
      this.listed = this.unlisted([]);
      console.warn("The conversations cannot be listed.", error);
    }
    this.changedSignal.emit();
  }

  private unlisted(stored: readonly Summary[]): Summary[] {
    const known = new Set(stored.map(({ id }) => id));
    const { path } = this;
    const open = [...this.left.values(), ...this.opened.values()].filter(
      ({ id, title, notebook }) => title && !known.has(id) && notebook === path,
    );
    return open.map(({ id, title, notebook }) => ({ id, title, notebook, changed: 0 }));
  }

  private get path(): string {
    return this.notebooks.currentWidget?.context.path ?? "";
  }

  private make(id: string, notebook: string, saved?: Saved): ChatSession {
    const { server } = this;
    const host: SessionHost = {
      client: server.client,
      get options() {
        const { model, maxTokens } = server.settings;
        return { model, maxTokens };
      },
      modeOf: this.modeOf,
      panelOf: (path) => this.notebooks.find(({ context }) => context.path === path) ?? null,
      load: (one, path) => this.storeOf(path).load({ id: one, notebook: path }),
      save: (one, content, basedOn) => this.storeOf(content.notebook).save(one, content, basedOn),
      keep: async (copy) => {
        await this.storeOf(copy.notebook).save(UUID.uuid4(), copy, null);
        await this.refresh();
      },
    };
    const session = new ChatSession(id, notebook, saved?.content ?? newContent("answer"), host);
    session.title = saved?.title ?? "";
    this.opened.set(id, session);
    session.changed.connect(() => {
      if (!session.isEmpty && !this.listed.some((one) => one.id === id))
        this.listed = [{ id, notebook, title: session.title, changed: 0 }, ...this.listed];
      if (session === this.current) this.changedSignal.emit();
    });
    return session;
  }

  private show(session: ChatSession): void {
    const { current } = this;
    if (current !== session && current.isEmpty) this.opened.delete(current.id);
    this.current = session;
    this.changedSignal.emit();
  }

  private storeOf(notebook: string): ConversationStore {
    return this.server.settings.conversations === "beside" && notebook ? this.beside : this.data;
  }

  /** Keep the conversations about a notebook with it when it gets another path. */
  private watch({ context }: NotebookPanel): void {
    let before = context.path;
    context.pathChanged.connect((_, path) => {
      const from = before;
      before = path;
      const moved = this.storeOf(path).move(from, path);
      for (const session of this.opened.values())
        if (session.notebook === from) session.move(path, moved);
      moved.then(() => this.refresh()).catch(tellError);
    });
  }

  /** Show what was said in another tab or window meanwhile. */
  private comeBack(): void {
    if (document.hidden) return;
    void this.current.catchUp().then(() => this.refresh());
  }

  private leave(): void {
    const running = [...this.opened.values()].filter((one) => one.isBusy);
    leave(running.map((one) => ({ id: one.id, version: one.version, ...one.saved })));
  }
}
