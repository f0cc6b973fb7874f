// --- activity -----------------------------------------------------------------------------------

const SPAN = 120;

/** A line over the last two minutes, with its summary in words. */
function lineChart(title, column, format) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 120 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.append(path);
  const text = h("span");
  return {
    el: h("figure", { class: "mlx-chart" }, svg, h("figcaption", {}, h("b", {}, title), text)),
    draw(history) {
      const times = Object.keys(history)
        .map(Number)
        .sort((a, b) => a - b);
      const values = times.map((time) => history[time][column]);
      const end = times.at(-1) ?? 0;
      const top = Math.max(...values, 1e-9);
      const points = times.map((time, at) => {
        const y = 38 - (36 * values[at]) / top;
        return `${(SPAN - (end - time)).toFixed(1)} ${y.toFixed(1)}`;
      });
      path.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
      const summary = values.length
        ? `now ${format(values.at(-1), true)}, peak ${format(Math.max(...values), false)}`
        : "no data yet";
      svg.setAttribute("aria-label", `${title} over the last two minutes: ${summary}`);
      setText(text, summary);
    },
  };
}

const PHASES = {
  queued: "queued",
  loading: "loading the model",
  prefill: "processing the prompt",
  decode: "generating",
};

const rate = (value, isShort) => number(value) + (isShort ? "" : " tokens/s");

