/**
 * Markdown of a model, drawn by JupyterLab and made harmless.
 *
 * HTML in it is shown as it is written. JupyterLab's sanitizer takes scripts and handlers away. What
 * would load something from an address, and so send the text in it to another server, becomes a link.
 */

import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
// @ts-expect-error The module is JavaScript without types.
import { markdownPlace, markdownRenderer } from "../panels/markdown.js";
import { element } from "./elements";
import { hideTags, showTags } from "./written-html";

const LOADING = "img, source, video, audio, track, svg, image, iframe, object, embed, link";
const CONTROLS = "form, input, button, select, textarea, style, base, meta";

/** Replace what loads something by links, and take away forms and styles. */
export function withoutLoading(html: string): string {
  // A parsed document that is not shown loads nothing.
  const { body } = new DOMParser().parseFromString(html, "text/html");
  for (const node of body.querySelectorAll(LOADING)) {
    const address = node.getAttribute("src") ?? node.getAttribute("href") ?? "";
    const text = node.getAttribute("alt") ?? "";
    if (/^https?:/i.test(address)) {
      node.replaceWith(element("a", { href: address }, text || address));
    } else node.replaceWith(text);
  }
  for (const node of body.querySelectorAll(CONTROLS)) node.replaceWith(node.textContent ?? "");
  for (const node of body.querySelectorAll("[style], [background]")) {
    node.removeAttribute("style");
    node.removeAttribute("background");
  }
  return body.innerHTML;
}

/** A registry whose Markdown is safe to show, whoever wrote it. */
export function safeRegistry(registry: IRenderMimeRegistry): IRenderMimeRegistry {
  const { markdownParser: parser, sanitizer } = registry;
  return registry.clone({
    sanitizer: {
      sanitize: (dirty: string, options?: IRenderMime.ISanitizerOptions) =>
        sanitizer.sanitize(withoutLoading(dirty), options),
    },
    ...(parser && {
      markdownParser: { render: async (text) => showTags(await parser.render(hideTags(text))) },
    }),
  });
}

/** A part of the script of the chat panel, which draws Markdown in notebooks too. */
interface Place {
  el: HTMLElement;
  show(text: string): Promise<void> | undefined;
}
type Render = (text: string, place: HTMLElement) => Promise<void>;

const rendererOf = markdownRenderer as (model: object) => Render;
const placeOf = markdownPlace as (render: Render) => Place;

/** A place that shows Markdown. Of several texts that arrive while one is drawn, the last counts. */
export class MarkdownView {
  readonly node: HTMLElement;
  private readonly place: Place;

  constructor(rendermime: IRenderMimeRegistry) {
    this.place = placeOf(rendererOf({ widget_manager: { rendermime } }));
    this.node = this.place.el;
    this.node.className = "mlx-lab-markdown";
  }

  async show(text: string): Promise<void> {
    await this.place.show(text);
  }
}
