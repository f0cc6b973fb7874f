"""What the setting `user_limits` says about each user."""

from typing import Any

import pytest

from mlx_notebook.server.errors import Forbidden
from mlx_notebook.server.users.user import LOCAL, User
from mlx_notebook.server.users.user_limits import UNLIMITED, UserLimit, UserLimits

ADA = User("ada", groups=("class",))


def test_without_a_setting_users_use_models_and_admins_manage_them() -> None:
    limits = UserLimits({})
    assert limits.of(ADA) == UserLimit()
    for action in ("use", "load", "swap"):
        assert limits.of(ADA).allows(action, "a")  # type: ignore[arg-type]
    for action in ("pin", "unload", "download", "jobs"):
        assert not limits.of(ADA).allows(action, "a")  # type: ignore[arg-type]
        assert limits.of(User("root", admin=True)).allows(action, "a")  # type: ignore[arg-type]


def test_a_user_comes_before_their_groups_and_these_before_everyone() -> None:
    limits = UserLimits(
        {
            "*": {"requests_in_flight": 1, "tokens_per_minute": 100, "load": False},
            "group:class": {"requests_in_flight": 2, "load": ["a"]},
            "ada": {"requests_in_flight": 3},
        }
    )
    ada, ben, eve = limits.of(ADA), limits.of(User("ben", groups=("class",))), limits.of(User("e"))
    assert (ada.requests_in_flight, ada.tokens_per_minute) == (3, 100)
    assert (ben.requests_in_flight, eve.requests_in_flight) == (2, 1)
    assert ben.allows("load", "a")
    assert not ben.allows("load", "b")
    assert not eve.allows("load", "a")


@pytest.mark.parametrize(
    ("limit", "values", "merged"),
    [
        ("requests_in_flight", (2, 5), 5),
        ("tokens_per_minute", (2, None), None),
        ("load", (["a"], ["b"]), frozenset("ab")),
        ("load", (False, ["b"]), frozenset("b")),
        ("load", (["a"], True), True),
        ("unload", (False, False), frozenset()),
    ],
)
def test_of_several_groups_the_most_generous_one_counts(
    limit: str, values: tuple[Any, Any], merged: Any
) -> None:
    for one, other in (values, values[::-1]):
        setting = {"*": {limit: 1} if "_" in limit else {}}
        setting |= {"group:one": {limit: one}, "group:other": {limit: other}}
        user = User("ada", groups=("one", "other", "third"))
        assert getattr(UserLimits(setting).of(user), limit) == merged


def test_an_admin_has_no_limits_but_those_under_the_own_name() -> None:
    limits = UserLimits(
        {
            "*": {"requests_in_flight": 1, "use": ["a"]},
            "group:staff": {"requests_in_flight": 1},
            "root": {"tokens_per_minute": 9},
        }
    )
    assert limits.of(LOCAL) == limits.of(User("x", ("staff",), admin=True)) == UNLIMITED
    assert limits.of(User("root", ("staff",), admin=True)) == UserLimit(
        tokens_per_minute=9, pin=True, unload=True, download=True, jobs=True, mcp=True
    )


def test_names_of_models_may_be_patterns_and_hold_for_aliases_and_adapters() -> None:
    limit = UserLimits({"*": {"use": ["tiny-chat", "org/*", "quick"]}}).of(ADA)
    assert limit.allows("use", "tiny-chat")
    assert limit.allows("use", "org/model-4bit")
    assert limit.allows("use", "tiny-chat+style")
    assert limit.allows("use", "other/model", ["quick"])
    for name in ("other/model", "tiny-chat-2", "not-org/model"):
        assert not limit.allows("use", name)
    assert not UserLimits({"*": {"use": []}}).of(ADA).allows("use", "a")


def test_a_refusal_says_what_is_allowed() -> None:
    limit = UserLimits({"*": {"use": ["b", "a"]}}).of(ADA)
    limit.check("use", "a")
    with pytest.raises(Forbidden) as caught:
        limit.check("use", "c")
    assert caught.value.message == (
        "You may not use the model 'c'. Who runs this server decides that "
        "(MlxNotebookApp.user_limits). Models for which you may: a, b."
    )
    assert (caught.value.status_code, caught.value.code) == (403, "permission_denied")
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"": {}}, r"'' is no name: use '\*', 'group:NAME', or the name of a user"),
        ({"group:": {}}, "'group:' is no name"),
        ({"ada": 3}, r"\['ada'\] is a dictionary of limits, and not 3"),
        ({"ada": {"tokens": 3}}, r"\['ada'\]: there is no limit 'tokens', but requests_in_fli"),
        (
            {"*": {"requests_in_flight": 0}},
            r"\['\*'\]: .* a whole number from 1 on, or None, not 0",
        ),
        ({"*": {"requests_in_flight": True}}, "not True"),
        ({"*": {"tokens_per_minute": 2.5}}, "not 2.5"),
        ({"*": {"use": "a"}}, r"use is True, False or a list of models, not 'a'"),
        ({"*": {"swap": 1}}, "swap is True, False or a list of models, not 1"),
        ({"*": {"load": [1]}}, r"not \[1\]"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(setting: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UserLimits(setting)
