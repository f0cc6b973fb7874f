/**
 * Markdown of a model, drawn by JupyterLab and made harmless.
 *
 * JupyterLab's sanitizer takes scripts and handlers away. What would load something from an address,
 * and so send the text in it to another server, becomes a link.
 */

import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import { element } from "./elements";

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
export const safeRegistry = (registry: IRenderMimeRegistry): IRenderMimeRegistry =>
  registry.clone({
    sanitizer: {
      sanitize: (dirty: string, options?: IRenderMime.ISanitizerOptions) =>
        registry.sanitizer.sanitize(withoutLoading(dirty), options),
    },
  });

/** A place that shows Markdown. Of several texts that arrive while one is drawn, the last counts. */
export class MarkdownView {
  readonly node = element("div", { class: "mlx-lab-markdown" });
  private wanted = "";
  private drawing: Promise<void> | undefined;

  constructor(private readonly registry: IRenderMimeRegistry) {}

  show(text: string): Promise<void> {
    this.wanted = text;
    this.drawing ??= this.draw().finally(() => {
      this.drawing = undefined;
    });
    return this.drawing;
  }

  private async draw(): Promise<void> {
    for (let drawn: string | undefined; drawn !== this.wanted; ) {
      drawn = this.wanted;
      const renderer = this.registry.createRenderer("text/markdown");
      const model = this.registry.createModel({ data: { "text/markdown": drawn }, trusted: false });
      await renderer.renderModel(model);
      this.node.replaceChildren(renderer.node);
    }
  }
}
