"""Parameters of other servers and endpoints that would change an answer, and what to use instead.

An endpoint refuses such a parameter if it does not have it, unless the value has no effect. All
other unknown parameters are ignored, and the response lists them.
"""

from typing import Any, NamedTuple

_LEAVE = "leave it out"
# Values that have no effect in any parameter.
_NEUTRAL: tuple[Any, ...] = (None, False, "", [], {})


class Unsupported(NamedTuple):
    """An unsupported parameter.

    `instead` says what to do instead. A value in `neutral` has no effect, so the parameter is
    ignored. If `on_by_default` is set, `false` is not neutral.
    """

    instead: str = _LEAVE
    neutral: tuple[Any, ...] = ()
    on_by_default: bool = False

    def has_effect(self, value: Any) -> bool:
        """Return whether this value would change an answer."""
        neutral = [x for x in _NEUTRAL if not (self.on_by_default and x is False)]
        # Compare types too, since `0 == False` in Python.
        return not any(value == x and type(value) is type(x) for x in (*neutral, *self.neutral))


def _use(name: str, *neutral: Any) -> Unsupported:
    return Unsupported(f"use '{name}'", neutral)


def _zero(instead: str = _LEAVE) -> Unsupported:
    return Unsupported(instead, (0, 0.0))


def _on(instead: str = _LEAVE) -> Unsupported:
    """Return the entry of a switch that is on by default, and always on here."""
    return Unsupported(instead, (True,), on_by_default=True)


_SAMPLING: dict[str, Unsupported] = {
    "beam_width": _zero(),
    "do_sample": _on("set 'temperature' to 0"),
    "dry_multiplier": _zero(),
    "dynatemp_range": _zero(),
    "early_stopping": Unsupported(),
    "epsilon_cutoff": _zero(),
    "eta_cutoff": _zero(),
    "frequency_context_size": Unsupported("leave it out: the whole answer counts"),
    "length_penalty": Unsupported(neutral=(1, 1.0)),
    "logits_processors": Unsupported(),
    "max_length": _use("max_tokens"),
    "max_new_tokens": _use("max_tokens"),
    "min_keep": Unsupported(neutral=(0, 1)),
    "min_tokens_to_keep": Unsupported(neutral=(0, 1)),
    "mirostat": _zero(),
    "n_indent": _zero(),
    "n_predict": _use("max_tokens"),
    "no_repeat_ngram_size": _zero("use 'repetition_penalty'"),
    "num_beams": Unsupported(neutral=(1,)),
    "num_predict": _use("max_tokens"),
    "presence_context_size": Unsupported("leave it out: the whole answer counts"),
    "random_seed": _use("seed"),
    "penalty_last_n": _use("repeat_last_n", -1),
    "repetition_context_size": _use("repeat_last_n"),
    "samplers": Unsupported("leave it out: the order of the samplers is fixed"),
    "smoothing_factor": _zero(),
    "stop_regex": _use("stop"),
    "t_max_predict_ms": Unsupported("use 'max_tokens'", (0, -1)),
    "temp": _use("temperature"),
    "tfs_z": Unsupported(neutral=(1, 1.0)),
    "top_a": _zero(),
    "top_n_sigma": Unsupported(neutral=(-1, -1.0, 0, 0.0)),
    "typ_p": _use("typical_p", 1, 1.0),
    "use_beam_search": Unsupported(),
    "vllm_xargs": Unsupported(),
}
_PROMPT: dict[str, Unsupported] = {
    "adapters": Unsupported("name the adapter as 'model+adapter'"),
    "chat_template": Unsupported("leave it out: a model's own template is used"),
    "compaction": Unsupported(),
    "documents": Unsupported("put the documents into a message"),
    "fallbacks": Unsupported(),
    "image_data": Unsupported("put the images into a message"),
    "images": Unsupported("put the images into a message"),
    "input_prefix": Unsupported("use 'prompt'"),
    "input_suffix": Unsupported("use 'prompt'"),
    "lora": Unsupported("name the adapter as 'model+adapter'"),
    "mm_processor_kwargs": Unsupported(),
    "models": Unsupported("name one 'model'"),
    "multimodal_data": Unsupported("put the images into a message"),
    "options": Unsupported("send its fields as parameters of the request"),
    "plugins": Unsupported(),
    "raw": Unsupported("use v1/completions"),
    "safe_prompt": Unsupported("put it into a system message"),
    "template": Unsupported("leave it out: a model's own template is used"),
    "think": Unsupported("use 'enable_thinking'", on_by_default=True),
    "thinking_forced_open": Unsupported(),
    "transforms": Unsupported(),
}
_ANSWER: dict[str, Unsupported] = {
    "ebnf": _use("grammar"),
    "format": _use("response_format"),
    "guided_whitespace_pattern": Unsupported(),
    "include_stop_str_in_output": Unsupported(),
    "n_probs": _zero("use 'logprobs'"),
    "no_stop_trim": Unsupported(),
    "parse_tool_calls": _on(),
    "post_sampling_probs": Unsupported(),
    "reasoning_format": Unsupported("use 'include_reasoning'", ("auto", "deepseek")),
    "regex": _use("guided_regex"),
    "response_fields": Unsupported(),
    "return_tokens": _use("return_token_ids"),
    "return_tokens_as_token_ids": _use("return_token_ids"),
    "separate_reasoning": _on(),
    "skip_special_tokens": _on(),
    "stream_reasoning": _on(),
    "structural_tag": Unsupported(),
}
# Parameters that some endpoints of this server have and others do not.
_OTHER_ENDPOINTS: dict[str, Unsupported] = {
    "access_programs": Unsupported(),
    "audio": Unsupported(),
    "background": Unsupported("use v1/responses"),
    "background_options": Unsupported(),
    "best_of": Unsupported("use 'n'", (1,)),
    "container": Unsupported(),
    "context_management": Unsupported(),
    "conversation": Unsupported("use v1/responses, or send all messages"),
    "diagnostics": Unsupported(),
    "echo": Unsupported(),
    "function_call": _use("tool_choice", "none", "auto"),
    "functions": _use("tools"),
    "image": Unsupported(),
    "include": Unsupported("use v1/responses"),
    "webhook": Unsupported("ask for the response by its id"),
    "webhook_url": Unsupported("ask for the response by its id"),
    "input": Unsupported("use 'messages' or 'prompt', depending on the endpoint"),
    "instructions": Unsupported("use a system message"),
    "logprobs": Unsupported("use v1/chat/completions"),
    "max_completion_tokens": _use("max_output_tokens"),
    "max_output_tokens": _use("max_tokens"),
    "max_tokens": _use("max_output_tokens"),
    "mcp_servers": Unsupported(),
    "messages": Unsupported("use 'input' or 'prompt', depending on the endpoint"),
    "modalities": Unsupported(neutral=(["text"],)),
    "moderation": Unsupported(),
    "n": Unsupported("send several requests", (1,)),
    "output_config": Unsupported("use 'response_format', or 'text' of v1/responses"),
    "output_format": Unsupported("use 'response_format', or 'text' of v1/responses"),
    "personality": Unsupported(),
    "previous_response_id": Unsupported("use v1/responses"),
    "prompt": Unsupported("use 'messages' or 'input', depending on the endpoint"),
    "prompt_attention_from": Unsupported("use v1/completions"),
    "reasoning": Unsupported("use 'reasoning_effort'"),
    "reasoning_effort": Unsupported("use 'enable_thinking', or 'reasoning' of v1/responses"),
    "response_format": Unsupported("use the endpoint's own parameter, or 'json_schema'"),
    "speed": Unsupported(neutral=("standard",)),
    "stop": _use("stop_sequences"),
    "stop_sequences": _use("stop"),
    "suffix": Unsupported(),
    "system": Unsupported("use a system message"),
    "text": Unsupported("use 'response_format'"),
    "thinking": Unsupported("use 'enable_thinking'"),
    "thinking_budget": Unsupported("use 'thinking.budget_tokens'"),
    "thread": Unsupported("send all messages"),
    "tool_choice": Unsupported(neutral=("auto", "none")),
    "tools": Unsupported("use v1/chat/completions"),
    "top_logprobs": Unsupported(neutral=(0,)),
    "truncation": Unsupported("use 'truncate_prompt_tokens'", ("disabled",)),
    "verbosity": Unsupported(neutral=("medium",)),
    "web_search_options": Unsupported(),
    **dict.fromkeys(
        ("webhook", "webhooks", "webhook_url"),
        Unsupported("leave it out, and ask for the answer"),
    ),
}
GENERATION: dict[str, Unsupported] = _SAMPLING | _PROMPT | _ANSWER | _OTHER_ENDPOINTS

