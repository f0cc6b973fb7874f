/** What the inspector's buttons do, where no kernel does it (`inspector_panel.py`). */

import type { ServerClient } from "../server/server-client";
import type { Trace, TraceSummary } from "../server/wire-types";
import { faultsOf } from "./call-faults";
import type { Action } from "./panel-model";
import { asCurl, asPython, requestOf } from "./replay-request";

type Client = Pick<ServerClient, "get" | "post" | "settings">;

export function inspectorActions(client: Client): Record<string, Action> {
  const fetched = (id: string, signal?: AbortSignal): Promise<Trace> =>
    client.get<Trace>(`mlx/traces/${encodeURIComponent(id)}`, signal);

  const found = async (text: string, signal?: AbortSignal): Promise<TraceSummary[]> => {
    const query = new URLSearchParams({ search: text });
    return (await client.get<{ data: TraceSummary[] }>(`mlx/traces?${query}`, signal)).data;
  };

  /** The result of a tool call, which is in a later request. */
  const resultOf = async (callId: string, signal?: AbortSignal): Promise<string | null> => {
    for (const { id } of (await found(callId, signal)).reverse()) {
      for (const { role, tool_call_id, content } of (await fetched(id, signal)).messages) {
        if (role === "tool" && tool_call_id === callId)
          return typeof content === "string" ? content : JSON.stringify(content);
      }
    }
    return null;
  };

  /** A trace with its tool calls checked and their results added. */
  const completed = async (id: string, signal?: AbortSignal): Promise<Trace> => {
    const trace = await fetched(id, signal);
    for (const { calls } of trace.rows) {
      for (const call of calls) {
        call.faults = await faultsOf(call, trace.tools);
        call.result = await resultOf(call.id, signal);
      }
    }
    return trace;
  };

  return {
    search: async ({ text }, signal) => (await found(String(text), signal)).map(({ id }) => id),
    trace: ({ id }, signal) => completed(String(id), signal),
    export: async ({ ids }, signal) => {
      const traces: Trace[] = [];
      for (const id of ids as string[]) traces.push(await completed(id, signal));
      return traces;
    },
    curl: async ({ id }, signal) =>
      asCurl(client.settings.baseUrl, requestOf(await fetched(String(id), signal))),
    python: async ({ id }, signal) => asPython(requestOf(await fetched(String(id), signal))),
    replay: async ({ id, changes }, signal) => {
      const before = await fetched(String(id), signal);
      const { path, body } = requestOf(before, changes as Record<string, unknown>);
      const answer = await client.post<{ id: string }>(path, body, signal);
      return completed(answer.id, signal);
    },
  };
}
