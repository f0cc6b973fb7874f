"""Parameters of other servers and other endpoints that would change an answer, and what to do.

One is refused where its endpoint does not have it, unless its value asks for nothing. Names that
stand nowhere here are harmless as far as we know: they are passed over, and listed.
"""

from typing import Any, NamedTuple

_LEAVE = "leave it out"
# What asks for nothing, whatever the parameter.
_NOTHING: tuple[Any, ...] = (None, False, "", [], {})


class Foreign(NamedTuple):
    """What to do instead of a parameter, and the values by which it asks for nothing.

    `strict` says that `false` is no such value.
    """

    instead: str = _LEAVE
    neutral: tuple[Any, ...] = ()
    strict: bool = False

    def asks(self, value: Any) -> bool:
        """Whether this value would change an answer."""
        nothing = [x for x in _NOTHING if not (self.strict and x is False)]
        # `0 == False` in Python, and is something else here.
        return not any(value == x and type(value) is type(x) for x in (*nothing, *self.neutral))


def _use(name: str, *neutral: Any) -> Foreign:
    return Foreign(f"use '{name}'", neutral)


def _zero(instead: str = _LEAVE) -> Foreign:
    return Foreign(instead, (0, 0.0))


def _on(instead: str = _LEAVE) -> Foreign:
    """A switch that is on by default, and always on here."""
    return Foreign(instead, (True,), strict=True)


