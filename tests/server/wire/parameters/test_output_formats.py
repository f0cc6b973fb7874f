import json
from typing import Any

import msgspec
import pytest

from mlx_notebook.protocol import OutputFormat
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.openai import chat_request
from mlx_notebook.server.wire.parameters.parameters import ignored_parameters
from tests.server.wire.smallest_requests import chat

SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, OutputFormat(kind="json_object")),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
            OutputFormat(kind="json_schema", value=SCHEMA),
        ),
        (
            {"structured_outputs": {"json": json.dumps(SCHEMA)}},
            OutputFormat(kind="json_schema", value=SCHEMA),
        ),
        (
            {"structured_outputs": {"choice": ["a", "b"]}},
            OutputFormat(kind="choice", value=["a", "b"]),
        ),
        ({"guided_json": SCHEMA}, OutputFormat(kind="json_schema", value=SCHEMA)),
        ({"guided_regex": "a+"}, OutputFormat(kind="regex", value="a+")),
        ({"guided_choice": ["a"]}, OutputFormat(kind="choice", value=["a"])),
        ({"guided_grammar": 'start: "a"'}, OutputFormat(kind="grammar", value='start: "a"')),
    ],
)
def test_an_output_format_is_accepted_in_every_form(
    parameters: dict[str, Any], expected: OutputFormat | None
) -> None:
    found = chat(**parameters).output_format()
    if found is not None:
        (asked,) = parameters
        assert found.param is not None
        assert found.param.split(".")[0] == asked
        found = msgspec.structs.replace(found, param=None)
    assert found == expected


def test_a_schema_may_be_a_sibling_of_the_type() -> None:
    def wanted(**given: Any) -> OutputFormat | None:
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        format = {"response_format": {"type": "json_schema", **given}}
        content = json.dumps(body | format).encode()
        request = decode(chat_request.DECODER, content)
        assert ignored_parameters(content, request) == []
        return request.output_format()

    schema = {"type": "integer"}
    expected = OutputFormat(kind="json_schema", value=schema, param="response_format")
    assert wanted(json_schema={"name": "n", "schema": schema}) == expected
    assert wanted(schema=schema, name="n", strict=True) == expected
    for wrong, param in (
        ({}, "response_format.json_schema"),
        ({"schema": schema, "json_schema": {"schema": schema}}, "response_format.schema"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            wanted(**wrong)
        assert caught.value.param == param


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        (
            {"response_format": {"type": "json_object"}, "guided_regex": "a+"},
            "guided_regex",
        ),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs.choice"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"structural_tag": {}}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"guided_json": "[" * 200}, "guided_json"),
        ({"json_schema": "[]"}, "json_schema"),
    ],
)
def test_a_format_that_cannot_be_enforced_is_refused_by_name(
    parameters: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(**parameters).output_format()
    assert caught.value.param == param


def test_stream_options_need_a_stream() -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(stream_options={"include_usage": True})
    assert caught.value.param == "stream_options"
    assert chat(stream=True, stream_options={"include_usage": True}).stream
