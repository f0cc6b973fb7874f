import { expect, test } from "vitest";
import { describeStatus } from "../src/status-bar/describe-status";
import { request, resident, statusWith } from "./server-status";

const text = (...given: Parameters<typeof describeStatus>) => describeStatus(...given).text;

test("a problem is said as it is, and nothing else", () => {
  const shown = describeStatus(statusWith(), "The server is gone.");
  expect(shown).toEqual({
    text: "mlx-notebook: not available",
    details: "The server is gone.",
    state: "problem",
  });
});

test("a model that loads is shown with its percent", () => {
  const loading = statusWith({
    loading: ["big"],
    progress: { id: "big", done: 439, total: 1000 },
    models: [resident("tiny-chat")],
  });
  expect(text(loading, "")).toBe("Loading big 43 %");
  expect(text({ ...loading, progress: null }, "")).toBe("Loading big");
});

test("a model in memory is ready, and busy while it answers", () => {
  const ready = statusWith({ models: [resident("tiny-chat")] });
  expect(text(ready, "")).toBe("tiny-chat: ready · 240 MB");
  const busy = statusWith({
    models: [resident("tiny-chat"), resident("other")],
    requests: [request("1", { model: "other" }), request("2", { phase: "queued" })],
    queue: { rows: 2, waiting: 1, batch: 8, limit: 64 },
    rates: { decode: 53.4, prefill: 0 },
  });
  expect(text(busy, "")).toBe("other +1: 53 tokens/s · 1 waiting · 240 MB");
  expect(describeStatus(busy, "").details).toContain("1 running, 1 waiting");
  expect(describeStatus(busy, "").details).toContain("on the CPU");
});

test("without a model in memory it names the one that the first request loads", () => {
  expect(text(statusWith(), "")).toBe("tiny-chat: not loaded");
  expect(text(statusWith(), "", "mine")).toBe("mine: not loaded");
  expect(text(statusWith({ default_model: null }), "")).toBe("No model");
});

test("the chosen model is shown before others", () => {
  const both = statusWith({ models: [resident("tiny-chat"), resident("mine")] });
  expect(text(both, "", "mine")).toBe("mine +1: ready · 240 MB");
});

test("an engine that failed says why", () => {
  const failed = statusWith({
    engine: { state: "failed", device: null, restarts: 3, error: "Out of memory." },
  });
  expect(describeStatus(failed, "")).toMatchObject({ details: "Out of memory.", state: "problem" });
  const again = { ...failed, engine: { ...failed.engine, state: "restarting" as const } };
  expect(describeStatus(again, "")).toMatchObject({
    text: "Starting the engine",
    details: "Out of memory. Starting the engine.",
  });
});
