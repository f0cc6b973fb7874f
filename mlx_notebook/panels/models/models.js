// --- models -------------------------------------------------------------------------------------

const GROUPS = [
  ["In memory", ["resident"], "No model is in memory. The first request loads one."],
  ["In progress", ["loading", "downloading"], ""],
  ["On this machine", ["available"], "No other model is on this machine."],
  ["At upstreams", ["upstream"], ""],
  ["Cannot be used", ["incomplete", "broken"], ""],
  ["Available to download", ["downloadable"], ""],
];
const DOING = {
  load: "Loading",
  swap: "Loading",
  pin: "Updating",
  unload: "Unloading",
  download: "Downloading",
  cancel: "Cancelling",
};
// A repository's name on Hugging Face.
const REPOSITORY = /^[\w.-]+\/[\w.-]+$/;

/** The title of the group in which a model is listed. */
const groupTitle = (model) => GROUPS.find(([, states]) => states.includes(model.state))?.[0] ?? "";

/** Whether a model is one of text alone, without an adapter: such a model can be converted. */
const isText = ({ id, capabilities = [] }) =>
  !id.includes("+") &&
  !["vision", "embeddings", "transcription", "speech"].some((one) => capabilities.includes(one));

/** "Loading: 3 MB of 6 MB, 2 s left". */
function progressOf({ phase, done, total, seconds_left: left }) {
  const of = total ? ` of ${bytes(total)}` : "";
  return `${phase[0].toUpperCase()}${phase.slice(1)}: ${bytes(done)}${of}${left != null ? `, ${seconds(left)} left` : ""}`;
}

const POLL_MS = 1000;
const ENDED = ["finished", "stopped", "failed"];
const BITS = [2, 3, 4, 5, 6, 8];

/** "quantising: 3 of 10 layers, 4 s left". */
function jobProgress({ phase, done, total, unit, seconds_left: left }) {
  const amount = (count) => (unit === "bytes" ? bytes(count) : number(count));
  const far = total
    ? `: ${amount(done)} of ${amount(total)}${unit === "bytes" ? "" : ` ${unit}`}`
    : "";
  return `${phase}${far}${left != null ? `, ${seconds(left)} left` : ""}`;
}

/** The form that converts a model to fewer bits, and the progress of that. */
function conversionForm(id, { button, ask, notify }) {
  const short = id
    .split("/")
    .pop()
    .replace(/[^\w.-]/g, "-");
  const name = h("input", {
    type: "text",
    value: `${short}-4bit`,
    "aria-label": `Name of the model that ${id} is converted to`,
  });
  const bits = h(
    "select",
    { "aria-label": `Bits of a weight of the conversion of ${id}` },
    ...BITS.map((count) => h("option", { value: String(count) }, `${count} bits`)),
  );
  bits.value = "4";
  bits.addEventListener("change", () => {
    name.value = name.value.replace(/\dbit$/, `${bits.value}bit`);
  });
  const bar = meter(`Progress of the conversion of ${id}`, { warn: false });
  bar.el.classList.add("mlx-progress");
  bar.el.hidden = true;
  const far = h("p", { hidden: true });
  let running = null;
  const run = async () => {
    notify(`Converting ${id} …`);
    let job = await ask("convert", { model: id, name: name.value, bits: Number(bits.value) });
    running = job.id;
    stop.hidden = bar.el.hidden = far.hidden = false;
    try {
      while (!ENDED.includes(job.state)) {
        const text = jobProgress(job);
        setText(far, text);
        bar.set(job.total ? job.done / job.total : 0, text);
        await new Promise((done) => setTimeout(done, POLL_MS));
        job = await ask("job", { id: job.id });
      }
    } finally {
      running = null;
      stop.hidden = bar.el.hidden = far.hidden = true;
    }
    if (job.state !== "finished") throw new Error(job.message);
    const { model, bits_per_weight: size, perplexity, perplexity_before: before } = job.result;
    notify(
      `${model} is a model now: ${size.toFixed(1)} bits a weight, perplexity ${number(perplexity)}, before ${number(before)}.`,
    );
  };
  const start = button("Start", run, { name: `Start the conversion of ${id}`, kind: "mlx-main" });
  const stop = button("Stop", () => ask("stop_job", { id: running }), {
    name: `Stop the conversion of ${id}`,
  });
  stop.hidden = true;
  const el = h("div", {}, h("div", { class: "mlx-row" }, name, bits, start, stop), far, bar.el);
  el.hidden = true;
  const toggle = button(
    "Convert",
    async () => {
      el.hidden = !el.hidden && !running;
      toggle.setAttribute("aria-expanded", String(!el.hidden));
      if (!el.hidden) name.focus();
    },
    { name: `Convert ${id}` },
  );
  toggle.setAttribute("aria-expanded", "false");
  return { el, toggle };
}

