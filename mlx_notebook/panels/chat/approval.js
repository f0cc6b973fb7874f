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
