// What all panels share. Every text that comes from a model, a tool or the server goes through
// `textContent`: nothing here ever parses HTML.

/** Make an element: `h("button", {class: "x", onclick: f}, "text", child)`. */
function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** A part that opens: real `details`, so that keyboards and readers know it. */
function fold(title, ...children) {
  return h("details", {}, h("summary", {}, title), ...children);
}

/** Set a text, touching the page only where it differs. */
function say(node, text) {
  const told = text == null ? "" : String(text);
  if (node.textContent !== told) node.textContent = told;
}

/** Keep one child of `parent` for each item, by key, so that focus survives an update. */
function keep(parent, items, key, make, update) {
  const kept = (parent.kept ??= new Map());
  const keys = new Set(items.map(key));
  for (const [name, row] of kept) {
    if (keys.has(name)) continue;
    row.el.remove();
    kept.delete(name);
  }
  items.forEach((item, at) => {
    const name = key(item);
    if (!kept.has(name)) kept.set(name, make(item));
    const row = kept.get(name);
    if (parent.children[at] !== row.el) parent.insertBefore(row.el, parent.children[at] ?? null);
    update(row, item);
  });
}

/** Apply a JSON merge patch (RFC 7396). */
function merged(old, patch) {
  const result = { ...old };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else if (typeof value === "object" && !Array.isArray(value))
      result[name] = merged(typeof old?.[name] === "object" ? old[name] : {}, value);
    else result[name] = value;
  }
  return result;
}

const TYPED_INTO = "input:not([type=button]), textarea";

/** Whether a key is a shortcut of the page, as Ctrl+S is, and neither typing nor editing a text. */
function isForPage({ ctrlKey, metaKey, key, target }) {
  if (!ctrlKey && !metaKey) return false;
  return !target.matches(TYPED_INTO) || (key.length === 1 && !"acvxyz".includes(key.toLowerCase()));
}

let lastId = 0;
const newId = () => `${Date.now().toString(36)}-${(lastId += 1)}`;

/** Keep the panel's state in its model, whether or not a view shows it. */
function follow(model) {
  model.on("msg:custom", (message) => {
    if (message.state) model.set("state", message.state);
    if (message.append) {
      const { path, text } = message.append;
      const state = model.get("state");
      const before = path.reduce((found, name) => found?.[name], state) ?? "";
      model.set("state", merged(state, path.reduceRight((inner, name) => ({ [name]: inner }), before + text)));
    }
    if (message.patch) model.set("state", merged(model.get("state"), message.patch));
  });
  model.send({ hello: newId() });
}

/**
 * Have the kernel do something, and wait for what comes of it. `taken` is called when the kernel
 * has taken the order, `late` when it has not yet, since it runs a cell. `signal` stops the order.
 */
function order(model, name, args = {}, { taken, late, signal } = {}) {
  const id = newId();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => late?.(), 1500);
    const hear = (message) => {
      if (message.taken === id) {
        clearTimeout(timer);
        taken?.();
      }
      if (message.reply !== id) return;
      clearTimeout(timer);
      model.off("msg:custom", hear);
      if (message.error) reject(new Error(message.error));
      else resolve(message.result);
    };
    model.on("msg:custom", hear);
    signal?.addEventListener("abort", () => model.send({ stop: id }));
    model.send({ call: id, do: name, with: args });
  });
}

/** Build the frame of a panel and keep it up to date; returns what takes the view away. */
function panel({ model, el }, title, build) {
  const view = newId();
  const notice = h("p", { class: "mlx-notice", role: "status", "aria-live": "polite" });
  const connection = h("p", { class: "mlx-problem", role: "alert" });
  const root = h("section", { class: "mlx-panel", "aria-label": title });
  const tell = (text, isBad = false) => {
    say(notice, text);
    notice.classList.toggle("mlx-bad", isBad);
  };
  /** A button that gives an order, says how it went, and cannot be pressed twice meanwhile. */
  const button = (label, action, { name, kind = "" } = {}) => {
    const node = h("button", { type: "button", class: `mlx-button ${kind}`, "aria-label": name }, label);
    node.addEventListener("click", async () => {
      if (node.getAttribute("aria-disabled") === "true") return;
      node.setAttribute("aria-disabled", "true");
      try {
        await action(node);
      } catch (error) {
        tell(error.message, true);
      } finally {
        node.removeAttribute("aria-disabled");
      }
    });
    return node;
  };
  const ask = (name, args, options = {}) =>
    order(model, name, args, {
      late: () => tell("The kernel is busy; this will be sent when the cell finishes."),
      ...options,
    });
  const update = build({ root, button, ask, tell, model });
  root.prepend(h("header", {}, h("h2", {}, title)), connection, notice);
  root.addEventListener("keydown", (event) => {
    if (!isForPage(event) && event.key !== "Tab") event.stopPropagation();
  });
  // What is pressed here is for the panel, not for the notebook's shortcuts. Lumino looks for this
  // word on the very element that has the focus, and in Notebook 7 on the event's way down.
  const claim = (event) => {
    if (root.contains(event.target)) event.target.toggleAttribute("data-lm-suppress-shortcuts", !isForPage(event));
  };
  window.addEventListener("keydown", claim, true);
  const draw = () => {
    const state = model.get("state") ?? {};
    say(connection, state.problem);
    connection.hidden = !state.problem;
    update(state);
  };
  model.on("change:state", draw);
  draw();
  el.classList.add("mlx-output");
  el.append(root);
  model.send({ opened: view });
  // A page that is reloaded comes back: the kernel goes on with what it does for this panel.
  const leavePage = () => model.send({ left: view });
  window.addEventListener("pagehide", leavePage);
  return () => {
    window.removeEventListener("pagehide", leavePage);
    window.removeEventListener("keydown", claim, true);
    model.off("change:state", draw);
    model.send({ closed: view });
  };
}

const number = (value, digits = 0) =>
  Number(value ?? 0).toLocaleString("en", { maximumFractionDigits: digits });

function bytes(value) {
  if (value == null) return "unknown size";
  let left = value;
  for (const unit of ["bytes", "kB", "MB"]) {
    if (left < 1000) return `${number(left, unit === "bytes" ? 0 : 1)} ${unit}`;
    left /= 1000;
  }
  return `${number(left, 1)} GB`;
}

function seconds(value) {
  if (value == null) return "–";
  if (value < 1) return `${number(value * 1000)} ms`;
  if (value < 60) return `${number(value, 1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

/** A bar with its figures as text; amber above 70 %, red above 90 %, and says so in words. */
function meter(label, { warn = true } = {}) {
  const fill = h("span", { class: "mlx-fill" });
  const bar = h("span", { class: "mlx-bar", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  const text = h("span", { class: "mlx-meter-text" });
  const el = h("div", { class: "mlx-meter" }, bar, text);
  return {
    el,
    set(part, told) {
      const percent = Math.min(100, Math.round((part ?? 0) * 100));
      const level = !warn || percent <= 70 ? "" : percent <= 90 ? "amber" : "red";
      const word = { "": "", amber: " – getting full", red: " – nearly full" }[level];
      fill.style.width = `${percent}%`;
      bar.dataset.level = level;
      bar.setAttribute("aria-valuenow", percent);
      bar.setAttribute("aria-valuetext", told + word);
      say(text, told + word);
    },
  };
}