function buildStats({ root, button, ask, notify }) {
  const tiles = {};
  const tile = (key, label) => {
    tiles[key] = h("b", {}, "–");
    return h("div", { class: "mlx-tile" }, h("span", {}, label), tiles[key]);
  };
  const context = meter("Context used");
  const charts = [
    lineChart("Generation", 0, rate),
    lineChart("Prompt processing", 1, rate),
    lineChart("Requests", 2, (value) => number(value)),
    lineChart("Device memory", 3, bytes),
  ];
  const requests = h("ul", { class: "mlx-items" });
  const none = h("p", { class: "mlx-empty" }, "No request is running.");
  const jobs = h("ul", { class: "mlx-items", "aria-label": "Jobs" });
  const jobsTitle = h("h3", {}, "Jobs");
  const memory = h("p");
  const ranks = h("ul", { class: "mlx-items" });
  const totals = h("p");
  root.append(
    h(
      "div",
      { class: "mlx-tiles" },
      tile("decode", "Generation"),
      tile("prefill", "Prompt processing"),
      tile("first", "Time to first token"),
      tile("active", "Running / queued"),
      tile("cache", "Prefix cache hits"),
      tile("engine", "Engine"),
      tile("network", "Network round trip"),
    ),
    h("h3", {}, "Largest context in use"),
    context.el,
    h("h3", {}, "Last two minutes"),
    h("div", { class: "mlx-charts" }, ...charts.map((one) => one.el)),
    h("h3", {}, "Running requests"),
    none,
    requests,
    jobsTitle,
    jobs,
    h("h3", {}, "Memory"),
    memory,
    ranks,
    h("h3", {}, "Since the server started"),
    totals,
  );
  let last = {};
  const held = holdStill(
    requests,
    (request) => request.id,
    () => draw(),
  );
  const draw = (state = last) => {
    last = state;
    const { rates, queue, totals: all, memory: used, engine, context: filled } = state;
    const running = Object.values(state.requests ?? {});
    setText(tiles.decode, rates ? `${number(rates.decode)} tokens/s` : "–");
    setText(tiles.prefill, rates ? `${number(rates.prefill)} tokens/s` : "–");
    setText(tiles.first, seconds(state.first_token));
    setText(tiles.active, queue ? `${queue.running} / ${queue.waiting}` : "–");
    setText(tiles.network, seconds(state.round_trip));
    // Only a server that may be elsewhere has a round trip worth showing.
    tiles.network.parentElement.hidden = !state.round_trip;
    setText(
      tiles.cache,
      all?.prompt_tokens ? `${number((100 * all.cached_tokens) / all.prompt_tokens)} %` : "–",
    );
    setText(
      tiles.engine,
      engine ? (engine.state === "stopped" ? "not started" : engine.state) : "–",
    );
    if (filled)
      context.set(
        filled.used / filled.limit,
        `${filled.running ? "" : "last request: "}${number(filled.used)} of ${number(filled.limit)} tokens`,
      );
    else context.set(0, "no request yet");
    for (const one of charts) one.draw(state.history ?? {});
    setText(
      memory,
      used
        ? `Engine process: ${bytes(used.process)}. Device: ${bytes(used.active)} in use, ` +
            `${bytes(used.cache)} cached, ${bytes(used.peak)} peak. Prefix cache: ${bytes(used.prefixes)}.`
        : "",
    );
    setText(
      totals,
      all
        ? `${plural(all.requests, "request")}: ${number(all.finished)} finished, ${number(all.cancelled)} ` +
            `cancelled, ${number(all.failed)} failed. ${plural(all.prompt_tokens, "prompt token")}, ` +
            `${plural(all.generated_tokens, "generated token")}.`
        : "",
    );
    const members = Object.values(state.ranks ?? {});
    ranks.hidden = members.length === 0;
    reconcile(
      ranks,
      members,
      (rank) => rank.rank,
      (rank) => {
        const name = h("span", { class: "mlx-name" }, `Rank ${rank.rank}`);
        const text = h("span", { class: "mlx-grow" });
        return { el: h("li", {}, h("div", { class: "mlx-row" }, name, text)), text };
      },
      (row, rank) =>
        setText(
          row.text,
          `${rank.host}, process ${rank.pid ?? "–"}: ${bytes(rank.active)} in use, ` +
            `${bytes(rank.peak)} peak, waited ${seconds(rank.waited)} for others`,
        ),
    );
    const long = Object.values(state.jobs ?? {});
    jobs.hidden = jobsTitle.hidden = long.length === 0;
    reconcile(
      jobs,
      long,
      (job) => job.id,
      (job) => {
        const name = h(
          "span",
          { class: "mlx-name" },
          job.title || `A job of another user (${job.kind})`,
        );
        const text = h("span", { class: "mlx-grow" });
        const fill = meter(`Progress of ${job.id}`);
        return { el: h("li", {}, h("div", { class: "mlx-row" }, name, text), fill.el), text, fill };
      },
      (row, job) => {
        const left = job.seconds_left ? `, ${seconds(job.seconds_left)} left` : "";
        setText(row.text, `${job.state === "stopping" ? "stopping" : job.phase}${left}`);
        row.fill.set(
          job.total ? job.done / job.total : 0,
          job.total ? `${number(job.done)} of ${number(job.total)} ${job.unit}` : "not known yet",
        );
      },
    );
    const listed = held(running);
    none.hidden = listed.length > 0;
    reconcile(
      requests,
      listed,
      (request) => request.id,
      (request) => {
        const name = h("span", { class: "mlx-name" }, request.model);
        const text = h("span", { class: "mlx-grow" });
        const fill = meter(`Context of ${request.id}`);
        const cancel = button(
          "Cancel",
          async () => {
            await ask("cancel", { id: request.id });
            notify("Request cancelled.");
          },
          { name: `Cancel the request of ${request.model}, ${request.id}` },
        );
        return {
          el: h("li", {}, h("div", { class: "mlx-row" }, name, text, cancel), fill.el),
          text,
          fill,
          cancel,
        };
      },
      (row, request) => {
        const used = request.prompt_tokens + request.generated_tokens;
        row.cancel.disabled = Boolean(request.gone);
        row.cancel.hidden = !request.own;
        const speed = `${plural(request.generated_tokens, "token")}, ${number(request.tokens_per_second)} tokens/s`;
        setText(row.text, request.gone ? "ended" : `${PHASES[request.phase]}, ${speed}`);
        row.fill.set(
          request.limit ? used / request.limit : 0,
          request.limit ? `${number(used)} of ${number(request.limit)} tokens` : "waiting",
        );
      },
    );
  };
  return draw;
}

export default {
  initialize: ({ model }) => syncState(model),
  render: (context) => panel(context, "Activity", buildStats),
};
