// --- Markdown -----------------------------------------------------------------------------------
// JupyterLab and Notebook 7 lend their widgets the renderer of their cells, and the notebook.
// Other front ends may not: there the text is shown as the model wrote it. The kernel has made the
// Markdown safe before: HTML in it is text, and images are links.

/** Give a function that renders Markdown as cells do; undefined where the page lends none. */
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

/** Give a function that inserts a cell of code below the cell of a node; undefined where none can. */
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

/** A place that shows Markdown; while it is drawn, only the latest text that comes is kept. */
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

/** A text of the model: by parts while it grows, then as a whole with buttons at its code. */
function markdownText(render, addTools) {
  const el = h("div", { class: render ? "mlx-markdown" : "mlx-text" });
  let whole;
  return {
    el,
    update(block) {
      if (!render) say(el, block.text);
      else if (block.whole !== undefined) {
        if (whole) return;
        whole = markdownPlace(render);
        whole.show(block.whole).then(() => {
          addTools(whole.el);
          el.replaceChildren(whole.el);
        });
      } else {
        keep(
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

/** Add Copy and, where the page allows it, Insert below to each block of code. */
function codeTools({ button, tell, model }) {
  const insert = cellInserter(model);
  return (node) => {
    for (const code of node.querySelectorAll("pre")) {
      code.tabIndex = 0;
      const text = code.textContent.replace(/\n$/, "");
      code.before(
        h(
          "div",
          { class: "mlx-row mlx-code-tools" },
          button("Copy", () => copyText(text, code, tell), { name: "Copy code" }),
          insert &&
            button("Insert below", () => tell(insert(text, node)), {
              name: "Insert below this cell",
            }),
        ),
      );
    }
  };
}

/** Copy a text; where the browser forbids it, select it in the page. */
async function copyText(text, node, tell) {
  try {
    await navigator.clipboard.writeText(text);
    tell("Copied.");
  } catch {
    getSelection().selectAllChildren(node);
    tell(
      "The browser does not let the page copy. The text is selected: copy it with the keyboard.",
      true,
    );
  }
}
