"""Counters and histograms in the registry that Jupyter's `/metrics` serves.

Names follow https://prometheus.io/docs/practices/naming/; times are seconds.
"""

from prometheus_client import Counter, Histogram

_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)
_STEPS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5)

REQUESTS = Counter(
    "mlx_notebook_requests_total",
    "Requests answered, by route and HTTP status code.",
    ["endpoint", "code"],
)
ERRORS = Counter(
    "mlx_notebook_errors_total",
    "Errors told to clients, in a response or in the middle of a stream, by error code.",
    ["code"],
)
PROMPT_TOKENS = Counter(
    "mlx_notebook_prompt_tokens_total", "Tokens of prompts, reused ones included.", ["model"]
)
CACHED_TOKENS = Counter(
    "mlx_notebook_cached_prompt_tokens_total",
    "Tokens of prompts that were reused instead of computed.",
    ["model"],
)
GENERATED_TOKENS = Counter(
    "mlx_notebook_generated_tokens_total", "Tokens generated, thinking included.", ["model"]
)
EMBEDDED_TOKENS = Counter(
    "mlx_notebook_embedded_tokens_total", "Tokens of texts that became vectors.", ["model"]
)
TIME_TO_FIRST_TOKEN = Histogram(
    "mlx_notebook_time_to_first_token_seconds",
    "From a request's admission to its first token.",
    ["model"],
    buckets=_WAITS,
)
INTER_TOKEN = Histogram(
    "mlx_notebook_inter_token_seconds",
    "Between two tokens of one sequence.",
    ["model"],
    buckets=_STEPS,
)
QUEUE = Histogram(
    "mlx_notebook_queue_seconds",
    "How long a request waited for a place in the batch, loading its model not counted.",
    ["model"],
    buckets=_WAITS,
)
DURATION = Histogram(
    "mlx_notebook_request_seconds",
    "From a request's admission to its end.",
    ["model"],
    buckets=_WAITS,
)
ENGINE_RESTARTS = Counter(
    "mlx_notebook_engine_restarts_total", "Engine processes that ended and were replaced."
)
