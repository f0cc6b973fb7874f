/** Where conversations are kept: in Jupyter's data directory, or beside their notebook. */

import { PathExt } from "@jupyterlab/coreutils";
import type { Contents } from "@jupyterlab/services";
import { ServerConnection } from "@jupyterlab/services";
import { RequestError } from "../server/request-error";
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

/** Which version of a conversation is saved; null if none is. */
export type Version = string | number | null;

export interface Loaded extends Saved {
  version: Version;
}

/** Another page has saved or deleted the conversation in the meantime. */
export class ChangedElsewhere extends Error {
  override readonly name = "ChangedElsewhere";
}

export interface ConversationStore {
  /** The conversations about a notebook, and about others if they can be found; newest first. */
  list(notebook: string): Promise<Summary[]>;
  /** Load a conversation; undefined if there is none. */
  load(summary: Pick<Summary, "id" | "notebook">): Promise<Loaded | undefined>;
  /**
   * Save a conversation that goes on from a version, and return its new version.
   *
   * @throws ChangedElsewhere if another version is saved.
   */
  save(id: string, saved: Saved, basedOn: Version): Promise<Version>;
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

  async load({ id }: { id: string }): Promise<Loaded | undefined> {
    try {
      const { changed, ...saved } = await this.client.get<Saved & { changed: number }>(pathOf(id));
      return { ...saved, content: readContent(saved.content), version: changed };
    } catch (error) {
      if (error instanceof RequestError && error.code === "conversation_not_found")
        return undefined;
      throw error;
    }
  }

  async save(id: string, { notebook, title, content }: Saved, basedOn: Version): Promise<Version> {
    const body = { notebook, title, content: savedContent(content), based_on: basedOn };
    try {
      return (await this.client.ask<Summary>("PUT", pathOf(id), body)).changed;
    } catch (error) {
      if (error instanceof RequestError && error.code === "conversation_changed")
        throw new ChangedElsewhere(error.message);
      throw error;
    }
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

  async load({ id, notebook }: Pick<Summary, "id" | "notebook">): Promise<Loaded | undefined> {
    const file = await this.get(fileOf(notebook, id), true);
    if (file === undefined) return undefined;
    const { title, content } = JSON.parse(file.content as string) as Record<string, unknown>;
    const named = typeof title === "string" && title ? title : "Conversation";
    return { notebook, title: named, content: readContent(content), version: file.last_modified };
  }

  async save(id: string, { notebook, title, content }: Saved, basedOn: Version): Promise<Version> {
    const path = fileOf(notebook, id);
    const saved = await this.get(path, false);
    if ((saved?.last_modified ?? null) !== basedOn)
      throw new ChangedElsewhere("The conversation was changed elsewhere.");
    const folder = folderOf(notebook);
    if ((await this.get(folder, false)) === undefined)
      await this.contents.save(folder, { type: "directory" });
    const text = JSON.stringify({ title, content: savedContent(content) }, null, 1);
    const options = { type: "file", format: "text", content: text } as const;
    return (await this.contents.save(path, options)).last_modified;
  }

  async rename(summary: Summary, title: string): Promise<void> {
    const found = await this.load(summary);
    if (found === undefined) throw new Error("The conversation is gone.");
    await this.save(summary.id, { ...found, title }, found.version);
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
      const found = await this.load({ id, notebook });
      if (found === undefined) return undefined;
      const { title } = found;
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
