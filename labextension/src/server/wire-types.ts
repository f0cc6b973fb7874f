/** What the server's own routes answer, as far as it is used here. Sizes are in bytes. */

export type EngineState =
  | "stopped"
  | "starting"
  | "running"
  | "unresponsive"
  | "restarting"
  | "failed";

export interface ResidentModel {
  id: string;
  bytes: number;
  context_length: number;
  active: number;
  pinned: boolean;
  vision: boolean;
}

export interface RequestStatus {
  id: string;
  model: string;
  phase: "queued" | "loading" | "prefill" | "decode";
  prompt_tokens: number;
  generated_tokens: number;
  tokens_per_second: number;
  own: boolean;
}

/** A long job, or a batch of requests, that has not ended. */
export interface ActiveJob {
  id: string;
  kind: string;
  title: string;
  state: "waiting" | "running" | "stopping";
  phase: string;
  done: number;
  total: number;
  unit: string;
  seconds_left: number | null;
  own: boolean;
}

/** `mlx/status`, and each event of `mlx/events`. */
export interface ServerStatus {
  engine: {
    state: EngineState;
    device: string | null;
    restarts: number;
    error: string | null;
  };
  default_model: string | null;
  loading: string[];
  progress: { id: string; done: number; total: number } | null;
  models: ResidentModel[];
  budget: { limit: number | null; used: number };
  downloads: { model: string; done: number; total: number | null }[];
  requests: RequestStatus[];
  jobs?: ActiveJob[];
  queue: { rows: number; waiting: number; batch: number; limit: number };
  rates: { decode: number; prefill: number };
  totals: Record<string, number>;
  memory: {
    active: number;
    cache: number;
    peak: number;
    process: number;
    prefixes: number;
  };
  history: { time: number; decode: number; prefill: number; active: number; memory: number }[];
  /** A stream of statuses is silent for so long at most. */
  keep_alive_seconds: number;
}

/** A model of `mlx/models`. */
export interface CatalogModel {
  id: string;
  state:
    | "resident"
    | "loading"
    | "downloading"
    | "available"
    | "downloadable"
    | "incomplete"
    | "broken"
    | "upstream";
  aliases: string[];
  default: boolean;
  pinned: boolean;
  active: number;
  context_length: number | null;
  capabilities: string[];
  memory_bytes: number | null;
  progress: { phase: string; done: number; total: number | null } | null;
}

export interface CatalogList {
  models: CatalogModel[];
  budget: { limit: number | null; used: number };
}

/** A setting of `mlx/settings`. `obstacle` says why it cannot be changed, if it cannot. */
export interface ServerSetting {
  name: "default_model" | "completion_model" | "models_dirs" | "idle_unload_minutes";
  value: string | number | string[] | null;
  default: string | number | string[];
  description: string;
  changeable: boolean;
  obstacle: string | null;
}

/** A request of `mlx/traces`, as far as it is used here. The inspector's script reads the rest. */
export interface TraceSummary {
  id: string;
  model: string;
  first_token?: number | null;
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
}

export interface TraceMessage {
  role: string;
  content: string | { type: string }[] | null;
  tool_call_id?: string;
  tool_calls?: { function: { name: string; arguments: unknown } }[];
}

/** `faults` and `result` are added in the page. */
export interface TraceCall {
  id: string;
  name: string;
  arguments: string;
  faults?: string[];
  result?: string | null;
}

/** `mlx/traces/ID`, as far as it is used here. The inspector's script reads the rest. */
export interface Trace {
  id: string;
  model: string;
  messages: TraceMessage[];
  prompt: string | number[] | null;
  tools: { function: { name: string; parameters: Record<string, unknown> } }[];
  options: Record<string, unknown>;
  rows: { calls: TraceCall[] }[];
  upstream?: { parameters?: Record<string, unknown> } | null;
}
