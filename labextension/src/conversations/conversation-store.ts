/** Where conversations are kept: in Jupyter's data directory, or beside their notebook. */

import { PathExt } from "@jupyterlab/coreutils";
import type { Contents } from "@jupyterlab/services";
import { ServerConnection } from "@jupyterlab/services";
import type { ServerClient } from "../server/server-client";
import { type Content, readContent, savedContent } from "./conversation";

/** A conversation in a list. */
export interface Summary {
  id: string;
  /** The path of its notebook. */
  notebook: string;
  title: string;
  /** When it was saved, in seconds. */
  changed: number;
}

export interface Saved {
  notebook: string;
  title: string;
  content: Content;
}

export interface ConversationStore {
  /** The conversations about a notebook, and about others if they can be found; newest first. */
  list(notebook: string): Promise<Summary[]>;
  load(summary: Pick<Summary, "id" | "notebook">): Promise<Saved>;
  save(id: string, saved: Saved): Promise<void>;
  rename(summary: Summary, title: string): Promise<void>;
  remove(summary: Pick<Summary, "id" | "notebook">): Promise<void>;
  /** Follow a notebook that has another path now. */
  move(from: string, to: string): Promise<void>;
}

/** The server extension keeps them in Jupyter's data directory. */
export class DataStore implements ConversationStore {
  constructor(private readonly client: Pick<ServerClient, "get" | "ask">) {}

  async list(_notebook: string): Promise<Summary[]> {
    return (await this.client.get<{ data: Summary[] }>("mlx/conversations")).data;
  }

  async load({ id }: { id: string }): Promise<Saved> {
    const saved = await this.client.get<Saved>(pathOf(id));
    return { ...saved, content: readContent(saved.content) };
  }

  async save(id: string, { notebook, title, content }: Saved): Promise<void> {
    await this.client.ask("PUT", pathOf(id), { notebook, title, content: savedContent(content) });
  }

  async rename({ id }: Summary, title: string): Promise<void> {
    await this.client.ask("PATCH", pathOf(id), { title });
  }

  async remove({ id }: { id: string }): Promise<void> {
    await this.client.ask("DELETE", pathOf(id));
  }

  async move(from: string, to: string): Promise<void> {
    for (const { id, notebook } of await this.list(from))
      if (notebook === from) await this.client.ask("PATCH", pathOf(id), { notebook: to });
  }
}

const pathOf = (id: string): string => `mlx/conversations/${encodeURIComponent(id)}`;

/** Jupyter's contents API keeps them in a folder beside the notebook: `NAME.chats/ID.json`. */
export class BesideStore implements ConversationStore {
  private readonly known = new Map<string, { modified: string; summary: Summary }>();

  constructor(private readonly contents: Contents.IManager) {}

  async list(notebook: string): Promise<Summary[]> {
    const folder = await this.get(folderOf(notebook), true);
    const files = (folder?.content ?? []) as Contents.IModel[];
    const found = await Promise.all(
      files
        .filter(({ name }) => /^[\w-]{1,64}\.json$/.test(name))
        .map((file) => this.read(file, notebook)),
    );
    return found.filter((one) => one !== undefined).sort((a, b) => b.changed - a.changed);
  }

  async load({ id, notebook }: Pick<Summary, "id" | "notebook">): Promise<Saved> {
    const file = await this.get(fileOf(notebook, id), true);
    if (file === undefined) throw new Error("The conversation is gone.");
    const { title, content } = JSON.parse(file.content as string) as Record<string, unknown>;
    const named = typeof title === "string" && title ? title : "Conversation";
    return { notebook, title: named, content: readContent(content) };
  }

  async save(id: string, { notebook, title, content }: Saved): Promise<void> {
    const folder = folderOf(notebook);
    if ((await this.get(folder, false)) === undefined)
      await this.contents.save(folder, { type: "directory" });
    const text = JSON.stringify({ title, content: savedContent(content) }, null, 1);
    await this.contents.save(fileOf(notebook, id), { type: "file", format: "text", content: text });
  }

  async rename(summary: Summary, title: string): Promise<void> {
    await this.save(summary.id, { ...(await this.load(summary)), title });
  }

  async remove({ id, notebook }: Pick<Summary, "id" | "notebook">): Promise<void> {
    await this.contents.delete(fileOf(notebook, id));
  }

  async move(from: string, to: string): Promise<void> {
    if ((await this.get(folderOf(from), false)) === undefined) return;
    await this.contents.rename(folderOf(from), folderOf(to));
  }

  private async read(file: Contents.IModel, notebook: string): Promise<Summary | undefined> {
    const known = this.known.get(file.path);
    if (known?.modified === file.last_modified) return known.summary;
    const id = PathExt.basename(file.name, ".json");
    try {
      const { title } = await this.load({ id, notebook });
      const summary = { id, notebook, title, changed: Date.parse(file.last_modified) / 1000 };
      this.known.set(file.path, { modified: file.last_modified, summary });
      return summary;
    } catch {
      // A file that is no conversation, or that is deleted meanwhile, is not ours to list.
      return undefined;
    }
  }

  /** Return a file or folder; undefined if there is none. */
  private async get(path: string, content: boolean): Promise<Contents.IModel | undefined> {
    try {
      return await this.contents.get(path, { content });
    } catch (error) {
      if (error instanceof ServerConnection.ResponseError && error.response.status === 404)
        return undefined;
      throw error;
    }
  }
}

const folderOf = (notebook: string): string => `${notebook.replace(/\.ipynb$/, "")}.chats`;
const fileOf = (notebook: string, id: string): string => `${folderOf(notebook)}/${id}.json`;
