from tests.server.running import RunningServer


def test_a_conversation_is_saved_listed_renamed_and_deleted(server: RunningServer) -> None:
    path = "mlx/conversations/of-a-test"
    content = {"entries": [{"text": "<b>Hello</b>"}]}
    body = {"notebook": "folder/a.ipynb", "title": "Hello", "content": content}
    summary = server.client.put(path, json=body).raise_for_status().json()
    assert summary["id"] == "of-a-test"
    named = {"notebook": "folder/a.ipynb"}
    listed = server.client.get("mlx/conversations", params=named).json()
    assert listed == {"data": [summary], "object": "list"}
    assert server.client.get("mlx/conversations", params={"notebook": "b"}).json()["data"] == []
    server.client.patch(path, json={"title": "New"}).raise_for_status()
    found = server.client.get(path).json()
    assert found == {**body, "title": "New", "changed": summary["changed"]}
    stale = server.client.put(path, json={**body, "based_on": None})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "conversation_changed")
    server.client.put(path, json={**body, "based_on": summary["changed"]}).raise_for_status()
    assert server.client.delete(path).json()["deleted"] is True
    assert server.client.get(path).status_code == 404


def test_a_conversation_that_is_not_valid_is_refused(server: RunningServer) -> None:
    path = "mlx/conversations/wrong"
    wrong = [
        ({"notebook": "a", "title": "", "content": {}}, "title"),
        ({"notebook": "a", "title": "One"}, "content"),
        ({"notebook": 1, "title": "One", "content": {}}, "notebook"),
        ({"notebook": "a", "title": "One", "content": {}, "based_on": "x"}, "based_on"),
    ]
    for body, parameter in wrong:
        error = server.client.put(path, json=body)
        assert (error.status_code, error.json()["error"]["param"]) == (400, parameter)
    misspelt = server.client.patch(path, json={"titel": "One"})
    assert misspelt.status_code == 400
    assert server.client.get("mlx/conversations/a%2F..%2Fb").status_code == 404
