/**
 * What the panels of the dashboard show, from what the server reports.
 *
 * In a notebook the kernel builds the same fields (`models_panel.py`, `stats_panel.py`).
 */

import type { ServerState } from "../server/status-watcher";
import type { ServerStatus, TraceSummary } from "../server/wire-types";

export type Fields = Record<string, unknown>;

const REPLAYABLE = new Set(["resident", "available", "upstream"]);

const byId = <T extends { id: string }>(items: readonly T[]): Record<string, T> =>
  Object.fromEntries(items.map((item) => [item.id, item]));

/** The fields that every panel has. */
export function commonFields({ status, problem }: ServerState, server: string): Fields {
  const engine = status && {
    state: status.engine.state,
    device: status.engine.device,
    restarts: status.engine.restarts,
    error: status.engine.error,
  };
  return { server, problem: problem || null, engine };
}

export function dashboardFields({ status }: ServerState): Fields {
  if (status === null) return {};
  return { requests: status.requests.length, resident: status.models.map(({ id }) => id) };
}

export function modelsFields({ catalog }: ServerState): Fields {
  return catalog === null ? {} : { models: byId(catalog.models), budget: catalog.budget };
}

/** The requests by id, and the models for a replay. */
export function inspectorFields({ catalog, traces }: ServerState): Fields {
  if (traces === null) return {};
  const usable = (catalog?.models ?? [])
    .filter(({ state, capabilities }) => REPLAYABLE.has(state) && capabilities.includes("chat"))
    .map(({ id }) => id);
  return { traces: byId(traces), models: usable };
}

export function statsFields({ status, traces }: ServerState): Fields {
  if (status === null) return {};
  const limits = new Map(status.models.map((model) => [model.id, model.context_length]));
  const requests = status.requests.map((request) => ({
    ...request,
    limit: limits.get(request.model) ?? null,
  }));
  const firstTokens = (traces ?? [])
    .slice(0, 20)
    .flatMap(({ first_token }) => (first_token ? [first_token] : []));
  return {
    rates: status.rates,
    queue: status.queue,
    totals: status.totals,
    memory: status.memory,
    requests: byId(requests),
    jobs: byId(status.jobs ?? []),
    context: largestContext(status, traces ?? [], limits),
    first_token: median(firstTokens),
    history: Object.fromEntries(
      status.history.map(({ time, decode, prefill, active, memory }) => [
        Math.floor(time),
        [decode, prefill, active, memory],
      ]),
    ),
  };
}

/** The largest context in use, in tokens; of the last request if none is running. */
function largestContext(
  { requests }: ServerStatus,
  traces: readonly TraceSummary[],
  limits: ReadonlyMap<string, number>,
): { used: number; limit: number; running: boolean } | null {
  const running = requests.length > 0;
  const last = running ? undefined : traces[0];
  const candidates = [
    ...requests
      .filter((request) => request.prompt_tokens > 0)
      .map((request) => ({
        used: request.prompt_tokens + request.generated_tokens,
        limit: limits.get(request.model) ?? 0,
      })),
    ...(last?.usage
      ? [
          {
            used: last.usage.prompt_tokens + last.usage.completion_tokens,
            limit: limits.get(last.model) ?? 0,
          },
        ]
      : []),
  ].filter(({ limit }) => limit > 0);
  candidates.sort((one, other) => other.used / other.limit - one.used / one.limit);
  return candidates[0] ? { ...candidates[0], running } : null;
}

function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  if (upper === undefined) return null;
  return sorted.length % 2 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}
