from typing import Any

import jsonschema
import pytest

from tests.server.running import RunningServer

MESSAGES = [{"role": "user", "content": "Hi"}]


def test_the_document_lists_every_route_and_type(server: RunningServer) -> None:
    document = server.client.get("v1/openapi.json").raise_for_status().json()
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "/nb"}]
    assert set(document["paths"]) >= {
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{model}",
        "/health",
        "/mlx/status",
        "/mlx/events",
    }
    request = document["components"]["schemas"]["ChatCompletionRequest"]
    assert request["required"] == ["messages"]
    assert "temperature" in request["properties"]


def test_the_document_lists_queries_and_the_header_of_ignored_parameters(
    server: RunningServer,
) -> None:
    paths = server.client.get("v1/openapi.json").json()["paths"]
    queries = {
        path: {each["name"] for each in operations["get"].get("parameters", ())}
        for path, operations in paths.items()
        if "get" in operations
    }
    assert queries["/v1/models"] == {"limit", "after_id", "before_id", "lifecycle"}
    assert queries["/mlx/traces"] == {"search", "user"}
    answer = paths["/v1/embeddings"]["post"]["responses"]["200"]
    assert "x-mlx-ignored-parameters" in answer["headers"]


def test_all_references_resolve(server: RunningServer) -> None:
    document = server.client.get("v1/openapi.json").json()
    schemas = document["components"]["schemas"]

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].removeprefix("#/components/schemas/") in schemas
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)

    check(document)


def test_each_described_route_exists(server: RunningServer) -> None:
    document = server.client.get("v1/openapi.json").json()
    for path, operations in document["paths"].items():
        for method in operations:
            if path == "/mlx/events":
                continue
            response = server.client.request(
                method, path.strip("/").replace("{", "").replace("}", "")
            )
            described = operations[method]["responses"]
            assert str(response.status_code) in described, (method, path, response.text)
            if response.status_code == 404:
                assert "unknown_route" not in response.text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("ChatCompletionRequest", {"messages": MESSAGES, "tools": [{}]}),
        ("ChatCompletionRequest", {"messages": MESSAGES, "tools": [{"type": "function"}]}),
        ("ChatCompletionRequest", {"messages": MESSAGES, "service_tier": "banana"}),
        ("ChatCompletionRequest", {"messages": MESSAGES, "modalities": ["smell"]}),
        ("ResponsesRequest", {"input": "Hi", "tools": [{}]}),
        ("ResponsesRequest", {"input": "Hi", "tools": [{"type": "function"}]}),
        ("ResponsesRequest", {"input": "Hi", "service_tier": "banana"}),
        ("MessagesRequest", {"messages": MESSAGES, "max_tokens": 1, "tools": [{"name": "f"}]}),
        ("MessagesRequest", {"messages": MESSAGES, "max_tokens": 1, "service_tier": "banana"}),
        ("TemplateRequest", {"messages": MESSAGES, "tools": [{}]}),
        ("EmbeddingRequest", {"input": ""}),
        ("EmbeddingRequest", {"input": []}),
        ("EmbeddingRequest", {"input": [""]}),
        ("EmbeddingRequest", {"input": [[]]}),
        ("CompletionRequest", {"prompt": ""}),
        ("CompletionRequest", {"prompt": [[]]}),
    ],
)
def test_the_schemas_refuse_what_the_server_refuses(
    server: RunningServer, kind: str, body: dict[str, Any]
) -> None:
    document = server.client.get("v1/openapi.json").json()
    schema = {"$ref": f"#/components/schemas/{kind}", "components": document["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    assert not validator.is_valid(body)
    [path] = [
        path
        for path, operations in document["paths"].items()
        if f"/{kind}'" in str(operations.get("post", {}).get("requestBody"))
        if "input_tokens" not in path
    ]
    answer = server.client.post(path.strip("/"), json=body)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("ChatCompletionRequest", {"messages": MESSAGES, "tools": [{"function": {"name": "f"}}]}),
        ("ResponsesRequest", {"input": "Hi", "tools": [{"type": "function", "name": "f"}]}),
        (
            "MessagesRequest",
            {
                "messages": MESSAGES,
                "max_tokens": 1,
                "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            },
        ),
        ("EmbeddingRequest", {"input": ["a", "b"]}),
        ("CompletionRequest", {"prompt": [1, 2]}),
    ],
)
def test_the_schemas_accept_what_the_server_accepts(
    server: RunningServer, kind: str, body: dict[str, Any]
) -> None:
    document = server.client.get("v1/openapi.json").json()
    schema = {"$ref": f"#/components/schemas/{kind}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(body)
