import msgspec
import pytest

from mlx_notebook.server.users.user import LOCAL, User


def test_a_user_is_compared_by_value_and_can_be_a_key() -> None:
    ann = User("ann", ("class-a",))
    assert {ann: 1}[User("ann", ("class-a",))] == 1
    assert msgspec.json.decode(msgspec.json.encode(ann), type=User) == ann


def test_the_one_user_of_a_server_without_a_hub_may_manage_it() -> None:
    assert User("", (), admin=True) == LOCAL
    with pytest.raises(AttributeError):
        LOCAL.name = "x"  # type: ignore[misc]
