/** One tool call of an answer. */
function callBlock() {
  const title = h("b", { class: "mlx-call" }),
    result = h("pre", { tabindex: 0 }),
    images = h("div");
  return {
    el: h("div", {}, title, result, images),
    update(block) {
      setText(title, `${block.text} – ${block.state}`);
      setText(result, block.result);
      result.hidden = !block.result;
      reconcile(
        images,
        block.images,
        (url) => url,
        (url) => ({ el: h("img", { src: url, alt: "Image that the tool returned" }) }),
        () => {},
      );
    },
  };
}

function reasoningBlock() {
  const text = h("div", { class: "mlx-text" });
  return { el: disclosure("Reasoning", text), update: (block) => setText(text, block.text) };
}

/** The entries of the conversation. */
function conversation({ button, ask, notify, model, compose }) {
  const render = markdownRenderer(model);
  const addTools = codeTools({ button, notify, model });
  const list = h("div");
  const makeBlock = ([, block]) =>
    ({ call: callBlock, reasoning: reasoningBlock, text: () => markdownText(render, addTools) })[
      block.kind
    ]();
  const makeUser = (key, entry) => {
    const edit = button(
      "Edit",
      () => {
        compose.edit({ ...entry, replaces: key });
        compose.text.focus();
      },
      { name: "Edit this message" },
    );
    const el = h(
      "div",
      { class: "mlx-entry mlx-user" },
      h("b", {}, "You"),
      h("div", { class: "mlx-text" }, entry.text),
      ...entry.images.map((url) => h("img", { src: url, alt: "Image of this message" })),
      h("div", { class: "mlx-row" }, edit),
    );
    return {
      el,
      update: (_, { isBusy }) => {
        edit.hidden = isBusy;
      },
    };
  };
  const makeAnswer = () => {
    const blocks = h("div"),
      note = h("small"),
      again = button("Regenerate", () => ask("regenerate"));
    const copy = button("Copy answer", () => copyText(text, blocks, notify));
    let text = "";
    return {
      el: h(
        "div",
        { class: "mlx-entry" },
        h("b", {}, "Model"),
        blocks,
        note,
        h("div", { class: "mlx-row" }, copy, again),
      ),
      update(entry, { isBusy, isLast }) {
        text = Object.values(entry.blocks)
          .filter((block) => block.kind === "text")
          .map((block) => block.text)
          .join("\n\n");
        reconcile(
          blocks,
          Object.entries(entry.blocks),
          ([key]) => key,
          makeBlock,
          (row, [, block]) => row.update(block),
        );
        setText(note, entry.note);
        copy.hidden = isBusy || !text;
        again.hidden = isBusy || !isLast;
      },
    };
  };
  const make = ([key, entry]) => {
    if (entry.role === "user") return makeUser(key, entry);
    if (entry.role === "assistant") return makeAnswer();
    return { el: h("p", { class: "mlx-change" }, entry.text), update() {} };
  };
  return {
    el: list,
    show(state) {
      const entries = Object.entries(state.entries ?? {});
      const lastAnswer = entries.findLast(([, entry]) => entry.role === "assistant")?.[0];
      reconcile(
        list,
        entries,
        ([key]) => key,
        make,
        (row, [key, entry]) => {
          const isBusy = Boolean(state.busy),
            isLast = key === lastAnswer;
          // Most entries do not change while the last one grows.
          if (row.entry === entry && row.isBusy === isBusy && row.isLast === isLast) return;
          Object.assign(row, { entry, isBusy, isLast });
          row.update(entry, row);
        },
      );
      return entries.length;
    },
  };
}
