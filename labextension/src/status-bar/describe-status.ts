/** The status of the server in a few words. */

import { bytes, number } from "../base/units";
import type { ResidentModel, ServerStatus } from "../server/wire-types";

export interface StatusText {
  /** What the status bar shows. */
  text: string;
  /** The same as sentences, for the tooltip, the menu and screen readers. */
  details: string;
  state: "unknown" | "problem" | "empty" | "loading" | "busy" | "ready";
}

/**
 * Say what the engine does.
 *
 * @param status What the server reports; null while there is no connection.
 * @param problem Why there is none, as one sentence.
 * @param chosen The model of the settings, or an empty text.
 */
export function describeStatus(
  status: ServerStatus | null,
  problem: string,
  chosen = "",
): StatusText {
  if (problem) return { text: "mlx-notebook: not available", details: problem, state: "problem" };
  if (status === null)
    return { text: "mlx-notebook …", details: "Looking for the server.", state: "unknown" };
  const { engine, models, requests, rates, queue, memory } = status;
  if (engine.state === "failed" || engine.state === "unresponsive") {
    const why = engine.error ?? `The engine is ${engine.state}.`;
    return { text: `mlx-notebook: engine ${engine.state}`, details: why, state: "problem" };
  }
  const loading = loadingText(status);
  if (loading) {
    const details = [engine.error ?? "", `${loading}.`].filter(Boolean).join(" ");
    return { text: loading, details, state: "loading" };
  }
  const shown = shownModel(status, chosen);
  const used = memory.process ? bytes(memory.process) : "";
  const device = engine.device ? ` on the ${/cpu/i.test(engine.device) ? "CPU" : "GPU"}` : "";
  if (shown === undefined) {
    const next = chosen || status.default_model;
    const then = next ? ` The first request loads ${next}.` : "";
    return {
      text: next ? `${next}: not loaded` : "No model",
      details: `No model is in memory.${then}${jobsText(status)}`,
      state: "empty",
    };
  }
  const more = models.length > 1 ? ` +${models.length - 1}` : "";
  const running = requests.length - queue.waiting;
  const waiting = queue.waiting ? `${number(queue.waiting)} waiting` : "";
  const speed = rates.decode >= 0.5 ? `${number(rates.decode)} tokens/s` : "";
  const isBusy = requests.length > 0;
  const doing = isBusy ? [speed || "busy", waiting] : ["ready"];
  const text = `${shown.id}${more}: ${[...doing, used].filter(Boolean).join(" · ")}`;
  const load = isBusy
    ? `${number(Math.max(0, running))} running, ${number(queue.waiting)} waiting`
    : "no request is running";
  return {
    text,
    details: `${models.map(({ id }) => id).join(", ")} in memory${device}: ${load}${
      speed && isBusy ? `, ${speed}` : ""
    }. The engine uses ${used || "no memory"}.${jobsText(status)}`,
    state: isBusy ? "busy" : "ready",
  };
}

/** The jobs that have not ended, as sentences. */
function jobsText({ jobs = [] }: ServerStatus): string {
  return jobs
    .map(({ title, kind, state, phase, done, total }) => {
      const percent = total ? ` ${Math.floor((100 * done) / total)} %` : "";
      return ` ${title || `A job (${kind})`}: ${state === "running" ? phase : state}${percent}.`;
    })
    .join("");
}

function loadingText({ loading, progress, engine, requests }: ServerStatus): string {
  const name = progress?.id ?? loading[0];
  if (name !== undefined) {
    const percent = progress?.total
      ? ` ${Math.floor((100 * progress.done) / progress.total)} %`
      : "";
    return `Loading ${name}${percent}`;
  }
  if (engine.state === "starting" || engine.state === "restarting")
    return requests.length || engine.state === "restarting" ? "Starting the engine" : "";
  return "";
}

/** The model of a running request, else the chosen one, else the first. */
function shownModel(status: ServerStatus, chosen: string): ResidentModel | undefined {
  const running = status.requests.find(({ phase }) => phase === "decode" || phase === "prefill");
  const wanted = [running?.model, chosen, status.default_model];
  for (const name of wanted) {
    const found = name ? status.models.find(({ id }) => id === name) : undefined;
    if (found) return found;
  }
  return status.models[0];
}
