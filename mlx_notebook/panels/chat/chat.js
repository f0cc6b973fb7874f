/** A message that the kernel has not taken yet. */
function sentMessage() {
  const text = h("div", { class: "mlx-text" }),
    note = h("small");
  const el = h("div", { class: "mlx-said mlx-user", hidden: true }, h("b", {}, "You"), text, note);
  return {
    el,
    show(message) {
      const count = message.images.length;
      say(
        text,
        [message.text, count && `(${count} ${count > 1 ? "images" : "image"})`]
          .filter(Boolean)
          .join("\n"),
      );
      say(note, "Sending");
      el.hidden = false;
    },
    late: () => say(note, "The kernel is busy; this will be sent when the cell finishes."),
    hide() {
      el.hidden = true;
      say(text, "");
    },
  };
}

/** Send a message: it stands at the log's end until the kernel has taken it, and comes back else. */
async function sendMessage(message, { compose, sent, ask, toEnd }) {
  let isTaken = false;
  const taken = () => {
    isTaken = true;
    sent.hide();
  };
  compose.clear();
  sent.show(message);
  toEnd();
  try {
    await ask("ask", message, { taken, late: sent.late });
  } catch (error) {
    // One that the kernel took and refused comes back with the state.
    if (!isTaken) compose.restore(message);
    throw error;
  } finally {
    sent.hide();
  }
}

/** Keep the end of a log in sight while its content grows, until the person scrolls up. */
function followEnd(log, content) {
  let isFollowing = true,
    before = 0;
  const toEnd = () => {
    isFollowing = true;
    log.scrollTop = log.scrollHeight;
  };
  // Content may have grown since the log was scrolled to its end: only a way up is the person's.
  log.addEventListener("scroll", () => {
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    isFollowing = isAtEnd || (isFollowing && log.scrollTop >= before);
    before = log.scrollTop;
  });
  new ResizeObserver(() => isFollowing && toEnd()).observe(content);
  return toEnd;
}

function buildChat({ root, button, ask, tell, model }) {
  let last = {},
    refusedBefore;
  const warn = () => {
    const isBlind =
      compose.images.urls().length > 0 &&
      last.models &&
      !(last.vision_models ?? []).includes(choice.name());
    say(blind, isBlind ? `${choice.name()} cannot see images: choose another model.` : "");
  };
  const blind = h("p", { class: "mlx-change mlx-bad", role: "status" });
  const choice = modelChoice({ ask, tell, changed: () => warn() });
  const compose = composer({ root, tell, changed: () => warn() });
  const { text } = compose;
  const talk = conversation({ button, ask, tell, model, compose });
  const sent = sentMessage();
  const log = h(
    "div",
    { class: "mlx-log", role: "log", "aria-label": "Conversation", tabindex: 0 },
    talk.el,
    sent.el,
  );
  const toEnd = followEnd(log, talk.el);
  const empty = h(
    "p",
    { class: "mlx-empty" },
    "Ask anything. The model runs on this machine. You can paste or drop images.",
  );
  const settings = settingsForm({ button, ask, tell });
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
      tell("");
      if (document.activeElement === send) text.focus();
      log.hidden = false;
      empty.hidden = true;
      await sendMessage(message, { compose, sent, ask, toEnd });
    },
    { kind: "mlx-main" },
  );
  // These buttons go with what they do: the focus must not go with them.
  const halt = button("Stop", async () => {
    await ask("stop");
    text.focus();
  });
  const fresh = button("New conversation", async () => {
    await ask("reset");
    text.focus();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (last.busy) tell("The model is still answering: wait for it, or stop it.");
      else if (!event.repeat) send.click();
    }
    if (event.key === "Escape" && last.busy) halt.click();
  });
  const question = approval(button, async (call, verdict) => {
    const hadFocus = question.el.contains(document.activeElement);
    await ask("decide", { call, verdict });
    if (hadFocus) text.focus();
  });
  root.append(
    empty,
    log,
    h(
      "div",
      { class: "mlx-compose" },
      ...compose.parts,
      blind,
      question.el,
      h(
        "div",
        { class: "mlx-row" },
        choice.el,
        add,
        compose.images.file,
        h("div", { class: "mlx-row mlx-end" }, fresh, halt, send),
      ),
      settings.el,
    ),
  );

  return (state) => {
    last = state;
    const isEmpty = !talk.show(state) && sent.el.hidden;
    empty.hidden = !isEmpty;
    log.hidden = isEmpty;
    choice.show(state);
    settings.show(state);
    warn();
    send.hidden = Boolean(state.busy);
    halt.hidden = !state.busy;
    // A screen reader reads an answer once it is whole.
    log.setAttribute("aria-busy", String(Boolean(state.busy)));
    fresh.hidden = isEmpty;
    question.show(state.asking);
    if (state.refused && state.refused.id !== refusedBefore) compose.restore(state.refused);
    refusedBefore = state.refused?.id;
  };
}

export default {
  initialize: ({ model }) => follow(model),
  render: (context) => panel(context, "Chat", buildChat),
};