SPEECH: dict[str, Unsupported] = {"instructions": Unsupported()}

EMBEDDING: dict[str, Unsupported] = {
    "embd_normalize": Unsupported(neutral=(2,)),
    "embed_dtype": Unsupported(neutral=("float32",)),
    "embedding_type": _use("encoding_format", "float"),
    "embedding_types": _use("encoding_format", ["float"]),
    "endianness": Unsupported(neutral=("little", "native")),
    "input_type": Unsupported("put the model's own prefix into each input"),
    "instruction": Unsupported("put it into each input"),
    "late_chunking": Unsupported(),
    "messages": Unsupported("use 'input'"),
    "normalize": _on(),
    "output_dimension": _use("dimensions"),
    "output_dtype": Unsupported(neutral=("float",)),
    "pooling": Unsupported("leave it out: a model's own pooling is used"),
    "prompt": Unsupported("put it into each input"),
    "prompt_name": Unsupported("put the model's own prefix into each input"),
    "task": Unsupported("put the model's own prefix into each input"),
    "truncate": _use("truncate_prompt_tokens"),
}

RERANK: dict[str, Unsupported] = {
    "activation": _use("raw_scores"),
    "instruct": _use("instruction"),
    "max_chunks_per_doc": Unsupported("use 'max_tokens_per_doc'", (1,)),
    "normalize": _on("use 'raw_scores'"),
    "prompt": _use("instruction"),
    "rank_fields": Unsupported("send each document as one text", (["text"],)),
    "relevant_spans": Unsupported(neutral=({"mode": "disabled"},)),
    "return_embeddings": Unsupported(),
    "return_text": _use("return_documents"),
    "top_k": _use("top_n"),
    "truncate": _use("truncation"),
    "truncate_prompt_tokens": _use("max_tokens_per_doc"),
    "truncation_direction": Unsupported("leave it out: the end is cut", ("Right", "right")),
    "use_activation": _on("use 'raw_scores'"),
}
