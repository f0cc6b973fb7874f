
// --- chat ---------------------------------------------------------------------------------------

const MOST_PICTURE_BYTES = 8_000_000;

function buildChat({ root, button, ask, tell }) {
  const log = h("div", { class: "mlx-log", role: "log", "aria-label": "Conversation", tabindex: 0 });
  const empty = h("p", { class: "mlx-empty" }, "Say something. The model runs on this machine; pictures can be pasted or dropped.");
  const models = h("select", { "aria-label": "Model" });
  const text = h("textarea", { "aria-label": "Message", placeholder: "Message (Enter sends, Shift+Enter breaks the line, Escape stops)" });
  const pictures = h("div", { class: "mlx-row mlx-pictures" });
  const file = h("input", { type: "file", accept: "image/*", multiple: true, "aria-label": "Pictures", tabindex: -1 });
  const add = h("button", { type: "button", class: "mlx-button", onclick: () => file.click() }, "Add pictures");
  const question = h("div", { role: "alertdialog", "aria-label": "May the model call this tool?", class: "mlx-said" });
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
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send.click(); }
    if (event.key === "Escape" && last.busy) halt.click();
  });
  const decide = (verdict) => async () => { await ask("decide", { call: last.asking.id, verdict }); text.focus(); };
  const asked = h("p", { class: "mlx-text" });
  question.append(h("b", {}, "May the model call this tool?"), asked, h("div", { class: "mlx-row" },
    button("Allow", decide("allow"), { kind: "mlx-main" }), button("Always allow", decide("always")), button("Refuse", decide("refuse"))));
  root.append(empty, log, question, h("div", { class: "mlx-compose" }, text, pictures,
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
    const wasAsking = last.asking?.id;
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
    question.hidden = !state.asking;
    say(asked, state.asking?.text);
    if (state.asking && state.asking.id !== wasAsking) question.querySelector("button").focus();
  };
}

export default {
  initialize: ({ model }) => follow(model),
  render: (context) => panel(context, "Chat", buildChat),
};
