/**
 * Other proposals for the place of a grey text that was asked for. JupyterLab's keys Alt-] and Alt-[
 * show them in turn. While one types there are none: they would cost as much as the first.
 */

import {
  type CompletionHandler,
  type IInlineCompletionContext,
  type IInlineCompletionList,
  type IInlineCompletionProvider,
  InlineCompletionTriggerKind,
} from "@jupyterlab/completer";
import { modelIcon } from "../base/icons";
import { type InlineProvider, TIMEOUT_MS } from "./inline-provider";

const OTHERS = 2;

export class MoreProposals implements IInlineCompletionProvider {
  readonly identifier = "mlx-notebook:more";
  readonly name = "mlx-notebook, other proposals";
  readonly icon = modelIcon;
  readonly schema = {
    default: { enabled: true, debouncerDelay: 150, timeout: TIMEOUT_MS, autoFillInMiddle: true },
  };

  constructor(private readonly inline: Pick<InlineProvider, "others">) {}

  async fetch(
    _request: CompletionHandler.IRequest,
    { triggerKind }: IInlineCompletionContext,
  ): Promise<IInlineCompletionList> {
    if (triggerKind !== InlineCompletionTriggerKind.Invoke) return { items: [] };
    // JupyterLab asks all providers at once, in any order: the first one has begun after this.
    await Promise.resolve();
    const texts = await this.inline.others(OTHERS);
    return { items: texts.map((insertText) => ({ insertText })) };
  }
}
