/** Elements without a framework. Text is set as text: nothing here parses HTML. */

type Attributes = Record<string, string | number | boolean | EventListener | undefined>;

/** Create an element: `element("button", { class: "x", onclick: f }, "text", child)`. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== undefined && value !== false) node.setAttribute(name, String(value));
  }
  node.append(...children);
  return node;
}

/** A native button with a text. */
export const button = (
  label: string,
  onclick: () => void,
  attributes: Attributes = {},
): HTMLButtonElement =>
  element(
    "button",
    { type: "button", class: "mlx-lab-button", onclick: () => onclick(), ...attributes },
    label,
  );

/**
 * Keep keys that are pressed in `root` from the page's shortcuts, except those with Ctrl or Cmd.
 * Lumino looks for this attribute on the element that has the focus.
 */
export function claimKeys(root: HTMLElement): void {
  root.addEventListener("keydown", (event) => {
    const isForPage = (event.ctrlKey || event.metaKey) && !isTextField(event.target);
    if (event.target instanceof Element)
      event.target.toggleAttribute("data-lm-suppress-shortcuts", !isForPage);
    if (!isForPage && event.key !== "Tab") event.stopPropagation();
  });
}

const isTextField = (target: EventTarget | null): boolean =>
  target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement;
