/** What is allowed in the notebook in front, with buttons that take it back. */

import { button, element } from "../base/elements";
import { ASKED_KINDS, type Permissions } from "./permissions";

export class PermissionList {
  readonly node = element("div", {
    class: "mlx-lab-row mlx-lab-permissions",
    role: "group",
    "aria-label": "What the agent may do in this notebook without asking",
  });
  private shown: Permissions | undefined;

  /** Show the permissions of a notebook; undefined: there is none. */
  show(permissions: Permissions | undefined): void {
    this.shown?.changed.disconnect(this.draw, this);
    this.shown = permissions;
    permissions?.changed.connect(this.draw, this);
    this.draw();
  }

  private draw(): void {
    const { shown, node } = this;
    const given = ASKED_KINDS.filter(({ kind }) => shown?.has(kind));
    const hadFocus = node.contains(document.activeElement);
    node.replaceChildren(
      element(
        "small",
        {},
        given.length
          ? "Allowed in this notebook:"
          : "The agent asks before it changes a cell or runs code.",
      ),
      ...given.map(({ kind, label }) =>
        button(`${label} – take back`, () => shown?.revoke(kind), {
          "aria-label": `Take back: ${label}`,
        }),
      ),
    );
    if (hadFocus) node.querySelector("button")?.focus();
  }
}
