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

function noticeBlock() {
  const el = h("p", { class: "mlx-change" });
  return { el, update: (block) => setText(el, block.text) };
}

/** The entries of the conversation. */
function conversation({ button, ask, notify, model, compose }) {
  const { host } = model;
  const render = markdownRenderer(model);
  const addTools = codeTools({ button, notify, model });
  const list = h("div");
  const makers = {
    call: callBlock,
    reasoning: reasoningBlock,
    notice: noticeBlock,
    text: () => markdownText(render, addTools),
  };
  const draw = (kind) => (makers[kind] ?? host.makerOf(kind))();
  const makeBlock = ([, { kind }]) => draw(kind);
  const named = ({ label }) => label;
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
      entry.attached?.length
        ? h("small", {}, `With ${entry.attached.map(named).join(", ")}`)
        : null,
      h("div", { class: "mlx-row" }, edit),
    );
    return {
      el,
      update: (_, { isBusy }) => {
        edit.hidden = isBusy;
      },
    };
  };
  const makeAnswer = (key) => {
    const blocks = h("div"),
      note = h("small"),
      goOn = button("Continue", () => ask("resume"), { name: "Continue the answer" }),
      again = button("Regenerate", () => ask("regenerate")),
      fork =
        host &&
        button("Fork", () => ask("fork", { entry: key }), {
          name: "Fork: go on from here in another conversation",
        });
    const copy = button("Copy answer", () => copyText(text, blocks, notify));
    let text = "";
    return {
      el: h(
        "div",
        { class: "mlx-entry" },
        h("b", {}, "Model"),
        blocks,
        note,
        h("div", { class: "mlx-row" }, goOn, copy, again, fork),
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
        note.classList.toggle("mlx-invalid", Boolean(entry.failed));
        goOn.hidden = isBusy || !isLast || !entry.open;
        copy.hidden = isBusy || !text;
        again.hidden = isBusy || !isLast;
        if (fork) fork.hidden = isBusy;
      },
    };
  };
  const make = ([key, entry]) => {
    if (entry.role === "user") return makeUser(key, entry);
    if (entry.role === "assistant") return makeAnswer(key);
    return { el: h("p", { class: "mlx-change" }, entry.text), update() {} };
  };
  return {
    el: list,
    /** Make the view of a block of a kind. */
    draw,
    show(state) {
      const entries = Object.entries(state.entries ?? {});
      const lastAnswer = entries.findLast(([, entry]) => entry.role === "assistant")?.[0];
      reconcile(
        list,
        entries,
        ([key]) => `${state.conversation ?? ""} ${key}`,
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
