// --- inspector ----------------------------------------------------------------------------------

const pretty = (value) =>
  typeof value === "string" ? parsedOr(value) : JSON.stringify(value, null, 2);

function parsedOr(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const pre = (text) => h("pre", { tabindex: 0 }, text);

function contentOf(message) {
  if (!Array.isArray(message.content)) return message.content ?? "";
  const name = (part) => (part.type === "audio" ? "[sound]" : "[image]");
  return message.content.map((part) => part.text ?? name(part)).join("\n");
}

/** The answer to a request: reasoning, text, and tool calls with their check and result. */
function answerOf(trace) {
  const box = h("div");
  for (const row of trace.rows) {
    if (trace.rows.length > 1) box.append(h("h4", {}, `Answer ${row.index + 1}`));
    if (row.reasoning)
      box.append(disclosure("Reasoning", h("div", { class: "mlx-text" }, row.reasoning)));
    if (row.content) box.append(h("div", { class: "mlx-text" }, row.content));
    for (const call of row.calls) {
      const isValid = !call.faults?.length;
      box.append(
        h(
          "div",
          { class: "mlx-message" },
          h("b", {}, `Tool call: ${call.name}`),
          pre(pretty(call.arguments)),
          h(
            "p",
            { class: isValid ? "mlx-valid" : "mlx-invalid" },
            isValid
              ? "The arguments fit the schema."
              : `The arguments do not fit the schema: ${call.faults.join("; ")}`,
          ),
          h("b", {}, "Result"),
          call.result == null
            ? h("p", {}, "No result was sent to the model.")
            : pre(pretty(call.result)),
        ),
      );
    }
    for (const problem of row.problems)
      box.append(
        h("p", { class: "mlx-invalid" }, `Not a valid tool call: ${problem.reason}`),
        pre(problem.raw),
      );
    if (row.finish_reason) box.append(h("p", {}, `Finish reason: ${row.finish_reason}`));
  }
  if (trace.error) box.append(h("p", { class: "mlx-invalid" }, trace.error.message));
  return box;
}

function table(pairs) {
  const rows = pairs.filter(([, value]) => value != null);
  return h(
    "table",
    {},
    h(
      "tbody",
      {},
      ...rows.map(([name, value]) =>
        h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, String(value))),
      ),
    ),
  );
}

function timesOf({ timings, usage, upstream, seconds: all }) {
  // An upstream does not tell them.
  const local = upstream ? null : timings;
  return table([
    ["Queue", local && seconds(local.queued)],
    ["Model loading", local && seconds(local.loading)],
    ["Prompt processing", local && seconds(local.prefill)],
    ["Time to first token", timings && seconds(timings.first_token)],
    ["Generation", timings && seconds(timings.decode)],
    ["Total", seconds(all)],
    [
      "Prompt",
      usage && `${plural(usage.prompt_tokens, "token")}, ${number(usage.cached_tokens)} cached`,
    ],
    [
      "Output",
      usage &&
        `${plural(usage.completion_tokens, "token")}, ${number(usage.reasoning_tokens)} for reasoning`,
    ],
  ]);
}

/** Which upstream answered, and how it calls the request. */
function upstreamOf({ upstream }) {
  if (!upstream) return null;
  const { name, host, model, request_id: id } = upstream;
  const known = id ? `, which calls this request ${id}` : "";
  return h("p", {}, `Answered by ${model} of the upstream ${name} at ${host}${known}.`);
}

/** What the server did otherwise than the request says: left out, ignored, seen in part. */
function noticesOf({ notices = [], ignored = [] }) {
  const all = [...notices];
  if (ignored.length) all.push(`Ignored parameters: ${ignored.join(", ")}.`);
  if (!all.length) return null;
  return h(
    "div",
    { class: "mlx-notices" },
    h("h3", {}, "Notices"),
    h("ul", {}, ...all.map((notice) => h("li", {}, notice))),
  );
}

/** Where the prompt differs from the cached one that it continues. */
function prefixOf({ prefix }) {
  if (!prefix) return null;
  const changed = prefix.message
    ? `Message ${number(prefix.message)} changed at token ${number(prefix.broke_at)}.`
    : `The prompt outside of the messages changed at token ${number(prefix.broke_at)}.`;
  return h(
    "div",
    {},
    h("p", {}, `The cache was used up to token ${number(prefix.cached)}. ${changed}`),
    table([
      ["Before", JSON.stringify(prefix.was)],
      ["Now", JSON.stringify(prefix.now)],
    ]),
  );
}

