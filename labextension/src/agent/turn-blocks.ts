/** What the agent draws in the chat: its plan, each change, and what undoes the turn. */

import type { IEditorLanguageRegistry } from "@jupyterlab/codemirror";
import { CodeDiff } from "../assistant/code-diff";
import { button, element } from "../base/elements";
import { plural } from "../base/units";
import type { Block, BlockView } from "../chat/chat-seam";
import { KINDS } from "./agent-turn";
import type { TurnChanges, UndoReport } from "./cells/turn-changes";
import type { PlanStep } from "./tools/toolbox";

export const UNDO = "agent-undo";

/** The steps of a plan, each with what it does. */
export function planView(): BlockView {
  const list = element("ol", { class: "mlx-lab-plan" });
  const el = element(
    "section",
    { class: "mlx-lab-agent-block", "aria-label": "Plan" },
    element("b", {}, "Plan"),
    list,
  );
  return {
    el,
    update: ({ steps }) =>
      list.replaceChildren(
        ...(steps as unknown as PlanStep[]).map(({ what, kind }) =>
          element("li", { "data-kind": kind }, element("b", {}, `${KINDS[kind]}: `), what),
        ),
      ),
  };
}

const MIME_TYPES: Record<string, string> = {
  code: "text/x-ipython",
  markdown: "text/x-ipythongfm",
};

interface ChangeBlock extends Record<"title" | "before" | "after" | "type", string> {
  isOpen?: boolean;
}

/** A change of a cell, side by side or one above the other. */
export function changeView(languages: IEditorLanguageRegistry): BlockView {
  const summary = element("summary", {});
  const place = element("div", {});
  const el = element("details", { class: "mlx-lab-agent-block mlx-lab-change" }, summary, place);
  const draw = async ({ title, before, after, type, isOpen }: ChangeBlock): Promise<void> => {
    el.open = isOpen === true;
    summary.textContent = capital(title);
    if (before === after) {
      place.replaceChildren(element("pre", { tabindex: 0 }, after));
      return;
    }
    const diff = await CodeDiff.create(before, MIME_TYPES[type] ?? "text/plain", languages);
    diff.show(after);
    place.replaceChildren(diff.node);
    summary.textContent = `${capital(title)}: ${plural(diff.changes, "change")}`;
  };
  return { el, update: (block) => void draw(block as unknown as ChangeBlock) };
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** The turns of this page that can be undone, by a key that their block holds. */
export class UndoableTurns {
  private readonly turns = new Map<string, TurnChanges>();

  /** Keep a turn's changes; return its block. */
  add(changes: TurnChanges): Block {
    const key = crypto.randomUUID();
    this.turns.set(key, changes);
    return { kind: UNDO, key, did: changesText(changes.report()) };
  }

  view(): BlockView {
    // It takes the focus of the button, which goes when it is pressed.
    const said = element("span", { role: "status", tabindex: -1 });
    let key = "";
    let isWarned = false;
    const undo = button("Undo all of it", () => {
      const changes = this.turns.get(key);
      if (changes === undefined || changes.isGone) {
        end(GONE);
        return;
      }
      const { edited } = changes.report();
      if (edited && !isWarned) {
        isWarned = true;
        said.textContent = `${edited} of these cells ${edited === 1 ? "was" : "were"} edited since. Choose it again to undo that too.`;
        return;
      }
      changes.undo();
      this.turns.delete(key);
      end(`The cells are as they were before.${changes.hasRun ? EFFECTS_STAY : ""}`);
    });
    const end = (text: string): void => {
      said.textContent = text;
      said.focus();
      undo.hidden = true;
    };
    const el = element("div", { class: "mlx-lab-row mlx-lab-agent-block" }, undo, said);
    return {
      el,
      update: (block) => {
        key = block.key as string;
        undo.hidden = this.turns.get(key)?.isGone ?? true;
        const did = block.did as string;
        said.textContent = undo.hidden ? `${did} ${GONE}` : did;
      },
    };
  }
}

const EFFECTS_STAY = " What run code has done in the kernel, in files or elsewhere stays.";
const GONE =
  "It can no longer be undone at once: it was undone, or the notebook or the page was closed.";

function changesText({ cells, isMoved }: UndoReport): string {
  const parts = [
    cells || !isMoved ? `changed or run ${plural(cells, "cell")}` : "",
    isMoved ? "moved cells" : "",
  ];
  return `The agent has ${parts.filter(Boolean).join(" and ")}.`;
}
