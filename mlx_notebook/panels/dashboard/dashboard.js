// --- dashboard ----------------------------------------------------------------------------------

// Of the notebook's dashboard. One that has fewer panels names them.
const TABS = ["Models", "Activity", "Inspector", "Chat"];

function buildDashboard({ root, model, held }) {
  const titles = model.get("titles") ?? TABS;
  const line = h("p");
  const bar = h("div", { class: "mlx-tabs", role: "tablist", "aria-label": "Panels" });
  const id = newId();
  const places = titles.map((_, at) =>
    h("div", {
      role: "tabpanel",
      id: `${id}-place-${at}`,
      "aria-labelledby": `${id}-tab-${at}`,
      tabindex: 0,
    }),
  );
  const tabs = titles.map((title, at) =>
    h(
      "button",
      {
        type: "button",
        class: "mlx-button",
        role: "tab",
        id: `${id}-tab-${at}`,
        "aria-controls": `${id}-place-${at}`,
        onclick: () => choose(at),
      },
      title,
    ),
  );
  const choose = (chosen, isFocused = false) => {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === chosen));
      tab.tabIndex = at === chosen ? 0 : -1;
      places[at].hidden = at !== chosen;
    });
    if (isFocused) tabs[chosen].focus();
  };
  bar.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(event.target);
    const to = {
      ArrowRight: at + 1,
      ArrowLeft: at - 1 + tabs.length,
      Home: 0,
      End: tabs.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to % tabs.length, true);
  });
  bar.append(...tabs);
  root.append(line, bar, ...places);
  choose(0);
  (model.get("panels") ?? []).forEach(async (reference, at) => {
    const child = await model.widget_manager.get_model(String(reference).replace("IPY_MODEL_", ""));
    const view = await model.widget_manager.create_view(child);
    // The dashboard may have been removed meanwhile.
    if (held.isGone) return view.remove();
    held.views.push(view);
    places[at].append(view.el);
  });
  return ({ server, engine, requests, resident, round_trip: away }) => {
    const inMemory = resident?.length ? `${resident.join(", ")} in memory` : "no model in memory";
    const state = engine?.state === "stopped" ? "not started" : engine?.state;
    const where = away ? `${server} (${seconds(away)} away)` : server;
    setText(
      line,
      server
        ? `${where} · engine ${state ?? "unknown"} · ${inMemory} · ${plural(requests ?? 0, "request")}`
        : "Looking for a server …",
    );
  };
}

export default {
  initialize: ({ model }) => syncState(model),
  render(context) {
    const held = { views: [], isGone: false };
    const leave = panel(context, "mlx-notebook", (tools) => buildDashboard({ ...tools, held }));
    return () => {
      leave();
      held.isGone = true;
      for (const view of held.views) view.remove();
    };
  },
};
