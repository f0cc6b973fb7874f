
// --- chat ---------------------------------------------------------------------------------------

const MOST_PICTURE_BYTES = 8_000_000;
const APPROVAL_DELAY_MS = 1000;

/**
 * Ask whether a tool may be called. The question never takes the focus. Its buttons do nothing for
 * a second after it appears, and a key that was down before it appeared never presses them.
 */
function approval(button, decide) {
  let asking, isOpen, opening, pressed;
  const call = h("pre", { class: "mlx-call", tabindex: 0, "aria-label": "The call" });
  const spoken = h("p", { class: "mlx-spoken", role: "alert" });
  const answer = (label, verdict) => button(label, () => decide(asking.id, verdict));
  const buttons = [answer("Refuse", "refuse"), answer("Allow", "allow"), answer("Always allow", "always")];
  const box = h("div", { class: "mlx-said", role: "group", "aria-label": "Tool approval", hidden: true },
    h("b", {}, "May the model call this tool?"), call, h("div", { class: "mlx-row" }, ...buttons));
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
  box.addEventListener("click", (event) => {
    if (!isOpen) event.stopPropagation();
  }, true);
  return {
    el: h("div", {}, spoken, box),
    show(question) {
      box.hidden = !question;
      if (question?.id === asking?.id) return;
      clearTimeout(opening);
      asking = question;
      isOpen = pressed = undefined;
      say(call, question?.text);
      say(spoken, question && `May the model call ${question.text}? The answers follow the message box.`);
      if (!question) return;
      for (const node of buttons) node.setAttribute("aria-disabled", "true");
      opening = setTimeout(() => {
        isOpen = true;
        for (const node of buttons) node.removeAttribute("aria-disabled");
      }, APPROVAL_DELAY_MS);
    },
  };
}

function buildChat({ root, button, ask, tell }) {
  const log = h("div", { class: "mlx-log", role: "log", "aria-label": "Conversation", tabindex: 0 });
  const empty = h("p", { class: "mlx-empty" }, "Say something. The model runs on this machine; pictures can be pasted or dropped.");
  const models = h("select", { "aria-label": "Model" });
  const text = h("textarea", { "aria-label": "Message", placeholder: "Message (Enter sends, Shift+Enter breaks the line, Escape stops)" });
  const pictures = h("div", { class: "mlx-row mlx-pictures" });
  const file = h("input", { type: "file", accept: "image/*", multiple: true, "aria-label": "Pictures", tabindex: -1 });
  const add = h("button", { type: "button", class: "mlx-button", onclick: () => file.click() }, "Add pictures");
  let waiting = [];
  let last = {};

  const drawPictures = () => {
    keep(pictures, waiting, (picture) => picture.id, (picture) => ({
      el: h("span", {}, h("img", { src: picture.url, alt: picture.name }),
        h("button", { type: "button", class: "mlx-button", "aria-label": `Take ${picture.name} away`,
          onclick: () => { waiting = waiting.filter((other) => other !== picture); drawPictures(); text.focus(); } }, "Remove")),
    }), () => {});
    const isBlind = waiting.length > 0 && !(last.seeing ?? []).includes(models.value);
    tell(isBlind ? `${models.value} cannot see pictures: choose another model.` : "");
  };
  models.addEventListener("change", drawPictures);
  const take = (files) => {
    for (const one of files) {
      if (!one.type.startsWith("image/")) { tell(`${one.name} is no picture.`, true); continue; }
      if (one.size > MOST_PICTURE_BYTES) { tell(`${one.name} is larger than ${bytes(MOST_PICTURE_BYTES)}.`, true); continue; }
      const reader = new FileReader();
      reader.onload = () => {
        waiting.push({ id: newId(), name: one.name || "picture", url: reader.result });
        drawPictures();
      };
      reader.readAsDataURL(one);
    }
  };
  file.addEventListener("change", () => { take(file.files); file.value = ""; });
  text.addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    take(event.clipboardData.files);
  });
  root.addEventListener("dragover", (event) => { event.preventDefault(); event.stopPropagation(); });
  root.addEventListener("drop", (event) => { event.preventDefault(); event.stopPropagation(); take(event.dataTransfer.files); });

  const submit = async () => {
    const said = text.value.trim();
    if ((!said && !waiting.length) || last.busy) return;
    const images = waiting.map((picture) => picture.url);
    text.value = "";
    waiting = [];
    drawPictures();
    try {
      await ask("ask", { text: said, images, model: models.value || null });
    } catch (error) {
      text.value ||= said;
      throw error;
    }
  };
  const send = button("Send", submit, { kind: "mlx-main" });
  // These buttons go with what they do: the focus must not go with them.
  const halt = button("Stop", async () => { await ask("halt"); text.focus(); });
  const fresh = button("New conversation", async () => { await ask("reset"); text.focus(); });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!event.repeat) send.click();
    }
    if (event.key === "Escape" && last.busy) halt.click();
  });
  const question = approval(button, async (call, verdict) => {
    const hadFocus = question.el.contains(document.activeElement);
    await ask("decide", { call, verdict });
    if (hadFocus) text.focus();
  });
  root.append(empty, log, h("div", { class: "mlx-compose" }, text, pictures, question.el,
    h("div", { class: "mlx-row" }, h("label", { class: "mlx-row" }, "Model", models), add, file, h("span", { class: "mlx-grow" }), fresh, halt, send)));

  const update = (row, entry) => {
    say(row.text, entry.text);
    say(row.thinking, entry.thinking);
    row.fold.hidden = !entry.thinking;
    say(row.note, entry.note);
    keep(row.calls, Object.entries(entry.calls ?? {}), ([id]) => id, () => {
      const title = h("b", { class: "mlx-call" }); const result = h("pre", { tabindex: 0 });
      return { el: h("div", {}, title, result), title, result };
    }, (call, [, told]) => {
      say(call.title, `${told.text} – ${told.state}`);
      say(call.result, told.result);
      call.result.hidden = !told.result;
    });
  };
  return (state) => {
    const names = state.models ?? [];
    if (last.models?.join("\n") !== names.join("\n") || !models.options.length) {
      const chosen = models.value || state.model || state.default;
      models.replaceChildren(...names.map((name) => h("option", {}, name)));
      if (names.includes(chosen)) models.value = chosen;
    }
    last = state;
    const entries = Object.entries(state.entries ?? {});
    empty.hidden = entries.length > 0;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    keep(log, entries, ([key]) => key, ([, entry]) => {
      const row = { text: h("div", { class: "mlx-text" }), thinking: h("div", { class: "mlx-text" }), note: h("small"), calls: h("div") };
      row.fold = fold("Thinking", row.thinking);
      row.el = h("div", { class: `mlx-said mlx-${entry.role}` }, h("b", {}, entry.role === "user" ? "You" : "Model"), row.fold, row.calls, row.text,
        ...(entry.images ?? []).map((url) => h("img", { src: url, alt: "Picture of this message" })), row.note);
      return row;
    }, (row, [, entry]) => update(row, entry));
    if (atEnd) log.scrollTop = log.scrollHeight;
    log.hidden = !entries.length;
    send.hidden = Boolean(state.busy);
    halt.hidden = !state.busy;
    fresh.hidden = !entries.length;
    question.show(state.asking);
  };
}

export default {
  initialize: ({ model }) => follow(model),
  render: (context) => panel(context, "Chat", buildChat),
};
