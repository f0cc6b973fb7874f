from typing import Any

from tests.server.running import RunningServer


def test_the_description_names_every_route_and_type(server: RunningServer) -> None:
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


def test_all_references_lead_somewhere(server: RunningServer) -> None:
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
                assert response.json()["error"]["code"] != "unknown_route"
