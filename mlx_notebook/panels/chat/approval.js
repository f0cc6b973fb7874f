const APPROVAL_DELAY_MS = 1000;

const TOOL_CHOICES = [
  { label: "Allow", decision: "allow" },
  { label: "Always allow", decision: "always" },
];

/**
 * Ask whether something may be done, such as the call of a tool. The question does not take the
 * focus. Its buttons do nothing for a second after it appears, and a key that was already down then
 * does not press them. `draw` makes the view of a block that belongs to the question.
 */
function approval(button, decide, draw) {
  let asking,
    buttons = [],
    isOpen,
    opening,
    pressed;
  const title = h("b");
  const call = h("pre", { class: "mlx-call", tabindex: 0, "aria-label": "The call" });
  const shown = h("div");
  const spoken = h("p", { class: "mlx-screen-reader", role: "alert" });
  const row = h("div", { class: "mlx-row" });
  const answer = ({ label, decision }) => button(label, () => decide(asking.id, decision));
  const box = h(
    "div",
    { class: "mlx-entry", role: "group", "aria-label": "Tool approval", hidden: true },
    title,
    call,
    shown,
    row,
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
  row.addEventListener(
    "click",
    (event) => {
      if (!isOpen) event.stopPropagation();
    },
    true,
  );
  const open = (question) => {
    const asked = question.title ?? "May the model call this tool?";
    setText(title, asked);
    setText(call, question.text);
    const text = question.title
      ? `${asked} ${question.text}`
      : `May the model call ${question.text}?`;
    setText(spoken, `${text} The buttons are below the message box.`);
    shown.replaceChildren();
    if (question.block) {
      const view = draw(question.block.kind);
      view.update(question.block);
      shown.append(view.el);
    }
    const choices = [
      { label: "Refuse", decision: "refuse" },
      ...(question.choices ?? TOOL_CHOICES),
    ];
    buttons = choices.map(answer);
    for (const node of buttons) node.setAttribute("aria-disabled", "true");
    row.replaceChildren(...buttons);
    opening = setTimeout(() => {
      isOpen = true;
      for (const node of buttons) node.removeAttribute("aria-disabled");
    }, APPROVAL_DELAY_MS);
  };
  return {
    el: h("div", {}, spoken, box),
    show(question) {
      box.hidden = !question;
      if (question?.id === asking?.id) return;
      clearTimeout(opening);
      asking = question;
      isOpen = pressed = undefined;
      if (question) open(question);
      else for (const node of [spoken, call, shown]) node.replaceChildren();
    },
  };
}
