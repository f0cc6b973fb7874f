/**
 * `%%chat` cells are written as prose: not coloured as Python, and with long lines wrapped.
 *
 * JupyterLab gives every code cell the language of its kernel. This editor extension gives a cell
 * whose first line is `%%chat` a language of its own, for as long as that line stands there.
 */

import { StreamLanguage } from "@codemirror/language";
import { Compartment, EditorState, Prec, type StateEffect, type Text } from "@codemirror/state";
import { EditorView, ViewPlugin } from "@codemirror/view";
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { EditorExtensionRegistry, IEditorExtensionRegistry } from "@jupyterlab/codemirror";

const CHAT = /^\s*%%chat\b/;

/** Colours the magic's line and each `{{ expression }}`, and leaves the text as it is. */
const prose = StreamLanguage.define<{ first: boolean }>({
  name: "chat",
  startState: () => ({ first: true }),
  token(stream, state) {
    if (state.first && CHAT.test(stream.string)) {
      state.first = false;
      stream.skipToEnd();
      return "meta";
    }
    if (stream.match(/^\{\{.*?\}\}/)) {
      return "atom";
    }
    stream.next();
    stream.eatWhile(/[^{]/);
    return null;
  },
});

const isProse = (doc: Text): boolean => CHAT.test(doc.line(1).text);

/** Holds `prose` while a document begins with `%%chat`; it then wins over the cell's language. */
const overriding = new Compartment();

const override = (doc: Text): StateEffect<unknown> =>
  overriding.reconfigure(isProse(doc) ? prose : []);

const proseCells = [
  Prec.highest(overriding.of([])),
  EditorState.transactionExtender.of((transaction) =>
    isProse(transaction.startState.doc) === isProse(transaction.newDoc)
      ? null
      : { effects: override(transaction.newDoc) },
  ),
  ViewPlugin.define((view) => {
    // A view must not be changed while it is being made.
    queueMicrotask(() => view.dispatch({ effects: override(view.state.doc) }));
    return {};
  }),
  EditorView.contentAttributes.compute(
    ["doc"],
    // The class of CodeMirror's own `lineWrapping`.
    (state) => ({ class: isProse(state.doc) ? "cm-lineWrapping" : "" }),
  ),
];

export const proseCellsPlugin: JupyterFrontEndPlugin<void> = {
  id: "mlx-notebook:prose-cells",
  description: "Shows %%chat cells as prose.",
  autoStart: true,
  requires: [IEditorExtensionRegistry],
  activate: (_app: JupyterFrontEnd, editors: IEditorExtensionRegistry): void => {
    editors.addExtension({
      name: "mlx-notebook:prose",
      factory: () => EditorExtensionRegistry.createImmutableExtension(proseCells),
    });
  },
};
