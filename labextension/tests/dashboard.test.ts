import { expect, test } from "vitest";
import { modelsFields, statsFields } from "../src/dashboard/panel-fields";
import { PanelModel } from "../src/dashboard/panel-model";
import type { ServerState } from "../src/server/status-watcher";
import { request, resident, statusWith } from "./server-status";

const seen = (more: Partial<ServerState>): ServerState => ({
  ...{ status: null, catalog: null, traces: null, problem: "" },
  ...more,
});

test("before the server answers, panels have no fields", () => {
  expect(statsFields(seen({}))).toEqual({});
  expect(modelsFields(seen({}))).toEqual({});
});

test("requests know the limit of their model, and the largest context is shown", () => {
  const status = statusWith({
    models: [resident("tiny-chat")],
    requests: [request("1"), request("2", { generated_tokens: 970 })],
    history: [{ time: 7.9, decode: 1, prefill: 2, active: 3, memory: 4 }],
  });
  const fields = statsFields(seen({ status }));
  expect(fields).toMatchObject({
    requests: { "1": { limit: 4096 } },
    context: { used: 1000, limit: 4096, running: true },
    history: { "7": [1, 2, 3, 4] },
    first_token: null,
  });
});

test("the last request is shown while none is running", () => {
  const status = statusWith({ models: [resident("tiny-chat")] });
  const usage = { prompt_tokens: 100, completion_tokens: 20 };
  const traces = [
    { id: "a", model: "tiny-chat", usage, first_token: 0.3 },
    { id: "b", model: "tiny-chat", first_token: 0.1 },
    { id: "c", model: "tiny-chat", first_token: null },
  ];
  const fields = statsFields(seen({ status, traces }));
  expect(fields.context).toEqual({ used: 120, limit: 4096, running: false });
  expect(fields.first_token).toBeCloseTo(0.2);
});

test("a call of a button is accepted, then answered, or says what failed", async () => {
  const model = new PanelModel({
    load: ({ model: name }) => Promise.resolve(`loaded ${String(name)}`),
    fail: () => Promise.reject(new Error("No.")),
  });
  const heard: unknown[] = [];
  const ended = new Promise<void>((resolve) => {
    model.on("msg:custom", (message) => {
      heard.push(message);
      if (heard.length === 6) resolve();
    });
  });
  for (const method of ["load", "fail", "unknown"])
    model.send({ call: method, method, args: { model: "m" } });
  await ended;
  expect(heard).toEqual(
    expect.arrayContaining([
      { accepted: "load" },
      { reply: "load", result: "loaded m" },
      { reply: "fail", error: "No." },
      { reply: "unknown", error: "This tab cannot do unknown." },
    ]),
  );
  model.dispose();
});
