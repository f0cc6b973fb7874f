"""Define the Prometheus metrics that Jupyter's `/metrics` serves.

Names follow https://prometheus.io/docs/practices/naming/. Times are in seconds.
"""

from prometheus_client import Counter, Histogram

_WAIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)
_STEP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5)

REQUESTS = Counter(
    "mlx_notebook_requests_total",
    "Answered requests, by route and HTTP status code.",
    ["endpoint", "code"],
)
ERRORS = Counter(
    "mlx_notebook_errors_total",
    "Errors sent to clients, as a response or in a stream, by error code.",
    ["code"],
)
PROMPT_TOKENS = Counter(
    "mlx_notebook_prompt_tokens_total", "Prompt tokens, including reused ones.", ["model"]
)
CACHED_TOKENS = Counter(
    "mlx_notebook_cached_prompt_tokens_total",
    "Prompt tokens that were reused from the prefix cache.",
    ["model"],
)
GENERATED_TOKENS = Counter(
    "mlx_notebook_generated_tokens_total", "Generated tokens, including reasoning.", ["model"]
)
EMBEDDED_TOKENS = Counter(
    "mlx_notebook_embedded_tokens_total", "Tokens of embedded texts.", ["model"]
)
RERANKED_TOKENS = Counter(
    "mlx_notebook_reranked_tokens_total",
    "Tokens of queries and documents that were read to rank documents.",
    ["model"],
)
DISK_WRITTEN = Counter(
    "mlx_notebook_prefix_disk_written_bytes_total", "Bytes that the prefix cache wrote to disk."
)
DISK_SKIPPED = Counter(
    "mlx_notebook_prefix_disk_skipped_bytes_total",
    "Bytes that the prefix cache did not write to disk because of its hourly limit.",
)
TIME_TO_FIRST_TOKEN = Histogram(
    "mlx_notebook_time_to_first_token_seconds",
    "Time from the admission of a request to its first token.",
    ["model"],
    buckets=_WAIT_BUCKETS,
)
INTER_TOKEN = Histogram(
    "mlx_notebook_inter_token_seconds",
    "Time between two tokens of a sequence.",
    ["model"],
    buckets=_STEP_BUCKETS,
)
QUEUE = Histogram(
    "mlx_notebook_queue_seconds",
    "Time that a request waited for a row of the batch, without loading its model.",
    ["model"],
    buckets=_WAIT_BUCKETS,
)
DURATION = Histogram(
    "mlx_notebook_request_seconds",
    "Time from the admission of a request to its end.",
    ["model"],
    buckets=_WAIT_BUCKETS,
)
ENGINE_RESTARTS = Counter("mlx_notebook_engine_restarts_total", "Restarts of the engine process.")
