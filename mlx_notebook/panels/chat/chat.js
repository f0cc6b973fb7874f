<<<<<<< HEAD
/** A message that the kernel has not taken yet. */
=======
// --- chat ---------------------------------------------------------------------------------------

const MAX_IMAGE_BYTES = 8_000_000;
const APPROVAL_DELAY_MS = 1000;

/**
 * Ask whether a tool may be called. The question does not take the focus. Its buttons do nothing for
 * a second after it appears, and a key that was already down then does not press them.
 */
function approval(button, decide) {
  let asking, isOpen, opening, pressed;
  const call = h("pre", { class: "mlx-call", tabindex: 0, "aria-label": "The call" });
  const spoken = h("p", { class: "mlx-screen-reader", role: "alert" });
  const answer = (label, decision) => button(label, () => decide(asking.id, decision));
  const buttons = [
    answer("Refuse", "refuse"),
    answer("Allow", "allow"),
    answer("Always allow", "always"),
  ];
  const box = h(
    "div",
    { class: "mlx-entry", role: "group", "aria-label": "Tool approval", hidden: true },
    h("b", {}, "May the model call this tool?"),
    call,
    h("div", { class: "mlx-row" }, ...buttons),
  );
  const isPress = ({ key, target }) => (key === "Enter" || key === " ") && buttons.includes(target);
  box.addEventListener("keydown", (event) => {
    if (!isPress(event)) return;
    pressed = !event.repeat && isOpen ? event.target : undefined;
    if (!pressed) event.preventDefault();
  });
  // The space bar presses a button when it is released.
  box.addEventListener("keyup", (event) => {
    if (isPress(event) && pressed !== event.target) event.preventDefault();
  });
  box.addEventListener(
    "click",
    (event) => {
      if (!isOpen) event.stopPropagation();
    },
    true,
  );
  return {
    el: h("div", {}, spoken, box),
    show(question) {
      box.hidden = !question;
      if (question?.id === asking?.id) return;
      clearTimeout(opening);
      asking = question;
      isOpen = pressed = undefined;
      setText(call, question?.text);
      setText(
        spoken,
        question && `May the model call ${question.text}? The buttons are below the message box.`,
      );
      if (!question) return;
      for (const node of buttons) node.setAttribute("aria-disabled", "true");
      opening = setTimeout(() => {
        isOpen = true;
        for (const node of buttons) node.removeAttribute("aria-disabled");
      }, APPROVAL_DELAY_MS);
    },
  };
}

/** Images for the next message: chosen, pasted or dropped. */
function imageBox({ root, text, notify, changed }) {
  const el = h("div", { class: "mlx-row mlx-images" });
  const file = h("input", {
    type: "file",
    accept: "image/*",
    multiple: true,
    "aria-label": "Images",
    tabindex: -1,
  });
  let images = [];
  const draw = () => {
    reconcile(
      el,
      images,
      (image) => image.id,
      (image) => ({
        el: h(
          "span",
          {},
          h("img", { src: image.url, alt: image.name }),
          h(
            "button",
            {
              type: "button",
              class: "mlx-button",
              "aria-label": `Remove ${image.name}`,
              onclick: () => {
                set(images.filter((other) => other !== image));
                text.focus();
              },
            },
            "Remove",
          ),
        ),
      }),
      () => {},
    );
    changed();
  };
  const set = (chosen) => {
    images = chosen;
    draw();
  };
  const take = (files) => {
    for (const one of files) {
      if (!one.type.startsWith("image/")) {
        notify(`${one.name} is not an image.`, true);
        continue;
      }
      if (one.size > MAX_IMAGE_BYTES) {
        notify(`${one.name} is larger than ${bytes(MAX_IMAGE_BYTES)}.`, true);
        continue;
      }
      const reader = new FileReader();
      reader.onload = () =>
        set([...images, { id: newId(), name: one.name || "image", url: reader.result }]);
      reader.onerror = () => notify(`${one.name} cannot be read.`, true);
      reader.readAsDataURL(one);
    }
  };
  file.addEventListener("change", () => {
    take(file.files);
    file.value = "";
  });
  text.addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    take(event.clipboardData.files);
  });
  root.addEventListener("dragover", (event) => {
    event.preventDefault();
    event.stopPropagation();
  });
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    take(event.dataTransfer.files);
  });
  return {
    el,
    file,
    urls: () => images.map((image) => image.url),
    setUrls: (urls) => set(urls.map((url, at) => ({ id: newId(), name: `image ${at + 1}`, url }))),
  };
}

