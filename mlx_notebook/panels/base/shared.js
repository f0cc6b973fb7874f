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
const newId = () => {
  lastId += 1;
  return `${Date.now().toString(36)}-${lastId}`;
};

/** Keep the panel's state in its model, whether or not a view shows it. */
function follow(model) {
  model.on("msg:custom", (message) => {
    if (message.state) model.set("state", message.state);
    if (message.append) {
      const { path, text } = message.append;
      const state = model.get("state");
      const before = path.reduce((found, name) => found?.[name], state) ?? "";
      model.set(
        "state",
        merged(
          state,
          path.reduceRight((inner, name) => ({ [name]: inner }), before + text),
        ),
      );
    }
    if (message.patch) model.set("state", merged(model.get("state"), message.patch));
  });
  post(model, { hello: newId() });
}

const GONE =
  "The kernel of this panel has stopped or was restarted, so the panel is out of date. Run its cell again.";
const SILENT =
  "The kernel does not answer, so this panel may be out of date. If the kernel has stopped, run the cell again.";
// Beats of the kernel that may be missed before the panel says so.
const MISSED_BEATS = 4;

/**
 * Watch whether the kernel lives: it sends a beat every few seconds, also while it runs a cell.
 * `told` gets what to tell the person, "" while all is well. Returns what ends the watch.
 */
function watch(model, told) {
  let missed = 0;
  let timer = 0;
  const count = (seconds) => {
    clearInterval(timer);
    missed = 0;
    timer = setInterval(() => {
      missed += 1;
      if (missed === MISSED_BEATS) told(SILENT);
    }, seconds * 1000);
  };
  const hear = (message) => {
    told("");
    if (message.beat) count(message.beat);
  };
  // A frontend that knows says so at once. It does not say which: so the kernel is asked.
  const doubt = () => {
    told(GONE);
    post(model, { hello: newId() });
  };
  model.on("msg:custom", hear);
  model.on("comm_live_update", doubt);
  count(10);
  return () => {
    clearInterval(timer);
    model.off("msg:custom", hear);
    model.off("comm_live_update", doubt);
  };
}

/** Send the kernel a message; returns whether there is a connection to send it on. */
function post(model, message) {
  try {
    model.send(message);
    return true;
  } catch {
    return false;
  }
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
    signal?.addEventListener("abort", () => post(model, { stop: id }));
    if (post(model, { call: id, do: name, with: args })) return;
    clearTimeout(timer);
    model.off("msg:custom", hear);
    reject(new Error(GONE));
  });
}

const NOTICE_SECONDS = 6;

/**
 * Notices that lie above a panel, so that nothing in it moves: each replaces the last one and goes
 * by itself; an error stays until it is dismissed.
 */
function notices(root) {
  const text = h("span", { role: "status", "aria-live": "polite" });
  const close = h(
    "button",
    { type: "button", class: "mlx-button", onclick: () => tell("") },
    "Dismiss",
  );
  const el = h("div", { class: "mlx-notice", hidden: true }, text, close);
  let timer = 0;
  const tell = (told, isBad = false) => {
    clearTimeout(timer);
    say(text, told);
    el.hidden = !told;
    close.hidden = !isBad;
    el.classList.toggle("mlx-bad", isBad);
    el.style.top = `${8 + cutOff(root)}px`;
    if (told && !isBad) timer = setTimeout(() => tell(""), NOTICE_SECONDS * 1000);
  };
  return { el, tell };
}

/** How many pixels of an element's top are scrolled out of sight. */
function cutOff(el) {
  let top = 0;
  for (let node = el.parentElement; node; node = node.parentElement)
    if (getComputedStyle(node).overflowY !== "visible")
      top = Math.max(top, node.getBoundingClientRect().top);
  const { top: own, height } = el.getBoundingClientRect();
  return Math.max(0, Math.min(top - own, height - 60));
}

/**
 * Hold a list still while the pointer is over it, so that no row moves under it: what is new comes
 * at the end, what is gone stays, marked `gone`. `redraw` is called when the pointer leaves.
 */
function steady(list, key, redraw) {
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

/** Build the frame of a panel and keep it up to date; returns what takes the view away. */
function panel({ model, el }, title, build) {
  const view = newId();
  const connection = h("p", { class: "mlx-problem", role: "alert" });
  const root = h("section", {
    class: "mlx-panel",
    "aria-label": title,
    "data-mlx-live": model.get("shown_as"),
  });
  const notice = notices(root);
  const { tell } = notice;
  let lost = "";
  /** A button that gives an order, says how it went, and cannot be pressed twice meanwhile. */
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
        tell(error.message, true);
      } finally {
        node.removeAttribute("aria-disabled");
      }
    });
    return node;
  };
  const ask = (name, args, options = {}) => {
    if (lost === GONE) return Promise.reject(new Error(GONE));
    let isLate = false;
    return order(model, name, args, {
      late: () => {
        isLate = true;
        tell("The kernel is busy; this will be sent when the cell finishes.");
      },
      taken: () => isLate && tell(""),
      ...options,
    });
  };
  const update = build({ root, button, ask, tell, model });
  root.prepend(h("header", {}, h("h2", {}, title)), connection, notice.el);
  root.addEventListener("keydown", (event) => {
    if (!isForPage(event) && event.key !== "Tab") event.stopPropagation();
  });
  // What is pressed here is for the panel, not for the notebook's shortcuts. Lumino looks for this
  // word on the very element that has the focus, and in Notebook 7 on the event's way down.
  const claim = (event) => {
    if (root.contains(event.target))
      event.target.toggleAttribute("data-lm-suppress-shortcuts", !isForPage(event));
  };
  window.addEventListener("keydown", claim, true);
  const draw = () => {
    const state = model.get("state") ?? {};
    const problem = lost || state.problem;
    say(connection, problem);
    connection.hidden = !problem;
    update(state);
  };
  model.on("change:state", draw);
  const leaveKernel = watch(model, (told) => {
    if (lost === told) return;
    lost = told;
    draw();
  });
  draw();
  el.classList.add("mlx-output");
  el.append(root);
  post(model, { opened: view });
  // A page that is reloaded comes back: the kernel goes on with what it does for this panel.
  const leavePage = () => post(model, { left: view });
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

/** A bar with its figures as text; amber above 70 %, red above 90 %, and says so in words. */
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
