/** What a page leaves behind for itself when it is reloaded in the middle of an answer. */

import { type Content, readContent } from "./conversation";
import type { Saved, Version } from "./conversation-store";

const KEY = "mlx-notebook:left";

export type Left = Saved & { id: string; version: Version };

/** Keep conversations for the next page of this tab. A tab's storage lasts as long as the tab. */
export function leave(conversations: readonly Left[], storage: Storage = sessionStorage): void {
  storage.removeItem(KEY);
  // Without the images, if they are too large for the storage: the server has those.
  for (const content of [conversations, conversations.map(withoutContent)]) {
    try {
      if (conversations.length) storage.setItem(KEY, JSON.stringify(content));
      return;
    } catch {
      // It is full.
    }
  }
}

const withoutContent = ({ id, version, notebook, title }: Left): Omit<Left, "content"> => ({
  id,
  version,
  notebook,
  title,
});

/** Return what the page before has left, once. `content` is missing if it was too large. */
export function takeLeft(
  storage: Storage = sessionStorage,
): (Omit<Left, "content"> & { content?: Content })[] {
  const text = storage.getItem(KEY);
  storage.removeItem(KEY);
  if (text === null) return [];
  const found = JSON.parse(text) as (Omit<Left, "content"> & { content?: unknown })[];
  return found.map(({ content, ...rest }) =>
    content === undefined ? rest : { ...rest, content: readContent(content) },
  );
}
