// Shared by all panels. All text from a model, a tool or the server is set through `textContent`:
// nothing here parses HTML.

/** Create an element: `h("button", {class: "x", onclick: f}, "text", child)`. */
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

/** A section that opens, as a `details` element, which keyboards and screen readers support. */
function disclosure(title, ...children) {
  return h("details", {}, h("summary", {}, title), ...children);
}

/** Set the text of an element, only if it differs. */
function setText(node, text) {
  const next = text == null ? "" : String(text);
  if (node.textContent !== next) node.textContent = next;
}

/** Keep one child of `parent` for each item, by key, so that an update does not move the focus. */
function reconcile(parent, items, key, make, update) {
  parent.kept ??= new Map();
  const kept = parent.kept;
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
function mergePatch(old, patch) {
  const result = { ...old };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else if (typeof value === "object" && !Array.isArray(value))
      result[name] = mergePatch(typeof old?.[name] === "object" ? old[name] : {}, value);
    else result[name] = value;
  }
  return result;
}

const TYPED_INTO = "input:not([type=button]), textarea";

/** Whether a key is a shortcut of the page, such as Ctrl+S, and not for editing text. */
function isForPage({ ctrlKey, metaKey, key, target }) {
  if (!ctrlKey && !metaKey) return false;
  return !target.matches(TYPED_INTO) || (key.length === 1 && !"acvxyz".includes(key.toLowerCase()));
}

let lastId = 0;
const newId = () => {
  lastId += 1;
  return `${Date.now().toString(36)}-${lastId}`;
};

/** Keep the state of the panel's model current, whether or not a view shows it. */
function syncState(model) {
  model.on("msg:custom", (message) => {
    if (message.state) model.set("state", message.state);
    if (message.append) {
      const { path, text } = message.append;
      const state = model.get("state");
      const before = path.reduce((found, name) => found?.[name], state) ?? "";
      model.set(
        "state",
        mergePatch(
          state,
          path.reduceRight((inner, name) => ({ [name]: inner }), before + text),
        ),
      );
    }
    if (message.patch) model.set("state", mergePatch(model.get("state"), message.patch));
  });
  post(model, { get_state: newId() });
}

const GONE =
  "The kernel of this panel has stopped or was restarted, so the panel is out of date. Run its cell again.";
const SILENT =
  "The kernel does not answer, so this panel may be out of date. If the kernel has stopped, run the cell again.";
// Heartbeats of the kernel that may be missing before the panel shows a message.
const MISSED_HEARTBEATS = 4;

/**
 * Watch whether the kernel is running: it sends a heartbeat every few seconds, also during a cell.
 * `show` is called with a message, "" if all is well. Returns a function that ends the watch.
 */
function watchKernel(model, show) {
  let missed = 0;
  let timer = 0;
  // Whether the frontend has reported a change that the kernel has not answered: heartbeats are then
  // missing too, which says less.
  let changed = false;
  const count = (seconds) => {
    clearInterval(timer);
    missed = 0;
    timer = setInterval(() => {
      missed += 1;
      if (missed >= MISSED_HEARTBEATS && !changed) show(SILENT);
    }, seconds * 1000);
  };
  const onMessage = (message) => {
    changed = false;
    show("");
    if (message.heartbeat) count(message.heartbeat);
  };
  // The frontend reports a change of the kernel, but not which one: an answer means that it runs.
  const check = () => {
    changed = true;
    show(GONE);
    post(model, { get_state: newId() });
  };
  model.on("msg:custom", onMessage);
  model.on("comm_live_update", check);
  count(10);
  return () => {
    clearInterval(timer);
    model.off("msg:custom", onMessage);
    model.off("comm_live_update", check);
  };
}

/** Send the kernel a message; return whether there is a connection. */
function post(model, message) {
  try {
    model.send(message);
    return true;
  } catch {
    return false;
  }
}

/**
 * Call a method of the kernel's panel and return a promise of the result. `accepted` is called when
 * the kernel has received the call, `late` if it has not after a while, because it runs a cell.
 * `signal` cancels the call.
 */
function callKernel(model, method, args = {}, { accepted, late, signal } = {}) {
  const id = newId();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => late?.(), 1500);
    const onMessage = (message) => {
      if (message.accepted === id) {
        clearTimeout(timer);
        accepted?.();
      }
      if (message.reply !== id) return;
      clearTimeout(timer);
      model.off("msg:custom", onMessage);
      if (message.error) reject(new Error(message.error));
      else resolve(message.result);
    };
    model.on("msg:custom", onMessage);
    signal?.addEventListener("abort", () => post(model, { stop: id }));
    if (post(model, { call: id, method, args })) return;
    clearTimeout(timer);
    model.off("msg:custom", onMessage);
    reject(new Error(GONE));
  });
}

const NOTICE_SECONDS = 6;

/**
 * Notices that overlay a panel, so that nothing in it moves. Each replaces the last one. A notice
 * disappears after a few seconds; an error stays until it is dismissed.
 */
