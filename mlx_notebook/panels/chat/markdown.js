// --- Markdown -----------------------------------------------------------------------------------
// JupyterLab and Notebook 7 give widgets access to the renderer of their cells and to the notebook.
// Other frontends may not: they show the text as the model wrote it. The kernel has made the Markdown
// safe: HTML in it is text, and images are links.

/** Return a function that renders Markdown as cells do; undefined if the page has none. */
function markdownRenderer(model) {
  const registry = model.widget_manager?.rendermime;
  if (!registry?.markdownParser) return undefined;
  return async (text, place) => {
    const renderer = registry.createRenderer("text/markdown");
    await renderer.renderModel(registry.createModel({ data: { "text/markdown": text } }));
    place.replaceChildren(renderer.node);
    await registry.latexTypesetter?.typeset(renderer.node);
  };
}

/** Return a function that inserts a code cell below the cell of a node; undefined if none can. */
function cellInserter(model) {
  const notebook = model.widget_manager?.context?.model;
  const cells = notebook?.sharedModel;
  if (!cells?.insertCell || notebook.readOnly) return undefined;
  return (source, node) => {
    const at = node.closest(".jp-Cell")?.dataset.windowedListIndex;
    cells.insertCell(at === undefined ? cells.cells.length : Number(at) + 1, {
      cell_type: "code",
      source,
      metadata: {},
    });
    return at === undefined ? "Inserted at the end of the notebook." : "Inserted below this cell.";
  };
}

/** An element that shows Markdown. Of several texts during rendering, only the last is rendered. */
function markdownPlace(render) {
  const el = h("div");
  let wanted, drawing;
  const draw = async () => {
    let drawn;
    try {
      while (drawn !== wanted) {
        drawn = wanted;
        await render(drawn, el);
      }
    } finally {
      drawing = undefined;
    }
  };
  return {
    el,
    show(text) {
      if (text === wanted) return drawing;
      wanted = text;
      drawing ??= draw();
      return drawing;
    },
  };
}

/** A text of the model: in parts while it grows, then as a whole with buttons at its code. */
function markdownText(render, addTools) {
  const el = h("div", { class: render ? "mlx-markdown" : "mlx-text" });
  let whole, shown;
  return {
    el,
    update(block) {
      if (!render) setText(el, block.text);
      else if (block.whole !== undefined) {
        // A short rest of an answer that goes on comes without parts.
        if (whole && shown === block.whole) return;
        const place = markdownPlace(render);
        whole = place;
        shown = block.whole;
        place.show(block.whole).then(() => {
          if (whole !== place) return;
          addTools(place.el);
          el.replaceChildren(place.el);
        });
      } else {
        // An answer that was interrupted goes on.
        if (whole) {
          whole = undefined;
          el.kept?.clear();
          el.replaceChildren();
        }
        reconcile(
          el,
          Object.entries(block.parts ?? {}),
          ([key]) => key,
          () => markdownPlace(render),
          (part, [, text]) => part.show(text),
        );
      }
    },
  };
}

/** Add Copy and what the page can do with code, such as Insert below, to each code block. */
function codeTools({ button, notify, model }) {
  const insert = cellInserter(model);
  const actions = model.host?.codeActions ?? [];
  return (node) => {
    for (const code of node.querySelectorAll("pre")) {
      code.tabIndex = 0;
      const text = code.textContent.replace(/\n$/, "");
      code.before(
        h(
          "div",
          { class: "mlx-row mlx-code-tools" },
          button("Copy", () => copyText(text, code, notify), { name: "Copy code" }),
          insert &&
            button("Insert below", () => notify(insert(text, node)), {
              name: "Insert below this cell",
            }),
          ...actions.map(({ label, name, run }) =>
            button(label, async () => notify(await run(text)), { name }),
          ),
        ),
      );
    }
  };
}

/** Copy a text. If the browser forbids it, select the text in the page. */
async function copyText(text, node, notify) {
  try {
    await navigator.clipboard.writeText(text);
    notify("Copied.");
  } catch {
    getSelection().selectAllChildren(node);
    notify(
      "The browser does not allow copying. The text is selected: copy it with the keyboard.",
      true,
    );
  }
}