/** The message box with its images. It may hold an earlier message for editing. */
function composer({ root, notify, changed }) {
  const text = h("textarea", {
    "aria-label": "Message",
    placeholder: "Message (Enter sends, Shift+Enter adds a line, Escape stops)",
  });
  const images = imageBox({ root, text, notify, changed });
  let replaces = null,
    draft;
  const cancel = h(
    "button",
    {
      type: "button",
      class: "mlx-button",
      onclick: () => {
        set(draft);
        text.focus();
      },
    },
    "Cancel editing",
  );
  const editing = h(
    "div",
    { class: "mlx-row", hidden: true },
    h(
      "span",
      { class: "mlx-grow" },
      "You are editing an earlier message. Sending it replaces everything after it.",
    ),
    cancel,
  );
  const get = () => ({ text: text.value, images: images.urls(), replaces });
  const set = (message = { text: "", images: [] }) => {
    text.value = message.text;
    images.setUrls(message.images);
    replaces = message.replaces ?? null;
    editing.hidden = replaces === null;
    if (replaces === null) draft = undefined;
  };
  const edit = (message) => {
    draft ??= get();
    set(message);
  };
  return {
    text,
    images,
    get,
    edit,
    parts: [editing, text, images.el],
    /** Clear the box; after an edit, restore what was in it before. */
    clear: () => set(draft),
    /** Put a refused message back, before what has been typed since. */
    restore(message) {
      if (message.replaces) return edit(message);
      const now = get();
      return set({
        ...message,
        text: [message.text, now.text].filter(Boolean).join("\n\n"),
        images: [...message.images, ...now.images],
      });
    },
  };
}

/** The choice of the model: the notebook's, or another one. */
function modelChoice({ ask, notify, changed }) {
  const select = h("select", { "aria-label": "Model" });
  let state = {},
    isChoosing = false,
    shown;
  const draw = () => {
    const chosen = state.model ?? "";
    const names = [...(state.models ?? [])];
    if (chosen && !names.includes(chosen)) names.unshift(chosen);
    const own = state.notebook_model
      ? `${state.notebook_model} (this notebook's model)`
      : "This notebook's model";
    const options = [own, ...names].join("\n");
    if (shown !== options) {
      shown = options;
      const before = select.value;
      select.replaceChildren(
        h("option", { value: "" }, own),
        ...names.map((name) => h("option", { value: name }, name)),
      );
      select.value = before;
    }
    if (!isChoosing) select.value = chosen;
  };
  select.addEventListener("change", async () => {
    isChoosing = true;
    changed();
    try {
      await ask("choose", { model: select.value || null });
    } catch (error) {
      notify(error.message, true);
    } finally {
      isChoosing = false;
      draw();
    }
  });
  return {
    el: h("label", { class: "mlx-row" }, "Model", select),
    name: () => select.value || state.notebook_model,
    show(next) {
      state = next;
      draw();
    },
  };
}

/** The system message and the temperature, in a section that opens. */
function settingsForm({ button, ask, notify }) {
  const system = h("textarea", {
    "aria-label": "System prompt",
    placeholder: "Instructions for the whole conversation",
  });
  const temperature = h("input", {
    type: "number",
    min: 0,
    max: 2,
    step: "any",
    "aria-label": "Temperature",
    placeholder: "the model's own",
  });
  let kept = {};
  const fill = () => {
    system.value = kept.system ?? "";
    temperature.value = kept.temperature ?? "";
  };
  const apply = button("Apply", async () => {
    if (temperature.validity.badInput)
      throw new Error("temperature must be a number between 0 and 2.");
    await ask("set", {
      system: system.value,
      temperature: temperature.value === "" ? null : Number(temperature.value),
    });
    notify("The next message is sent with these settings.");
  });
  return {
    el: disclosure(
      "Settings",
      h("label", {}, "System prompt", system),
      h(
        "div",
        { class: "mlx-row" },
        h("label", { class: "mlx-row" }, "Temperature", temperature),
        apply,
      ),
    ),
    show(state) {
      const isNew = kept.system !== state.system || kept.temperature !== state.temperature;
      kept = { system: state.system, temperature: state.temperature };
      if (isNew) fill();
    },
  };
}

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