function buildModels({ root, button, ask, notify }) {
  const memory = meter("Memory for models");
  const search = h("input", {
    type: "search",
    placeholder: "Name or capability",
    "aria-label": "Search models",
  });
  const found = h("span", { role: "status", "aria-live": "polite" });
  const groups = GROUPS.map(([title, states, empty]) => {
    const list = h("ul", { class: "mlx-items" });
    const none = h("p", { class: "mlx-empty" }, empty);
    const isFolded = states.includes("downloadable");
    const el = isFolded ? disclosure(title, list) : h("div", {}, h("h3", {}, title), none, list);
    return { title, states, empty, list, none, isFolded, el };
  });
  const lists = h("div", {}, ...groups.map((group) => group.el));
  lists.addEventListener("pointerleave", () => draw());
  const other = button("Download", () => act("download", search.value.trim(), "is downloaded")());
  root.append(memory.el, h("div", { class: "mlx-row" }, search, found, other), lists);
  // Models whose action ends in an error because the user has cancelled it.
  const cancelled = new Set();
  const act =
    (name, model, done, extra = {}) =>
    async () => {
      notify(`${DOING[name]} ${model} …`);
      if (name === "cancel") cancelled.add(model);
      else cancelled.delete(model);
      try {
        await ask(name, { model, ...extra });
        notify(`${model} ${done}.`);
      } catch (error) {
        if (!cancelled.has(model)) throw error;
      }
    };
  const make = (model) => {
    const id = model.id;
    const parts = {
      tags: h("span", { class: "mlx-row" }),
      facts: h("div"),
      why: h("p", { class: "mlx-invalid" }),
    };
    parts.bar = meter(`Progress of ${id}`, { warn: false });
    parts.bar.el.classList.add("mlx-progress");
    parts.buttons = {
      load: button("Load", act("load", id, "is loaded"), { name: `Load ${id}`, kind: "mlx-main" }),
      swap: button(
        "Load and unload others",
        act("swap", id, "is loaded; the others are unloaded"),
        { name: `Load ${id} and unload others` },
      ),
      pin: button("Pin", act("pin", id, "is pinned: it stays in memory", { pinned: true }), {
        name: `Pin ${id}`,
      }),
      unpin: button("Unpin", act("pin", id, "is no longer pinned", { pinned: false }), {
        name: `Unpin ${id}`,
      }),
      unload: button("Unload", act("unload", id, "is unloaded"), { name: `Unload ${id}` }),
      download: button("Download", act("download", id, "is downloaded"), {
        name: `Download ${id}`,
      }),
      cancel: button("Cancel", act("cancel", id, "was cancelled"), { name: `Cancel ${id}` }),
    };
    const conversion = conversionForm(id, { button, ask, notify });
    parts.buttons.convert = conversion.toggle;
    parts.el = h(
      "li",
      { "data-model": id },
      h(
        "div",
        { class: "mlx-row" },
        h(
          "div",
          { class: "mlx-grow" },
          h("span", { class: "mlx-name" }, id),
          " ",
          parts.tags,
          parts.facts,
        ),
        ...Object.values(parts.buttons),
      ),
      parts.bar.el,
      conversion.el,
      parts.why,
    );
    return parts;
  };
  const update = (row, model, othersResident) => {
    const { state } = model;
    const tags = [
      model.default && "server default",
      model.pinned && "pinned",
      model.source === "embedded" && "demonstration",
      ...(model.capabilities ?? []),
    ].filter(Boolean);
    reconcile(
      row.tags,
      tags,
      (tag) => tag,
      (tag) => ({ el: h("span", { class: "mlx-tag" }, tag) }),
      () => {},
    );
    const facts = [
      model.context_length && `${number(model.context_length)} tokens of context`,
      state === "resident"
        ? `${bytes(model.memory_bytes)} in memory`
        : model.memory_bytes &&
          `needs ${model.approximate ? "about " : ""}${bytes(model.memory_bytes)} of memory`,
      state === "downloadable" &&
        model.download_bytes &&
        `${bytes(model.download_bytes)} to download`,
      model.active ? `${plural(model.active, "request")} running` : "",
      model.fits === true && state !== "resident" && "fits in memory",
      model.description,
    ].filter(Boolean);
    const { progress } = model;
    const progressText = progress && progressOf(progress);
    setText(row.facts, progressText ?? facts.join(" · "));
    row.bar.el.hidden = !progress;
    if (progress) row.bar.set(progress.total ? progress.done / progress.total : 0, progressText);
    const why = model.error ?? (model.fits === false ? `Does not fit: ${model.why_not}` : "");
    setText(row.why, why);
    row.why.hidden = !why;
    const shown = {
      load: state === "available",
      swap: state === "available" && othersResident,
      pin: state === "resident" && !model.pinned,
      unpin: state === "resident" && model.pinned,
      unload: state === "resident",
      download: state === "downloadable" || state === "incomplete",
      cancel: state === "downloading" || state === "loading",
      convert: (state === "available" || state === "resident") && isText(model),
    };
    for (const [name, node] of Object.entries(row.buttons)) node.hidden = !shown[name];
  };
  let last = {};
  let hasResident = false;
  // The state under which each model is listed. No row moves while the pointer is over the lists.
  let listedAs = new Map();
  const place = (all) => {
    const before = lists.matches(":hover") ? listedAs : new Map();
    listedAs = new Map(all.map(({ id, state }) => [id, before.get(id) ?? state]));
    if (!before.size) hasResident = all.some((model) => model.state === "resident");
  };
  /** A loaded model moves to another list. The focus moves with it, for keyboard users. */
  const holdFocus = () => {
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    const id = focused?.closest("li")?.dataset.model;
    return () => {
      if (!id || focused.checkVisibility()) return;
      const row = [...root.querySelectorAll("li")].find((other) => other.dataset.model === id);
      (row?.querySelector("button:not([hidden])") ?? search).focus({ preventScroll: true });
    };
  };
  const draw = (state = last, isSearch = false) => {
    last = state;
    const giveFocus = holdFocus();
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = Object.values(state.models ?? {});
    const text = (model) =>
      [model.id, groupTitle(model), ...(model.aliases ?? []), ...(model.capabilities ?? [])]
        .join(" ")
        .toLowerCase();
    const fitting = all.filter((model) => words.every((word) => text(model).includes(word)));
    place(all);
    setText(
      found,
      words.length
        ? `${fitting.length} of ${plural(all.length, "model")}`
        : plural(all.length, "model"),
    );
    const name = search.value.trim();
    other.hidden =
      !REPOSITORY.test(name) ||
      all.some((model) => [model.id, ...(model.aliases ?? [])].includes(name));
    setText(other, `Download ${name}`);
    for (const group of groups) {
      const models = fitting.filter((model) => group.states.includes(listedAs.get(model.id)));
      group.el.hidden = !models.length && (!group.empty || words.length > 0);
      group.none.hidden = models.length > 0;
      if (group.isFolded) {
        setText(group.el.firstChild, `${group.title} (${models.length})`);
        if (isSearch) group.el.open = words.length > 0;
      }
      reconcile(
        group.list,
        models,
        (model) => model.id,
        make,
        (row, model) => update(row, model, hasResident),
      );
    }
    const { budget } = state;
    if (budget)
      memory.set(
        budget.limit ? budget.used / budget.limit : 0,
        `Memory for models: ${bytes(budget.used)}${budget.limit ? ` of ${bytes(budget.limit)}` : " in use"}`,
      );
    else memory.set(0, "Memory for models: unknown");
    giveFocus();
  };
  search.addEventListener("input", () => draw(last, true));
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    search.value = "";
    draw(last, true);
  });
  return draw;
}

export default {
  initialize: ({ model }) => syncState(model),
  render: (context) => panel(context, "Models", buildModels),
};
