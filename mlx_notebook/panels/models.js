
// --- models -------------------------------------------------------------------------------------

const GROUPS = [
  ["In memory", ["resident"], "No model is in memory: one is loaded with the first request."],
  ["On the way", ["loading", "downloading"], ""],
  ["On this machine", ["available"], "No other model is on this machine."],
  ["Not usable", ["incomplete", "broken"], ""],
  ["To be downloaded", ["downloadable"], ""],
];
const DOING = { load: "Loading", swap: "Loading", pin: "Marking", unload: "Unloading", download: "Downloading", cancel: "Breaking off" };
// A repository's name on the hub of models.
const REPOSITORY = /^[\w.-]+\/[\w.-]+$/;

function buildModels({ root, button, ask, tell }) {
  const memory = meter("Memory for models");
  const search = h("input", { type: "search", placeholder: "Name or capability", "aria-label": "Search models" });
  const found = h("span", { role: "status", "aria-live": "polite" });
  const groups = GROUPS.map(([title, states, empty]) => {
    const list = h("ul", { class: "mlx-items" });
    const none = h("p", { class: "mlx-empty" }, empty);
    const folds = states.includes("downloadable");
    const el = folds ? fold(title, list) : h("div", {}, h("h3", {}, title), none, list);
    return { title, states, empty, list, none, folds, el };
  });
  const other = button("Download", () => act("download", search.value.trim(), "is downloaded")());
  root.append(
    memory.el,
    h("div", { class: "mlx-row" }, search, found, other),
    ...groups.map((group) => group.el),
  );
  // Orders that end in an error because the person has broken them off.
  const brokenOff = new Set();
  const act = (name, model, done, extra = {}) => async () => {
    tell(`${DOING[name]} ${model} …`);
    if (name === "cancel") brokenOff.add(model);
    else brokenOff.delete(model);
    try {
      await ask(name, { model, ...extra });
      tell(`${model} ${done}.`);
    } catch (error) {
      if (!brokenOff.has(model)) throw error;
    }
  };
  const make = (model) => {
    const id = model.id;
    const parts = { tags: h("span", { class: "mlx-row" }), facts: h("div"), why: h("p", { class: "mlx-fault" }) };
    parts.bar = meter(`Progress of ${id}`, { warn: false });
    parts.buttons = {
      load: button("Load", act("load", id, "is loaded"), { name: `Load ${id}`, kind: "mlx-main" }),
      swap: button("Swap in", act("swap", id, "is loaded in place of the others"), { name: `Load ${id} in place of the models in memory` }),
      pin: button("Pin", act("pin", id, "stays in memory", { pinned: true }), { name: `Pin ${id}` }),
      unpin: button("Unpin", act("pin", id, "may be unloaded", { pinned: false }), { name: `Unpin ${id}` }),
      unload: button("Unload", act("unload", id, "is unloaded"), { name: `Unload ${id}` }),
      download: button("Download", act("download", id, "is downloaded"), { name: `Download ${id}` }),
      cancel: button("Cancel", act("cancel", id, "is broken off"), { name: `Cancel ${id}` }),
    };
    parts.el = h("li", { "data-model": id },
      h("div", { class: "mlx-row" },
        h("div", { class: "mlx-grow" }, h("span", { class: "mlx-name" }, id), " ", parts.tags, parts.facts),
        ...Object.values(parts.buttons)),
      parts.bar.el, parts.why);
    return parts;
  };
  const update = (row, model, othersResident) => {
    const { state } = model;
    const tags = [model.default && "default", model.pinned && "pinned", model.source === "embedded" && "demonstration", ...(model.capabilities ?? [])].filter(Boolean);
    keep(row.tags, tags, (tag) => tag, (tag) => ({ el: h("span", { class: "mlx-tag" }, tag) }), () => {});
    const facts = [
      model.context_length && `context ${number(model.context_length)} tokens`,
      state === "resident" ? `${bytes(model.memory_bytes)} in memory`
        : model.memory_bytes && `needs ${model.approximate ? "about " : ""}${bytes(model.memory_bytes)} of memory`,
      state === "downloadable" && model.download_bytes && `${bytes(model.download_bytes)} to download`,
      model.active ? `${model.active} in use` : "",
      model.fits === true && state !== "resident" && "fits",
      model.description,
    ].filter(Boolean);
    say(row.facts, facts.join(" · "));
    const why = model.error ?? (model.fits === false ? `Does not fit: ${model.why_not}` : "");
    say(row.why, why);
    row.why.hidden = !why;
    const { progress } = model;
    row.bar.el.hidden = !progress;
    if (progress) {
      const of = progress.total ? ` of ${bytes(progress.total)}` : "";
      const left = progress.seconds_left != null ? `, ${seconds(progress.seconds_left)} left` : "";
      row.bar.set(progress.total ? progress.done / progress.total : 0, `${progress.phase}: ${bytes(progress.done)}${of}${left}`);
    }
    const shown = {
      load: state === "available", swap: state === "available" && othersResident,
      pin: state === "resident" && !model.pinned, unpin: state === "resident" && model.pinned,
      unload: state === "resident", download: state === "downloadable" || state === "incomplete",
      cancel: state === "downloading" || state === "loading",
    };
    for (const [name, node] of Object.entries(row.buttons)) node.hidden = !shown[name];
  };
  let last = {};
  /** A model that was loaded goes to another list: the focus goes with it, for who has no mouse. */
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
    const text = (model) => [model.id, model.state, ...(model.aliases ?? []), ...(model.capabilities ?? [])].join(" ").toLowerCase();
    const fitting = all.filter((model) => words.every((word) => text(model).includes(word)));
    const hasResident = all.some((model) => model.state === "resident");
    say(found, words.length ? `${fitting.length} of ${all.length} models` : `${all.length} models`);
    const name = search.value.trim();
    other.hidden = !REPOSITORY.test(name) || all.some((model) => [model.id, ...(model.aliases ?? [])].includes(name));
    say(other, `Download ${name}`);
    for (const group of groups) {
      const models = fitting.filter((model) => group.states.includes(model.state));
      group.el.hidden = !models.length && (!group.empty || words.length > 0);
      group.none.hidden = models.length > 0;
      if (group.folds) {
        say(group.el.firstChild, `${group.title} (${models.length})`);
        if (isSearch) group.el.open = words.length > 0;
      }
      keep(group.list, models, (model) => model.id, make, (row, model) => update(row, model, hasResident));
    }
    const { budget } = state;
    if (budget)
      memory.set(budget.limit ? budget.used / budget.limit : 0,
        `Memory for models: ${bytes(budget.used)}${budget.limit ? ` of ${bytes(budget.limit)}` : " in use"}`);
    else memory.set(0, "Memory for models: not known yet");
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
  initialize: ({ model }) => follow(model),
  render: (context) => panel(context, "Models", buildModels),
};