_SAMPLING: dict[str, Foreign] = {
    "beam_width": _zero(),
    "do_sample": _on("set 'temperature' to 0"),
    "dry_multiplier": _zero(),
    "dynatemp_range": _zero(),
    "early_stopping": Foreign(),
    "epsilon_cutoff": _zero(),
    "eta_cutoff": _zero(),
    "frequency_context_size": Foreign("leave it out: the whole answer counts"),
    "length_penalty": Foreign(neutral=(1, 1.0)),
    "logits_processors": Foreign(),
    "max_length": _use("max_tokens"),
    "max_new_tokens": _use("max_tokens"),
    "min_keep": Foreign(neutral=(0, 1)),
    "min_tokens_to_keep": Foreign(neutral=(0, 1)),
    "mirostat": _zero(),
    "n_indent": _zero(),
    "n_predict": _use("max_tokens"),
    "no_repeat_ngram_size": _zero("use 'repetition_penalty'"),
    "num_beams": Foreign(neutral=(1,)),
    "num_predict": _use("max_tokens"),
    "presence_context_size": Foreign("leave it out: the whole answer counts"),
    "random_seed": _use("seed"),
    "penalty_last_n": _use("repeat_last_n", -1),
    "repetition_context_size": _use("repeat_last_n"),
    "samplers": Foreign("leave it out: the order of the samplers is fixed"),
    "smoothing_factor": _zero(),
    "stop_regex": _use("stop"),
    "t_max_predict_ms": Foreign("use 'max_tokens'", (0, -1)),
    "temp": _use("temperature"),
    "tfs_z": Foreign(neutral=(1, 1.0)),
    "top_a": _zero(),
    "top_n_sigma": Foreign(neutral=(-1, -1.0, 0, 0.0)),
    "typ_p": _use("typical_p", 1, 1.0),
    "use_beam_search": Foreign(),
    "vllm_xargs": Foreign(),
}
_PROMPT: dict[str, Foreign] = {
    "adapters": Foreign("name the adapter as 'model+adapter'"),
    "chat_template": Foreign("leave it out: a model's own template is used"),
    "compaction": Foreign(),
    "documents": Foreign("put the documents into a message"),
    "fallbacks": Foreign(),
    "image_data": Foreign("put the images into a message"),
    "images": Foreign("put the images into a message"),
    "input_prefix": Foreign("use 'prompt'"),
    "input_suffix": Foreign("use 'prompt'"),
    "lora": Foreign("name the adapter as 'model+adapter'"),
    "mm_processor_kwargs": Foreign(),
    "models": Foreign("name one 'model'"),
    "multimodal_data": Foreign("put the images into a message"),
    "options": Foreign("send what is in it as parameters of the request"),
    "plugins": Foreign(),
    "raw": Foreign("use v1/completions"),
    "safe_prompt": Foreign("put it into a system message"),
    "template": Foreign("leave it out: a model's own template is used"),
    "think": Foreign("use 'enable_thinking'", strict=True),
    "thinking_forced_open": Foreign(),
    "transforms": Foreign(),
}
_ANSWER: dict[str, Foreign] = {
    "ebnf": _use("grammar"),
    "format": _use("response_format"),
    "guided_whitespace_pattern": Foreign(),
    "include_stop_str_in_output": Foreign(),
    "n_probs": _zero("use 'logprobs'"),
    "no_stop_trim": Foreign(),
    "parse_tool_calls": _on(),
    "post_sampling_probs": Foreign(),
    "reasoning_format": Foreign("use 'include_reasoning'", ("auto", "deepseek")),
    "regex": _use("guided_regex"),
    "response_fields": Foreign(),
    "return_tokens": _use("return_token_ids"),
    "return_tokens_as_token_ids": _use("return_token_ids"),
    "separate_reasoning": _on(),
    "skip_special_tokens": _on(),
    "stream_reasoning": _on(),
    "structural_tag": Foreign(),
}
# What one of our endpoints has and another has not.
_ELSEWHERE: dict[str, Foreign] = {
    "access_programs": Foreign(),
    "audio": Foreign(),
    "background": Foreign("use v1/responses"),
    "background_options": Foreign(),
    "best_of": Foreign("use 'n'", (1,)),
    "container": Foreign(),
    "context_management": Foreign(),
    "conversation": Foreign("send all messages"),
    "diagnostics": Foreign(),
    "echo": Foreign(),
    "function_call": _use("tool_choice", "none", "auto"),
    "functions": _use("tools"),
    "image": Foreign(),
    "include": Foreign("use v1/responses"),
    "input": Foreign("use 'messages' or 'prompt', as the endpoint has it"),
    "instructions": Foreign("use a system message"),
    "logprobs": Foreign("use v1/chat/completions"),
    "max_completion_tokens": _use("max_output_tokens"),
    "max_output_tokens": _use("max_tokens"),
    "max_tokens": _use("max_output_tokens"),
    "mcp_servers": Foreign(),
    "messages": Foreign("use 'input' or 'prompt', as the endpoint has it"),
    "modalities": Foreign(neutral=(["text"],)),
    "moderation": Foreign(),
    "n": Foreign("send several requests", (1,)),
    "output_config": Foreign("use 'response_format', or 'text' of v1/responses"),
    "output_format": Foreign("use 'response_format', or 'text' of v1/responses"),
    "personality": Foreign(),
    "previous_response_id": Foreign("use v1/responses"),
    "prompt": Foreign("use 'messages' or 'input', as the endpoint has it"),
    "reasoning": Foreign("use 'reasoning_effort'"),
    "reasoning_effort": Foreign("use 'enable_thinking', or 'reasoning' of v1/responses"),
    "response_format": Foreign("use the endpoint's own parameter, or 'json_schema'"),
    "speed": Foreign(neutral=("standard",)),
    "stop": _use("stop_sequences"),
    "stop_sequences": _use("stop"),
    "suffix": Foreign(),
    "system": Foreign("use a system message"),
    "text": Foreign("use 'response_format'"),
    "thinking": Foreign("use 'enable_thinking'"),
    "thinking_budget": Foreign("use 'thinking.budget_tokens'"),
    "thread": Foreign("send all messages"),
    "tool_choice": Foreign(neutral=("auto", "none")),
    "tools": Foreign("use v1/chat/completions"),
    "top_logprobs": Foreign(neutral=(0,)),
    "truncation": Foreign("use 'truncate_prompt_tokens'", ("disabled",)),
    "verbosity": Foreign(neutral=("medium",)),
    "web_search_options": Foreign(),
}
GENERATION: dict[str, Foreign] = _SAMPLING | _PROMPT | _ANSWER | _ELSEWHERE

EMBEDDING: dict[str, Foreign] = {
    "embd_normalize": Foreign(neutral=(2,)),
    "embed_dtype": Foreign(neutral=("float32",)),
    "embedding_type": _use("encoding_format", "float"),
    "embedding_types": _use("encoding_format", ["float"]),
    "endianness": Foreign(neutral=("little", "native")),
    "input_type": Foreign("put the model's own prefix into each input"),
    "instruction": Foreign("put it into each input"),
    "late_chunking": Foreign(),
    "messages": Foreign("use 'input'"),
    "normalize": _on(),
    "output_dimension": _use("dimensions"),
    "output_dtype": Foreign(neutral=("float",)),
    "pooling": Foreign("leave it out: a model's own pooling is used"),
    "prompt": Foreign("put it into each input"),
    "prompt_name": Foreign("put the model's own prefix into each input"),
    "task": Foreign("put the model's own prefix into each input"),
    "truncate": _use("truncate_prompt_tokens"),
}
