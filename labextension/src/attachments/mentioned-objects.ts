/** Variables of the kernel and files of the server that a question mentions. */

import { PathExt } from "@jupyterlab/coreutils";
import type { INotebookContent } from "@jupyterlab/nbformat";
import type { NotebookPanel } from "@jupyterlab/notebook";
import type { Contents } from "@jupyterlab/services";
import { fenced } from "../assistant/tasks";
import type { Attachment } from "../conversations/conversation";
import { askVariable, listVariables } from "../kernel/kernel-questions";
import { folderOf, type Mention } from "./mentions";
import { charactersOf, fitted } from "./token-budget";

// A larger file is no attachment; its size is known before it is read.
const MAX_BYTES = 4_000_000;

const kernelOf = (panel: NotebookPanel | null) => panel?.sessionContext.session?.kernel ?? null;

/** What there is to mention: the kernel's variables, and the files of one folder. */
export async function listMentions(
  panel: NotebookPanel | null,
  contents: Contents.IManager,
  typed: string,
): Promise<Mention[]> {
  const variables = listVariables(kernelOf(panel)).then((all) =>
    all.map(({ name, type }): Mention => ({ kind: "variable", name, note: type })),
  );
  const folder = folderOf(panel?.context.path ?? "", typed);
  const files = contents
    .get(folder, { content: true })
    .then(({ content }) => (content as Contents.IModel[]).map((file) => mentionOf(file, panel)))
    .then((all) => all.sort((one, other) => one.name.localeCompare(other.name)));
  // A kernel that ends, or a folder that does not exist, has nothing to offer.
  const found = await Promise.allSettled([variables, files]);
  return found.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
}

function mentionOf({ path, type }: Contents.IModel, panel: NotebookPanel | null): Mention {
  const own = PathExt.dirname(panel?.context.path ?? "");
  const name = own && path.startsWith(`${own}/`) ? path.slice(own.length + 1) : path;
  const isFolder = type === "directory";
  return { kind: "file", name: isFolder ? `${name}/` : name, note: isFolder ? "folder" : "file" };
}

/**
 * Read what a mention stands for, within a number of tokens.
 *
 * @throws Error if it cannot be read; the sentence is for the person.
 */
export async function readMention(
  { kind, name }: Mention,
  panel: NotebookPanel | null,
  contents: Contents.IManager,
  budget: number,
): Promise<Attachment & { isCut: boolean }> {
  if (kind === "file") return readFile(name, panel, contents, budget);
  const kernel = kernelOf(panel);
  if (kernel === null) throw new Error("This notebook has no kernel.");
  const parts = await askVariable(kernel, name, Math.max(100, charactersOf(budget)));
  const text = parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n");
  const image = parts.find((part) => part.type === "image_url");
  const shown = fitted(text, budget);
  return {
    label: `@${name}`,
    text: shown.text && fenced(shown.text),
    image: image?.image_url.url ?? "",
    isCut: shown.isCut,
  };
}

async function readFile(
  name: string,
  panel: NotebookPanel | null,
  contents: Contents.IManager,
  budget: number,
): Promise<Attachment & { isCut: boolean }> {
  const path = PathExt.join(PathExt.dirname(panel?.context.path ?? ""), name);
  const { size, type } = await contents.get(path, { content: false });
  if (type === "directory") throw new Error(`${name} is a folder: choose a file in it.`);
  if ((size ?? 0) > MAX_BYTES) throw new Error(`${name} is too large to go along.`);
  const label = `@${name}`;
  const file = await contents.get(path, { content: true });
  if (file.type === "notebook") {
    const shown = fitted(notebookText(file.content as INotebookContent), budget);
    return { label, image: "", ...shown };
  }
  const mimeType = file.mimetype;
  if (file.format === "base64") {
    if (!/^image\/(png|jpeg|gif|webp)$/.test(mimeType))
      throw new Error(`${name} is neither a text nor an image.`);
    const data = (file.content as string).replace(/\s/g, "");
    return { label, text: "", image: `data:${mimeType};base64,${data}`, isCut: false };
  }
  const shown = fitted(String(file.content), budget);
  return { label, text: shown.text && fenced(shown.text), image: "", isCut: shown.isCut };
}

/** The cells of a notebook in a file, without their outputs. */
const notebookText = ({ cells }: INotebookContent): string =>
  cells
    .map(({ cell_type, source }) => {
      const text = Array.isArray(source) ? source.join("") : source;
      return cell_type === "code" ? fenced(text) : text;
    })
    .join("\n\n");
