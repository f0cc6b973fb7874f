"""Structured output: the parameters of OpenAI, vLLM and llama.cpp.

Formats: https://platform.openai.com/docs/api-reference/chat/create (response_format) and
https://docs.vllm.ai/en/latest/features/structured_outputs.html (structured_outputs, and the
guided_* parameters that it replaced).
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.protocol import OutputFormat
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.body import RequestBody
from mlx_notebook.server.wire.parameters.sampling_parameters import SamplingParameters, StopText


class TextFormat(Struct, tag_field="type", tag="text"):
    """Free text."""


class JsonObjectFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object, or one that fits `schema` (llama.cpp's extension)."""

    schema: dict[str, Any] | None = None


class JsonSchema(Struct):
    """A JSON schema and its name. The schema is enforced even without `strict`."""

    name: str = "answer"
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON that fits a schema.

    The schema can also be a sibling of `type`, as in `text.format` of `v1/responses`.
    """

    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None

    @property
    def wanted(self) -> dict[str, Any] | None:
        """The schema, or None for any JSON object.

        Raises
        ------
        InvalidRequest
            There is no schema, or there are two.
        """
        if self.json_schema is None and self.schema is None:
            raise InvalidRequest(
                "The request needs 'response_format.json_schema'.",
                param="response_format.json_schema",
                code="missing_parameter",
            )
        if self.json_schema is not None and self.schema is not None:
            raise InvalidRequest(
                "'response_format' has both 'json_schema' and 'schema': send one of them.",
                param="response_format.schema",
            )
        return self.json_schema.schema if self.json_schema is not None else self.schema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat
Choices = Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=4096)]
Schema = str | dict[str, Any]


class StructuredOutputs(Struct, kw_only=True):
    """vLLM's `structured_outputs`. Exactly one field is set.

    `json` is a JSON schema, as an object or as text. `grammar` is Lark or llama.cpp's GBNF.
    """

    json: Schema | None = None
    json_object: bool | None = None
    regex: str | None = None
    choice: Choices | None = None
    grammar: str | None = None
    structural_tag: Any = None
    whitespace_pattern: Any = None


class StreamOptions(Struct):
    """Options of a stream.

    `include_usage` adds a last chunk with the token counts. `continuous_usage_stats` (vLLM's) adds
    the counts so far to every chunk. `include_obfuscation` has no effect: this server does not pad
    events to equal size.
    """

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: bool | None = None


class OutputFormatParameters(SamplingParameters, kw_only=True):
    """The structured output parameters of vLLM and llama.cpp, for every endpoint.

    `json_schema` is a JSON schema, `grammar` is GBNF or Lark. `structured_outputs` has all kinds of
    formats; `guided_*` are vLLM's older names for them.
    """

    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | None = None
    guided_regex: str | None = None
    guided_choice: Choices | None = None
    guided_grammar: str | None = None
    json_schema: Schema | None = None
    grammar: str | None = None

    def output_format(self) -> OutputFormat | None:
        """Return the format that the answer must have, if the request sets one.

        Raises
        ------
        InvalidRequest
            The request sets more than one format, or one that cannot be enforced.
        """
        asked = [*self.own_format(), *self._local_formats()]
        if len(asked) > 1:
            (first, _), (second, _) = asked[:2]
            raise InvalidRequest(
                f"{first!r} and {second!r} both set the format of the answer: send only one.",
                param=second,
            )
        if not asked:
            return None
        param, format = asked[0]
        return msgspec.structs.replace(format, param=param)

    def own_format(self) -> list[tuple[str, OutputFormat]]:
        """Return the formats that the API's own parameters set, with the parameters' names."""
        return []

    def _local_formats(self) -> list[tuple[str, OutputFormat]]:
        asked: list[tuple[str, OutputFormat]] = []
        older = StructuredOutputs(
            json=self.guided_json,
            regex=self.guided_regex,
            choice=self.guided_choice,
            grammar=self.guided_grammar,
        )
        asked += [(f"guided_{name}", format) for name, format in _forms(older, "guided_")]
        if self.json_schema is not None:
            schema = _schema(self.json_schema, "json_schema")
            asked.append(("json_schema", OutputFormat(kind="json_schema", value=schema)))
        if self.grammar:
            asked.append(("grammar", OutputFormat(kind="grammar", value=self.grammar)))
        if self.structured_outputs is not None:
            path = "structured_outputs"
            forms = _forms(self.structured_outputs, f"{path}.")
            if not forms:
                raise InvalidRequest(
                    f"'{path}' needs one of json, json_object, regex, choice and grammar.",
                    param=path,
                )
            asked += [(f"{path}.{name}", format) for name, format in forms]
        return asked


class CompletionParameters(OutputFormatParameters, kw_only=True):
    """Parameters of both `v1/chat/completions` and `v1/completions`."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=16)] | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def stops(self) -> list[str]:
        """The stop texts as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    def own_format(self) -> list[tuple[str, OutputFormat]]:
        """Return the format that `response_format` sets."""
        match self.response_format:
            case JsonObjectFormat(schema=schema) | JsonSchemaFormat(wanted=schema):
                return [("response_format", json_format(schema))]
        return []

    def check_stream(self) -> None:
        """Check that `stream_options` are only sent with `stream`.

        Raises
        ------
        InvalidRequest
            There is `stream_options` without `stream`.
        """
        if self.stream_options is not None and not self.stream:
            raise stream_options_without_stream()


def json_format(schema: dict[str, Any] | None) -> OutputFormat:
    """Return the format of JSON that fits a schema, or of any JSON object."""
    if schema is None:
        return OutputFormat(kind="json_object")
    return OutputFormat(kind="json_schema", value=schema)


def stream_options_without_stream() -> InvalidRequest:
    """Return the error for `stream_options` without `stream`."""
    return InvalidRequest("'stream_options' needs 'stream' to be true.", param="stream_options")


def _forms(given: StructuredOutputs, prefix: str) -> list[tuple[str, OutputFormat]]:
    for name in ("structural_tag", "whitespace_pattern"):
        if getattr(given, name) is not None:
            raise InvalidRequest(
                f"'{prefix}{name}' is not supported by this server: leave it out.",
                param=prefix + name,
                code="unsupported_parameter",
            )
    forms: list[tuple[str, OutputFormat]] = []
    if given.json is not None:
        schema = _schema(given.json, f"{prefix}json")
        forms.append(("json", OutputFormat(kind="json_schema", value=schema)))
    if given.json_object:
        forms.append(("json_object", OutputFormat(kind="json_object")))
    if given.regex is not None:
        forms.append(("regex", OutputFormat(kind="regex", value=given.regex)))
    if given.choice is not None:
        forms.append(("choice", OutputFormat(kind="choice", value=given.choice)))
    if given.grammar is not None:
        forms.append(("grammar", OutputFormat(kind="grammar", value=given.grammar)))
    return forms


def _schema(given: Schema, param: str) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    if excess := RequestBody(given.encode()).excess:
        raise InvalidRequest(f"'{param}' is not a JSON schema: it {excess}.", param=param)
    try:
        return msgspec.json.decode(given, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"'{param}' is not a JSON schema: {error}.", param=param) from None
