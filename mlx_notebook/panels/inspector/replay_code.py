"""Turn a trace back into a request: as JSON, as curl, as Python."""

import json
import pprint
import shlex
from typing import Any

_SAMPLING = (
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "xtc_probability", "xtc_threshold"),
    *("repetition_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty"),
    *("logit_bias", "seed", "max_tokens", "min_tokens", "stop", "stop_token_ids", "bad_words"),
    *("allowed_token_ids", "ignore_eos", "thinking_budget", "n", "truncate_prompt_tokens"),
    *("add_generation_prompt", "continue_final_message"),
)
# Parameters of the `openai` client. Others go into its `extra_body`.
_OPENAI = frozenset(
    (
        *("model", "messages", "prompt", "tools", "tool_choice", "parallel_tool_calls"),
        *("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "seed"),
        *("max_tokens", "stop", "n", "response_format", "logprobs", "top_logprobs"),
    )
)


def request_of(trace: dict[str, Any], **changes: Any) -> tuple[str, dict[str, Any]]:
    """Return the path and body that repeat a traced request.

    Chats of all endpoints are repeated on `v1/chat/completions`.

    Parameters
    ----------
    trace
        The trace.
    changes
        Fields to set in the body; `None` removes a field.

    Raises
    ------
    ValueError
        If the request had images or sounds, which traces do not keep, or was too large to keep.
    """
    options = trace["options"]
    body: dict[str, Any] = {"model": trace["model"]}
    if trace["messages"]:
        path = "v1/chat/completions"
        body["messages"] = [_message(message) for message in trace["messages"]]
        if trace["tools"]:
            body["tools"] = trace["tools"]
            body |= _choice(options.get("tool_choice", {}))
        if "logprobs" in options:
            body |= {"logprobs": True, "top_logprobs": options["logprobs"]}
    elif trace["prompt"] is not None:
        path = "v1/completions"
        body["prompt"] = trace["prompt"]
        if "logprobs" in options:
            body["logprobs"] = options["logprobs"]
    else:
        raise ValueError("This request was too large to keep. It cannot be sent again.")
    body |= {name: options[name] for name in _SAMPLING if name in options}
    if "template_kwargs" in options:
        body["chat_template_kwargs"] = options["template_kwargs"]
    if "output_format" in options:
        body |= _format(options["output_format"])
    body |= (trace.get("upstream") or {}).get("parameters", {})
    body |= changes
    return path, {name: value for name, value in body.items() if value is not None}


def as_curl(url: str, path: str, body: dict[str, Any]) -> str:
    """Return a request as a curl command. It reads the token from the variable `JUPYTER_TOKEN`."""
    text = json.dumps(body, indent=2, ensure_ascii=False)
    return (
        f"curl {shlex.quote(url + path)} \\\n"
        '  -H "Authorization: Bearer $JUPYTER_TOKEN" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(text)}"
    )


def as_python(path: str, body: dict[str, Any]) -> str:
    """Return a request as Python code with the `openai` client."""
    method = "chat.completions" if path == "v1/chat/completions" else "completions"
    named = {name: value for name, value in body.items() if name in _OPENAI}
    if extra := {name: value for name, value in body.items() if name not in _OPENAI}:
        named["extra_body"] = extra
    lines = "".join(
        f"    {name}={pprint.pformat(value, width=88, sort_dicts=False)},\n".replace(
            "\n ", "\n     "
        )
        for name, value in named.items()
    )
    shown = "message" if method == "chat.completions" else "text"
    return (
        "import mlx_notebook\n\n"
        f"client = mlx_notebook.client()\n"
        f"completion = client.{method}.create(\n{lines})\n"
        f"print(completion.choices[0].{shown})\n"
    )


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message of a trace in OpenAI's format, where arguments are JSON text."""
    content = message.get("content")
    kept_out = ("image", "video", "audio")
    if isinstance(content, list) and any(part.get("type") in kept_out for part in content):
        raise ValueError(
            "This request has images or sounds, which are not kept. Run its cell to send it again."
        )
    calls = message.get("tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [_call(call) for call in calls]}


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    mode, names = choice.get("mode", "auto"), choice.get("names")
    if names:
        tools = [{"type": "function", "function": {"name": name}} for name in names]
        allowed = {"mode": "auto" if mode == "auto" else "required", "tools": tools}
        parameters["tool_choice"] = {"type": "allowed_tools", "allowed_tools": allowed}
        if mode == "required" and len(tools) == 1:
            parameters["tool_choice"] = tools[0]
    elif mode != "auto":
        parameters["tool_choice"] = mode
    if not choice.get("parallel", True):
        parameters["parallel_tool_calls"] = False
    return parameters


def _format(output_format: dict[str, Any]) -> dict[str, Any]:
    kind, value = output_format["kind"], output_format.get("value")
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if kind == "json_schema":
        schema = {"name": "answer", "schema": value}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"structured_outputs": {kind: value}}
