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
    | "broken";
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

/** A request of `mlx/traces`. */
export interface TraceSummary {
  id: string;
  model: string;
  first_token?: number | null;
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
}
