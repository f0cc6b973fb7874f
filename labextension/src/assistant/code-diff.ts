/** Two versions of a code side by side; only the proposed one if there is none yet. */

import { syntaxHighlighting } from "@codemirror/language";
import { MergeView } from "@codemirror/merge";
import { EditorState, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import {
  type IEditorLanguageRegistry,
  jupyterHighlightStyle,
  jupyterTheme,
} from "@jupyterlab/codemirror";
import { element } from "../base/elements";

export class CodeDiff {
  readonly node = element("div", { class: "mlx-lab-diff" });
  private readonly view: MergeView;

  private constructor(before: string, language: Extension) {
    const side = (label: string): Extension[] => [
      language,
      jupyterTheme,
      syntaxHighlighting(jupyterHighlightStyle),
      EditorState.readOnly.of(true),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ "aria-label": label }),
    ];
    this.view = new MergeView({
      a: { doc: before, extensions: side("The code as it is") },
      b: { doc: "", extensions: side("The proposed code") },
      parent: this.node,
      collapseUnchanged: { margin: 3, minSize: 6 },
    });
    const { a, b } = this.view;
    if (before) {
      a.dom.before(sideName("Now"));
      b.dom.before(sideName("Proposed"));
    } else this.node.classList.add("mlx-lab-new");
  }

  static async create(
    before: string,
    mimeType: string,
    languages: IEditorLanguageRegistry,
  ): Promise<CodeDiff> {
    const spec = languages.findByMIME(mimeType);
    const language = spec === null ? null : await languages.getLanguage(spec);
    return new CodeDiff(before, language?.support ?? []);
  }

  /** Show another proposal. What it shares with the one before stays in place. */
  show(after: string): void {
    const { state } = this.view.b;
    const old = state.doc.toString();
    let same = 0;
    while (same < old.length && old[same] === after[same]) same += 1;
    this.view.b.dispatch({
      changes: { from: same, to: old.length, insert: after.slice(same) },
    });
  }

  /** How many parts differ. */
  get changes(): number {
    return this.view.chunks.length;
  }

  dispose(): void {
    this.view.destroy();
  }
}

/** The name above a side. Screen readers know the sides by the names of their texts. */
const sideName = (text: string): HTMLElement =>
  element("div", { class: "mlx-lab-side", "aria-hidden": "true" }, text);
