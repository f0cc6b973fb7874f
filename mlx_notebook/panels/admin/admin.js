// --- users --------------------------------------------------------------------------------------

const inFlight = (row) => row.running + row.waiting;
const tokens = (row) => row.prompt_tokens + row.generated_tokens;
const speed = (row) => (row.running ? number(row.tokens_per_second) : "–");

/** Title, value to sort by, text. */
const COLUMNS = [
  ["User", (row) => row.user.toLowerCase(), (row) => row.user],
  ["In flight", inFlight, (row) => `${number(row.running)} + ${number(row.waiting)}`],
  ["Requests", (row) => row.requests, (row) => number(row.requests)],
  ["Tokens", tokens, (row) => number(tokens(row))],
  ["Tokens/s", (row) => row.tokens_per_second, speed],
  ["First token", (row) => row.first_token ?? 0, (row) => seconds(row.first_token)],
  ["Refused", (row) => row.refused, (row) => number(row.refused)],
];
const HINTS = {
  "In flight": "running + waiting",
  Tokens: "of prompts and answers, today",
  "Tokens/s": "of the running requests",
  "First token": "median of the last requests",
  Refused: "by a limit, or a missing right",
};

function buildUsers({ root }) {
  const tiles = {};
  const tile = (label) => {
    tiles[label] = h("b", {}, "–");
    return h("div", { class: "mlx-tile" }, h("span", {}, label), tiles[label]);
  };
  const search = h("input", {
    type: "search",
    placeholder: "Name",
    "aria-label": "Search users",
  });
  const found = h("span", { role: "status", "aria-live": "polite" });
  let last = {};
  let sorted = { at: 3, isUp: false };
  const heads = COLUMNS.map(([title], at) => {
    const arrow = h("span", { class: "mlx-arrow", "aria-hidden": "true" });
    const node = h(
      "button",
      { type: "button", class: "mlx-button", title: HINTS[title], onclick: () => sort(at) },
      title,
      arrow,
    );
    return { arrow, el: h("th", { scope: "col", role: "columnheader" }, node) };
  });
  const body = h("tbody", { role: "rowgroup" });
  const table = h(
    "table",
    { class: "mlx-users", role: "table", "aria-label": "Usage of each user today" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads.map((head) => head.el))),
    body,
  );
  const none = h("p", { class: "mlx-empty" }, "Nobody has sent a request today.");
  const about = h("p");
  root.append(
    h(
      "div",
      { class: "mlx-tiles" },
      ...["Users", "Running / waiting", "Requests today", "Tokens today", "Tokens/s"].map(tile),
      tile("First token, p50 / p95"),
    ),
    h("div", { class: "mlx-row mlx-find" }, search, found),
    none,
    table,
    about,
  );
  const sort = (at) => {
    // Numbers begin with the largest one, names with A.
    sorted = { at, isUp: sorted.at === at ? !sorted.isUp : at === 0 };
    draw();
  };
  const held = holdStill(
    body,
    (row) => row.key,
    () => draw(),
  );
  const compare = (one, other) => {
    const value = COLUMNS[sorted.at][1];
    const [a, b] = [value(one), value(other)];
    const order = a < b ? -1 : a > b ? 1 : 0;
    return (sorted.isUp ? order : -order) || one.user.localeCompare(other.user);
  };
  const draw = (state = last) => {
    last = state;
    const { totals, since, all_users: isAdmin, admin_reads_texts: readsTexts } = state;
    const users = Object.values(state.users ?? {});
    const name = search.value.trim().toLowerCase();
    const fitting = users.filter((row) => row.user.toLowerCase().includes(name)).sort(compare);
    const rows = held(fitting);
    setText(tiles.Users, totals && isAdmin ? number(users.length) : "–");
    setText(
      tiles["Running / waiting"],
      totals ? `${number(totals.running)} / ${number(totals.waiting)}` : "–",
    );
    setText(tiles["Requests today"], totals ? number(totals.requests) : "–");
    setText(tiles["Tokens today"], totals ? number(tokens(totals)) : "–");
    setText(tiles["Tokens/s"], totals ? number(totals.tokens_per_second) : "–");
    setText(
      tiles["First token, p50 / p95"],
      totals ? `${seconds(totals.first_token)} / ${seconds(totals.first_token_p95)}` : "–",
    );
    setText(
      found,
      name ? `${fitting.length} of ${plural(users.length, "user")}` : plural(users.length, "user"),
    );
    heads.forEach(({ el, arrow }, at) => {
      const isChosen = at === sorted.at;
      if (isChosen) el.setAttribute("aria-sort", sorted.isUp ? "ascending" : "descending");
      else el.removeAttribute("aria-sort");
      setText(arrow, isChosen ? (sorted.isUp ? " ▲" : " ▼") : "");
    });
    none.hidden = rows.length > 0 || !totals || Boolean(name);
    table.hidden = !rows.length;
    reconcile(
      body,
      rows,
      (row) => row.key,
      () => {
        const cells = COLUMNS.map(([title], at) =>
          at === 0
            ? h("th", { scope: "row", role: "rowheader", class: "mlx-name" })
            : h("td", { role: "cell", "data-label": title }),
        );
        return { el: h("tr", { role: "row" }, ...cells), cells };
      },
      ({ cells }, row) => {
        COLUMNS.forEach(([, , text], at) => {
          setText(cells[at], text(row));
        });
      },
    );
    const clock = since && new Date(since * 1000).toLocaleTimeString([], { timeStyle: "short" });
    const who = isAdmin ? "" : "You see yourself and the totals; an admin sees each user. ";
    const texts = readsTexts
      ? "Admins of this server may read what users write."
      : "Nobody sees what others write, and neither does an admin.";
    setText(about, totals ? `Counted since ${clock}. ${who}${texts}` : "");
  };
  search.addEventListener("input", () => draw());
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    search.value = "";
    draw();
  });
  return draw;
}

export default {
  initialize: ({ model }) => syncState(model),
  render: (context) => panel(context, "Users", buildUsers),
};