/** A message that the kernel has not received yet. */
>>>>>>> 5536547 (Panels: plain English; messages between a panel and its kernel have the field's names; the interface says prefix cache)
function sentMessage() {
  const text = h("div", { class: "mlx-text" }),
    note = h("small");
  const el = h("div", { class: "mlx-entry mlx-user", hidden: true }, h("b", {}, "You"), text, note);
  return {
    el,
    show(message) {
      const count = message.images.length;
      setText(
        text,
        [message.text, count && `(${count} ${count > 1 ? "images" : "image"})`]
          .filter(Boolean)
          .join("\n"),
      );
      setText(note, "Sending");
      el.hidden = false;
    },
    late: () => setText(note, "The kernel is busy; this will be sent when the cell finishes."),
    hide() {
      el.hidden = true;
      setText(text, "");
    },
  };
}

/** Send a message. It is shown at the end of the log until the kernel has received it. */
async function sendMessage(message, { compose, sent, ask, toEnd }) {
  let isAccepted = false;
  const accepted = () => {
    isAccepted = true;
    sent.hide();
  };
  compose.clear();
  sent.show(message);
  toEnd();
  try {
    await ask("ask", message, { accepted, late: sent.late });
  } catch (error) {
    // If the kernel received and refused it, the state puts it back.
    if (!isAccepted) compose.restore(message);
    throw error;
  } finally {
    sent.hide();
  }
}

/** Keep the end of a log in view while its content grows, until the user scrolls up. */
function followEnd(log, content) {
  let isFollowing = true,
    before = 0;
  const toEnd = () => {
    isFollowing = true;
    log.scrollTop = log.scrollHeight;
  };
  // The content may have grown since the last scroll: only scrolling up comes from the user.
  log.addEventListener("scroll", () => {
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    isFollowing = isAtEnd || (isFollowing && log.scrollTop >= before);
    before = log.scrollTop;
  });
  new ResizeObserver(() => isFollowing && toEnd()).observe(content);
  return toEnd;
}

function buildChat({ root, button, ask, notify, model }) {
  let last = {},
    refusedBefore;
  const warn = () => {
    const cannotSee =
      compose.images.urls().length > 0 &&
      last.models &&
      !(last.vision_models ?? []).includes(choice.name());
    setText(
      imageWarning,
      cannotSee ? `${choice.name()} does not accept images: choose another model.` : "",
    );
  };
  const imageWarning = h("p", { class: "mlx-change mlx-error", role: "status" });
  const choice = modelChoice({ ask, notify, changed: () => warn() });
  const compose = composer({ root, notify, changed: () => warn() });
  const { text } = compose;
  const messages = conversation({ button, ask, notify, model, compose });
  const sent = sentMessage();
  const log = h(
    "div",
    { class: "mlx-log", role: "log", "aria-label": "Conversation", tabindex: 0 },
    messages.el,
    sent.el,
  );
  const toEnd = followEnd(log, messages.el);
  const empty = h(
    "p",
    { class: "mlx-empty" },
    "Ask anything. The model runs on this machine. You can paste or drop images.",
  );
  const settings = settingsForm({ button, ask, notify });
  const add = h(
    "button",
    { type: "button", class: "mlx-button", onclick: () => compose.images.file.click() },
    "Add images",
  );
  const send = button(
    "Send",
    async () => {
      const message = compose.get();
      if (!message.text.trim() && !message.images.length) return;
      notify("");
      if (document.activeElement === send) text.focus();
      log.hidden = false;
      empty.hidden = true;
      await sendMessage(message, { compose, sent, ask, toEnd });
    },
    { kind: "mlx-main" },
  );
  // These buttons hide when they are pressed, so the focus moves to the message box.
  const stop = button("Stop", async () => {
    await ask("stop");
    text.focus();
  });
  const newChat = button("New conversation", async () => {
    await ask("reset");
    text.focus();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (last.busy) notify("The model is still answering: wait for it, or stop it.");
      else if (!event.repeat) send.click();
    }
    if (event.key === "Escape" && last.busy) stop.click();
  });
  const question = approval(button, async (call, decision) => {
    const hadFocus = question.el.contains(document.activeElement);
    await ask("decide", { call, decision });
    if (hadFocus) text.focus();
  });
  root.append(
    empty,
    log,
    h(
      "div",
      { class: "mlx-compose" },
      ...compose.parts,
      imageWarning,
      question.el,
      h(
        "div",
        { class: "mlx-row" },
        choice.el,
        add,
        compose.images.file,
        h("div", { class: "mlx-row mlx-end" }, newChat, stop, send),
      ),
      settings.el,
    ),
  );

  return (state) => {
    last = state;
    const isEmpty = !messages.show(state) && sent.el.hidden;
    empty.hidden = !isEmpty;
    log.hidden = isEmpty;
    choice.show(state);
    settings.show(state);
    warn();
    send.hidden = Boolean(state.busy);
    stop.hidden = !state.busy;
    // A screen reader reads an answer when it is complete.
    log.setAttribute("aria-busy", String(Boolean(state.busy)));
    newChat.hidden = isEmpty;
    question.show(state.asking);
    if (state.refused && state.refused.id !== refusedBefore) compose.restore(state.refused);
    refusedBefore = state.refused?.id;
  };
}

export default {
  initialize: ({ model }) => syncState(model),
  render: (context) => panel(context, "Chat", buildChat),
};
