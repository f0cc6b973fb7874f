"""What an admin of a class sees: numbers of each user, and no texts."""

from tests.jupyterhub.running_hub import RunningHub

SECRET = "heliotrope"


def test_the_hubs_admins_and_teachers_see_each_users_usage_and_no_texts(
    class_hub: RunningHub,
) -> None:
    said = [{"role": "user", "content": SECRET}]
    body = {"model": "tiny-chat", "messages": said, "max_tokens": 3, "store": True}
    for name in ("ann", "bob"):
        with class_hub.service(class_hub.user_token(name)) as client:
            answer = client.post("v1/chat/completions", json=body).raise_for_status().json()
    for name in ("teacher", "head"):
        with class_hub.service(class_hub.user_token(name)) as client:
            usage = client.get("mlx/usage").raise_for_status().json()
            rows = {row["user"]: row for row in usage["users"]}
            assert rows["ann"]["requests"] >= 1
            assert rows["bob"]["generated_tokens"] >= 3
            assert 'user="ann"' in client.get("mlx/metrics").raise_for_status().text
            for path in ("mlx/traces", "mlx/status", "v1/chat/completions"):
                assert SECRET not in client.get(path).raise_for_status().text
            assert client.get(f"v1/chat/completions/{answer['id']}").status_code == 404
            refused = client.get("mlx/traces", params={"user": "ann"})
            assert refused.json()["error"]["code"] == "texts_are_private"
    with class_hub.service(class_hub.user_token("ann")) as client:
        usage = client.get("mlx/usage").raise_for_status().json()
        assert [row["user"] for row in usage["users"]] == ["ann"]
        assert usage["totals"]["requests"] >= 2
        assert client.get("mlx/metrics").status_code == 403
