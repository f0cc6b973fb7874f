/** A status as `mlx/status` answers it, for the tests. */
import type { ServerStatus } from "../src/server/wire-types";

export const resident = (id: string, more = {}) => ({
  id,
  bytes: 12_000_000,
  context_length: 4096,
  active: 0,
  pinned: false,
  vision: false,
  ...more,
});

export const request = (id: string, more = {}) => ({
  id,
  model: "tiny-chat",
  phase: "decode" as const,
  prompt_tokens: 30,
  generated_tokens: 10,
  tokens_per_second: 50,
  own: true,
  ...more,
});

export const statusWith = (more: Partial<ServerStatus> = {}): ServerStatus => ({
  engine: { state: "running", device: "Device(cpu, 0)", restarts: 0, error: null },
  default_model: "tiny-chat",
  loading: [],
  progress: null,
  models: [],
  budget: { limit: 1e9, used: 0 },
  downloads: [],
  requests: [],
  queue: { rows: 0, waiting: 0, batch: 8, limit: 64 },
  rates: { decode: 0, prefill: 0 },
  totals: { finished: 0, cancelled: 0, failed: 0 },
  memory: { active: 0, cache: 0, peak: 0, process: 240_000_000, prefixes: 0 },
  history: [],
  keep_alive_seconds: 10,
  ...more,
});
