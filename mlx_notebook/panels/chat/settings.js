const lowerFirst = (text) => text.charAt(0).toLowerCase() + text.slice(1);

/** The choice of the model: the notebook's, or another one. */
function modelChoice({ ask, notify, changed }) {
  const select = h("select", { "aria-label": "Model" });
  let state = {},
    isChoosing = false,
    shown;
  const draw = () => {
    const chosen = state.model ?? "";
    const names = [...(state.models ?? [])];
    if (chosen && !names.includes(chosen)) names.unshift(chosen);
    const whose = state.own_model ?? "This notebook's model";
    const own = state.notebook_model ? `${state.notebook_model} (${lowerFirst(whose)})` : whose;
    const options = [own, ...names].join("\n");
    if (shown !== options) {
      shown = options;
      const before = select.value;
      select.replaceChildren(
        h("option", { value: "" }, own),
        ...names.map((name) => h("option", { value: name }, name)),
      );
      select.value = before;
    }
    if (!isChoosing) select.value = chosen;
  };
  select.addEventListener("change", async () => {
    isChoosing = true;
    changed();
    try {
      await ask("choose", { model: select.value || null });
    } catch (error) {
      notify(error.message, true);
    } finally {
      isChoosing = false;
      draw();
    }
  });
  return {
    el: h("label", { class: "mlx-row" }, "Model", select),
    name: () => select.value || state.notebook_model,
    show(next) {
      state = next;
      draw();
    },
  };
}

/** The system message and the temperature, in a section that opens. */
function settingsForm({ button, ask, notify }) {
  const system = h("textarea", {
    "aria-label": "System prompt",
    placeholder: "Instructions for the whole conversation",
  });
  const temperature = h("input", {
    type: "number",
    min: 0,
    max: 2,
    step: "any",
    "aria-label": "Temperature",
    placeholder: "the model's own",
  });
  let kept = {};
  const fill = () => {
    system.value = kept.system ?? "";
    temperature.value = kept.temperature ?? "";
  };
  const apply = button("Apply", async () => {
    if (temperature.validity.badInput)
      throw new Error("temperature must be a number between 0 and 2.");
    await ask("set", {
      system: system.value,
      temperature: temperature.value === "" ? null : Number(temperature.value),
    });
    notify("The next message is sent with these settings.");
  });
  return {
    el: disclosure(
      "Settings",
      h("label", {}, "System prompt", system),
      h(
        "div",
        { class: "mlx-row" },
        h("label", { class: "mlx-row" }, "Temperature", temperature),
        apply,
      ),
    ),
    show(state) {
      const isNew = kept.system !== state.system || kept.temperature !== state.temperature;
      kept = { system: state.system, temperature: state.temperature };
      if (isNew) fill();
    },
  };
}