function turnsOf(trace) {
  return trace.messages.map((message) =>
    h(
      "div",
      { class: "mlx-message" },
      h("b", {}, message.role),
      h("div", { class: "mlx-text" }, contentOf(message)),
      ...(message.tool_calls ?? []).map((call) =>
        pre(`${call.function.name} ${pretty(call.function.arguments)}`),
      ),
    ),
  );
}

function save(name, value) {
  const url = URL.createObjectURL(
    new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }),
  );
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function buildInspector({ root, button, ask, notify }) {
  const search = h("input", {
    type: "search",
    placeholder: "Search all text",
    "aria-label": "Search requests",
  });
  const found = h("span", { role: "status", "aria-live": "polite" });
  const list = h("ul", { class: "mlx-list", "aria-label": "Requests, newest first" });
  const empty = h(
    "p",
    { class: "mlx-empty" },
    "No requests yet. Run a %%chat cell, or call the server from any client.",
  );
  const detail = h(
    "div",
    { tabindex: -1 },
    h("p", { class: "mlx-empty" }, "Select a request to see its messages, output and timing."),
  );
  const exportAll = button("Export all", async () =>
    save("requests.json", await ask("export", { ids: shown().map((trace) => trace.id) })),
  );
  root.append(
    h("div", { class: "mlx-row" }, search, found, exportAll),
    empty,
    h("div", { class: "mlx-split" }, h("div", {}, list), detail),
  );
  let last = {};
  let matching = null;
  let chosen = null;
  let wanted = 0;
  const shown = () =>
    Object.values(last.traces ?? {})
      .filter((trace) => !matching || matching.has(trace.id))
      .sort((a, b) => b.created - a.created);

  const held = holdStill(
    list,
    (trace) => trace.id,
    () => draw(),
  );

  const copy = (name, id) => async () => {
    const text = await ask(name, { id });
    try {
      await navigator.clipboard.writeText(text);
      notify(`Copied ${plural(text.length, "character")}. Your token is not included.`);
    } catch {
      detail.prepend(
        h("p", {}, "The browser does not allow copying. Copy the text below."),
        pre(text),
      );
    }
  };

  const replayForm = (trace, place) => {
    const field = (label, input) => h("label", {}, label, input);
    const models = h(
      "select",
      {},
      ...[...new Set([trace.model, ...(last.models ?? [])])].map((name) => h("option", {}, name)),
    );
    const input = (name, step) =>
      h("input", { type: "number", step, min: 0, value: trace.options[name] });
    const inputs = {
      temperature: input("temperature", 0.1),
      top_p: input("top_p", 0.05),
      max_tokens: input("max_tokens", 1),
      seed: input("seed", 1),
    };
    let stop = null;
    const run = button(
      "Run",
      async () => {
        stop = new AbortController();
        stopButton.hidden = false;
        place.replaceChildren(h("p", { role: "status" }, "Running …"));
        const changes = { model: models.value };
        for (const [name, node] of Object.entries(inputs))
          changes[name] = node.value === "" ? null : Number(node.value);
        try {
          const again = await ask("replay", { id: trace.id, changes }, { signal: stop.signal });
          place.replaceChildren(
            h(
              "div",
              { class: "mlx-two" },
              h("div", {}, h("h4", {}, "Original"), answerOf(trace), timesOf(trace)),
              h(
                "div",
                {},
                h("h4", {}, `Replay on ${again.model}`),
                answerOf(again),
                timesOf(again),
              ),
            ),
          );
        } catch (error) {
          place.replaceChildren();
          throw error;
        } finally {
          const isFocused = document.activeElement === stopButton;
          stopButton.hidden = true;
          if (isFocused) run.focus();
        }
      },
      { kind: "mlx-main" },
    );
    const stopButton = h(
      "button",
      { type: "button", class: "mlx-button", hidden: true, onclick: () => stop?.abort() },
      "Stop",
    );
    return h(
      "div",
      {},
      h(
        "div",
        { class: "mlx-form" },
        field("Model", models),
        field("Temperature", inputs.temperature),
        field("Top p", inputs.top_p),
        field("Max tokens", inputs.max_tokens),
        field("Seed", inputs.seed),
      ),
      h("div", { class: "mlx-row" }, run, stopButton),
    );
  };

  const show = (trace) => {
    const place = h("div");
    const form = replayForm(trace, place);
    form.hidden = true;
    const replay = h(
      "button",
      { type: "button", class: "mlx-button", "aria-expanded": "false" },
      "Replay …",
    );
    replay.addEventListener("click", () => {
      form.hidden = !form.hidden;
      replay.setAttribute("aria-expanded", String(!form.hidden));
    });
    const raw = trace.rows.map((row) => row.raw ?? "").join("\n\n");
    const prompt = typeof trace.prompt === "string" ? trace.prompt : JSON.stringify(trace.prompt);
    detail.replaceChildren(
      ...[
        h("div", { class: "mlx-name" }, `${trace.model} · ${trace.status}`),
        h(
          "p",
          {},
          `${trace.endpoint} · ${new Date(trace.created * 1000).toLocaleString()} · ${trace.id}`,
        ),
        h(
          "div",
          { class: "mlx-row" },
          button("Copy as curl", copy("curl", trace.id)),
          button("Copy as Python", copy("python", trace.id)),
          replay,
          button("Export JSON", async () => save(`${trace.id}.json`, trace)),
        ),
        upstreamOf(trace),
        noticesOf(trace),
        form,
        place,
        h("h3", {}, "Messages"),
        ...turnsOf(trace),
        h("h3", {}, "Answer"),
        h(
          "div",
          { class: "mlx-two" },
          h("div", {}, h("h4", {}, "Parsed"), answerOf(trace)),
          h(
            "div",
            {},
            h("h4", {}, "Raw output"),
            raw
              ? pre(raw)
              : h(
                  "p",
                  {},
                  trace.upstream
                    ? "Only the upstream knows it."
                    : "Available when the request has finished.",
                ),
          ),
        ),
        h("h3", {}, "Timing"),
        timesOf(trace),
        prefixOf(trace),
        prompt && prompt !== "null" ? disclosure("Rendered prompt", pre(prompt)) : null,
        trace.tools.length
          ? disclosure(
              `Tools offered (${trace.tools.length})`,
              ...trace.tools.map((tool) => pre(pretty(tool.function))),
            )
          : h("p", {}, "No tools were offered."),
        disclosure("Parameters", pre(pretty({ ...trace.options, ...trace.upstream?.parameters }))),
      ].filter(Boolean),
    );
  };

  const choose = async (id) => {
    wanted += 1;
    const turn = wanted;
    chosen = id;
    draw();
    try {
      const trace = await ask("trace", { id });
      if (turn === wanted) show(trace);
    } catch (error) {
      notify(error.message, true);
    }
  };

  const draw = (state = last) => {
    const before = last.traces?.[chosen]?.status;
    last = state;
    const traces = shown();
    setText(found, plural(traces.length, "request"));
    empty.hidden = traces.length > 0;
    list.hidden = !traces.length;
    reconcile(
      list,
      held(traces),
      (trace) => trace.id,
      (trace) => {
        const title = h("span", { class: "mlx-name" });
        const facts = h("span");
        const node = h("button", { type: "button", onclick: () => choose(trace.id) }, title, facts);
        return { el: h("li", {}, node), node, title, facts };
      },
      (row, trace) => {
        setText(row.title, trace.title || trace.endpoint);
        const calls = (trace.calls ?? []).length ? `calls ${trace.calls.join(", ")}` : "";
        const problems = trace.problems ? plural(trace.problems, "invalid call") : "";
        setText(
          row.facts,
          [trace.status, calls, problems, trace.model, trace.seconds ? seconds(trace.seconds) : ""]
            .filter(Boolean)
            .join(" · "),
        );
        row.node.setAttribute("aria-current", String(trace.id === chosen));
      },
    );
    if (before === "running" && state.traces?.[chosen]?.status !== "running") choose(chosen);
  };

  let timer = 0;
  const look = () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const text = search.value.trim();
      try {
        matching = text ? new Set(await ask("search", { text })) : null;
        draw();
      } catch (error) {
        notify(error.message, true);
      }
    }, 250);
  };
  search.addEventListener("input", look);
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    search.value = "";
    look();
  });
  return draw;
}

export default {
  initialize: ({ model }) => syncState(model),
  render: (context) => panel(context, "Inspector", buildInspector),
};
