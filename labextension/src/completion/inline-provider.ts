/** Grey text behind the cursor, streamed from the server, and ended by the next keystroke. */

import type { CodeEditor } from "@jupyterlab/codeeditor";
import {
  type CompletionHandler,
  type IInlineCompletionContext,
  type IInlineCompletionItem,
  type IInlineCompletionList,
  type IInlineCompletionProvider,
  InlineCompletionTriggerKind,
} from "@jupyterlab/completer";
import { NotebookPanel } from "@jupyterlab/notebook";
import { PromiseDelegate } from "@lumino/coreutils";
import type { Widget } from "@lumino/widgets";
import { languageOf } from "../base/cell-text";
import { modelIcon } from "../base/icons";
import { cellsBefore } from "../base/notebook-cells";
import { tell, tellError } from "../base/notify";
import type { Settings } from "../base/settings";
import type { VariableCache } from "../kernel/variables";
import { sentenceOf } from "../server/request-error";
import type { ServerClient } from "../server/server-client";
import type { Availability } from "./availability";
import { type InlineRequest, inlineRequest } from "./completion-request";

type InlineEvent = { type: "text"; text: string } | { type: "done" };

/** A request for the text at a cursor. */
interface Begun {
  body: InlineRequest;
  controller: AbortController;
  /** The whole text, as soon as it has ended. */
  ended: PromiseDelegate<string>;
}

interface Running extends Begun {
  text: string;
  events: AsyncGenerator<InlineEvent>;
}

const NOTHING: IInlineCompletionList = { items: [] };
// As long as JupyterLab shows that it waits. A model may have to be loaded first.
export const TIMEOUT_MS = 30_000;
const PATH = "mlx/completions/inline";
// How much another proposal may differ from the first.
const TEMPERATURE = 0.8;

export class InlineProvider implements IInlineCompletionProvider {
  readonly identifier = "mlx-notebook:inline";
  readonly name = "mlx-notebook";
  readonly icon = modelIcon;
  /** JupyterLab's settings of inline completion have a section for this provider. */
  readonly schema = {
    default: { enabled: true, debouncerDelay: 150, timeout: TIMEOUT_MS, autoFillInMiddle: true },
  };

  private readonly running = new Map<string, Running>();
  private begun: Promise<Begun | undefined> = Promise.resolve(undefined);
  private latest: AbortController | undefined;
  private count = 0;

  constructor(
    private readonly client: ServerClient,
    private readonly settings: Settings,
    private readonly availability: Availability,
    private readonly variables: VariableCache,
  ) {}

  async fetch(
    request: CompletionHandler.IRequest,
    context: IInlineCompletionContext,
  ): Promise<IInlineCompletionList> {
    this.latest?.abort();
    const isAsked = context.triggerKind === InlineCompletionTriggerKind.Invoke;
    this.begun = this.begin(request, context, isAsked);
    const begun = await this.begun;
    if (begun === undefined) return NOTHING;
    const events = this.client.events<InlineEvent>(PATH, begun.body, begun.controller.signal);
    const running = { ...begun, text: "", events };
    const list = await this.first(running, isAsked);
    if (!list.items.length) begun.ended.resolve("");
    return list;
  }

  /** Return other texts for the same place as the last request. The next keystroke ends them. */
  async others(count: number): Promise<string[]> {
    const begun = await this.begun;
    if (begun === undefined) return [];
    const body = { ...begun.body, temperature: TEMPERATURE };
    const asked = Array.from({ length: count }, () => this.whole(body, begun.controller.signal));
    try {
      const [first, ...others] = await Promise.all([begun.ended.promise, ...asked]);
      const isNew = (text: string): boolean => text.trim() !== "" && text !== first;
      return first ? [...new Set(others.filter(isNew))] : [];
    } catch (error) {
      // The first text is there without them.
      if (!begun.controller.signal.aborted) console.warn("There are no other proposals.", error);
      return [];
    }
  }

  private async whole(body: InlineRequest, signal: AbortSignal): Promise<string> {
    let text = "";
    for await (const event of this.client.events<InlineEvent>(PATH, body, signal))
      if (event.type === "text") text += event.text;
    return text;
  }

  /** Collect what goes along with a request; undefined if nothing is to be completed. */
  private async begin(
    request: CompletionHandler.IRequest,
    context: IInlineCompletionContext,
    isAsked: boolean,
  ): Promise<Begun | undefined> {
    const { isOn, model, remark } = this.availability.choice;
    if (!isOn) {
      if (isAsked && remark) tell(remark);
      return undefined;
    }
    const language = languageOf(request.mimeType ?? "", request.text);
    if (language === undefined) return undefined;
    const controller = new AbortController();
    this.latest = controller;
    const editor = editorOf(context.widget);
    if (editor) abortOnChange(editor, controller);
    const { variables: kind, completionContextTokens: tokens } = this.settings;
    const kernel = context.session?.kernel;
    const variables = await this.variables.of(kernel, kind);
    if (controller.signal.aborted) return undefined;
    const panel = context.widget instanceof NotebookPanel ? context.widget : undefined;
    const active = panel?.content.activeCell;
    const cells = panel && active ? cellsBefore(panel, active) : [];
    const { text, offset } = request;
    const body = inlineRequest({ text, offset, language, cells, variables, tokens, model });
    return { body, controller, ended: new PromiseDelegate<string>() };
  }

  /** Yield the text as it grows, until it ends or the next key is pressed. */
  async *stream(token: string): AsyncGenerator<{ response: IInlineCompletionItem }> {
    const running = this.running.get(token);
    if (running === undefined) return;
    this.running.delete(token);
    try {
      for await (const event of running.events) {
        if (event.type === "text") running.text += event.text;
        yield { response: { insertText: running.text, isIncomplete: event.type === "text" } };
      }
    } catch (error) {
      if (running.controller.signal.aborted) return;
      const message = sentenceOf(error);
      yield { response: { insertText: running.text, isIncomplete: false, error: { message } } };
    } finally {
      running.ended.resolve(running.text);
    }
  }

  /** Wait for the first text: before, there is nothing to show. */
  private async first(running: Running, isAsked: boolean): Promise<IInlineCompletionList> {
    try {
      for (;;) {
        const next = await running.events.next();
        if (next.done === true || next.value.type === "done") return NOTHING;
        running.text += next.value.text;
        if (running.text.trim()) break;
      }
    } catch (error) {
      if (!running.controller.signal.aborted && isAsked) tellError(error);
      return NOTHING;
    }
    this.count += 1;
    const token = String(this.count);
    this.running.set(token, running);
    return { items: [{ insertText: running.text, isIncomplete: true, token }] };
  }
}

/** End a request when the text changes or the cursor leaves its place. */
function abortOnChange(editor: CodeEditor.IEditor, controller: AbortController): void {
  const end = (): void => controller.abort();
  const { selections, sharedModel } = editor.model;
  sharedModel.changed.connect(end);
  selections.changed.connect(end);
  controller.signal.addEventListener("abort", () => {
    sharedModel.changed.disconnect(end);
    selections.changed.disconnect(end);
  });
}

/** The editor of a notebook's active cell, of a file, or of a console. */
function editorOf(widget: Widget): CodeEditor.IEditor | undefined {
  if (widget instanceof NotebookPanel) return widget.content.activeCell?.editor ?? undefined;
  const { content, console } = widget as Widget & {
    content?: { editor?: CodeEditor.IEditor };
    console?: { promptCell?: { editor?: CodeEditor.IEditor } };
  };
  return content?.editor ?? console?.promptCell?.editor;
}