function notices(root) {
  const text = h("span", { role: "status", "aria-live": "polite" });
  const close = h(
    "button",
    { type: "button", class: "mlx-button", onclick: () => notify("") },
    "Dismiss",
  );
  const el = h("div", { class: "mlx-notice", hidden: true }, text, close);
  let timer = 0;
  const notify = (message, isError = false) => {
    clearTimeout(timer);
    setText(text, message);
    el.hidden = !message;
    close.hidden = !isError;
    el.classList.toggle("mlx-error", isError);
    el.style.top = `${8 + scrolledPixels(root)}px`;
    if (message && !isError) timer = setTimeout(() => notify(""), NOTICE_SECONDS * 1000);
  };
  return { el, notify };
}

/** How many pixels at the top of an element are scrolled out of view. */
function scrolledPixels(el) {
  let top = 0;
  for (let node = el.parentElement; node; node = node.parentElement)
    if (getComputedStyle(node).overflowY !== "visible")
      top = Math.max(top, node.getBoundingClientRect().top);
  const { top: own, height } = el.getBoundingClientRect();
  return Math.max(0, Math.min(top - own, height - 60));
}

/**
 * Keep the rows of a list in place while the pointer is over it: new rows go to the end, removed ones
 * stay, marked `gone`. `redraw` is called when the pointer leaves.
 */
function holdStill(list, key, redraw) {
  let shown = [];
  list.addEventListener("pointerleave", () => redraw());
  return (items) => {
    const now = new Map(items.map((item) => [key(item), item]));
    const kept = list.matches(":hover")
      ? shown.map((item) => now.get(key(item)) ?? { ...item, gone: true })
      : [];
    const known = new Set(kept.map(key));
    shown = kept.length ? [...kept, ...items.filter((item) => !known.has(key(item)))] : items;
    return shown;
  };
}

/** "1 request", "2 requests". */
const plural = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** Build the frame of a panel and keep it current; return a function that removes the view. */
function panel({ model, el }, title, build) {
  const view = newId();
  const connection = h("p", { class: "mlx-problem", role: "alert" });
  const root = h("section", {
    class: "mlx-panel",
    "aria-label": title,
    "data-mlx-live": model.get("shown_as"),
  });
  const notice = notices(root);
  const { notify } = notice;
  let lost = "";
  /** A button that runs an action, shows its error, and is disabled meanwhile. */
  const button = (label, action, { name, kind = "" } = {}) => {
    const node = h(
      "button",
      { type: "button", class: `mlx-button ${kind}`, "aria-label": name },
      label,
    );
    node.addEventListener("click", async () => {
      if (node.getAttribute("aria-disabled") === "true") return;
      node.setAttribute("aria-disabled", "true");
      try {
        await action(node);
      } catch (error) {
        notify(error.message, true);
      } finally {
        node.removeAttribute("aria-disabled");
      }
    });
    return node;
  };
  const ask = (name, args, options = {}) => {
    if (lost === GONE) return Promise.reject(new Error(GONE));
    let isLate = false;
    return callKernel(model, name, args, {
      late: () => {
        isLate = true;
        notify("The kernel is busy; this will be sent when the cell finishes.");
      },
      accepted: () => isLate && notify(""),
      ...options,
    });
  };
  const update = build({ root, button, ask, notify, model });
  root.prepend(h("header", {}, h("h2", {}, title)), connection, notice.el);
  root.addEventListener("keydown", (event) => {
    if (!isForPage(event) && event.key !== "Tab") event.stopPropagation();
  });
  // Keys pressed here are for the panel, not for the notebook's shortcuts. Lumino looks for this
  // attribute on the focused element, in Notebook 7 during the capture phase.
  const claim = (event) => {
    if (root.contains(event.target))
      event.target.toggleAttribute("data-lm-suppress-shortcuts", !isForPage(event));
  };
  window.addEventListener("keydown", claim, true);
  const draw = () => {
    const state = model.get("state") ?? {};
    const problem = lost || state.problem;
    setText(connection, problem);
    connection.hidden = !problem;
    update(state);
  };
  model.on("change:state", draw);
  const leaveKernel = watchKernel(model, (message) => {
    if (lost === message) return;
    lost = message;
    draw();
  });
  draw();
  el.classList.add("mlx-output");
  el.append(root);
  post(model, { opened: view });
  // After a reload the page comes back, so the kernel continues the actions of this panel.
  const leavePage = () => post(model, { page_left: view });
  window.addEventListener("pagehide", leavePage);
  return () => {
    window.removeEventListener("pagehide", leavePage);
    window.removeEventListener("keydown", claim, true);
    model.off("change:state", draw);
    leaveKernel();
    post(model, { closed: view });
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

/** A bar with its value as text. Above 70 % it is amber, above 90 % red, both also in words. */
function meter(label, { warn = true } = {}) {
  const fill = h("span", { class: "mlx-fill" });
  const bar = h(
    "span",
    {
      class: "mlx-bar",
      role: "meter",
      "aria-label": label,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
    },
    fill,
  );
  const text = h("span", { class: "mlx-meter-text" });
  const el = h("div", { class: "mlx-meter" }, bar, text);
  return {
    el,
    set(part, value) {
      const percent = Math.min(100, Math.round((part ?? 0) * 100));
      const level = !warn || percent <= 70 ? "" : percent <= 90 ? "amber" : "red";
      const word = { "": "", amber: " – getting full", red: " – nearly full" }[level];
      fill.style.width = `${percent}%`;
      bar.dataset.level = level;
      bar.setAttribute("aria-valuenow", percent);
      bar.setAttribute("aria-valuetext", value + word);
      setText(text, value + word);
    },
  };
}
