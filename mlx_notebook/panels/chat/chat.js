/** A message that the kernel has not received yet. */
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

/**
 * Send a message. It is shown at the end of the log until the kernel has received it; in a page
 * without a kernel, until what goes along is read.
 */
async function sendMessage(message, { compose, sent, ask, toEnd, isRead }) {
  let isAccepted = false;
  const accepted = () => {
    isAccepted = true;
    if (!isRead) sent.hide();
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

// A user's key, wheel or finger scrolls a log within this time.
const SCROLLED_WITHIN_MS = 1000;

/**
 * Keep the end of a log in view while its content grows, until the user scrolls up.
 *
 * A log also scrolls by itself: when its content shrinks for a moment, or when the page takes it
 * out and puts it back. So only what follows a user's key, wheel or finger counts.
 */
function followEnd(log, content) {
  let isFollowing = true,
    before = 0,
    touchedAt = -Infinity;
  const toEnd = () => {
    isFollowing = true;
    log.scrollTop = log.scrollHeight;
    before = log.scrollTop;
  };
  for (const type of ["keydown", "wheel", "touchmove", "pointerdown"])
    log.addEventListener(type, (event) => (touchedAt = event.timeStamp), { passive: true });
  log.addEventListener("scroll", (event) => {
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const isUsers = event.timeStamp - touchedAt < SCROLLED_WITHIN_MS;
    if (isAtEnd) isFollowing = true;
    else if (isUsers && log.scrollTop < before) isFollowing = false;
    before = log.scrollTop;
  });
  new ResizeObserver(() => isFollowing && toEnd()).observe(content);
  return toEnd;
}

function buildChat({ root, button, ask, notify, model }) {
  const { host } = model;
  let last = {},
    refusedBefore;
  const warn = () => {
    const cannotSee =
      (compose.images.urls().length > 0 || last.attached_images) &&
      last.models &&
      !(last.vision_models ?? []).includes(choice.name());
    setText(
      imageWarning,
      cannotSee ? `${choice.name()} does not accept images: choose another model.` : "",
    );
  };
  const imageWarning = h("p", { class: "mlx-change mlx-error", role: "status" });
  const choice = modelChoice({ ask, notify, changed: () => warn() });
  const compose = composer({
    root,
    notify,
    changed: () => {
      // An earlier message keeps what went along with it.
      for (const node of host?.context ?? []) node.hidden = compose.get().replaces !== null;
      warn();
    },
  });
  const { text } = compose;
  host?.connect({ text, notify, clear: compose.clear });
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
    host?.greeting ?? "Ask anything. The model runs on this machine. You can paste or drop images.",
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
      await sendMessage(message, { compose, sent, ask, toEnd, isRead: Boolean(host) });
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
  const question = approval(
    button,
    async (call, decision) => {
      const hadFocus = question.el.contains(document.activeElement);
      await ask("decide", { call, decision });
      if (hadFocus) text.focus();
    },
    messages.draw,
  );
  root.append(
    ...(host?.head ?? []),
    empty,
    log,
    h(
      "div",
      { class: "mlx-compose" },
      ...compose.parts,
      // It is to be seen without scrolling, whatever goes along.
      question.el,
      ...(host?.context ?? []),
      imageWarning,
      h(
        "div",
        { class: "mlx-row" },
        choice.el,
        ...(host?.choices ?? []),
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
