"""Users take turns, whoever asks for more."""

from mlx_notebook.engine.residency.user_turns import UserTurns


def served(turns: UserTurns, waiting: dict[str, int], count: int) -> list[str]:
    """Serve `count` turns; `waiting` says how many turns each user still wants."""
    order = []
    for _ in range(count):
        user = turns.next([name for name, left in waiting.items() if left])
        turns.charge(user)
        waiting[user] -= 1
        order.append(user)
    return order


def test_users_take_turns_however_much_each_wants() -> None:
    assert served(UserTurns(), {"a": 100, "b": 2, "c": 1}, 6) == ["a", "b", "c", "a", "b", "a"]


def test_a_new_user_waits_for_one_turn_and_not_for_all_the_others_had() -> None:
    turns = UserTurns()
    served(turns, {"a": 50}, 50)
    assert served(turns, {"a": 50, "b": 3}, 4) == ["a", "b", "a", "b"]


def test_who_was_away_has_no_turns_saved_up() -> None:
    turns = UserTurns()
    served(turns, {"a": 9, "b": 9}, 2)
    served(turns, {"a": 30}, 30)
    assert served(turns, {"b": 9, "a": 9}, 6).count("a") == 3


def test_a_large_turn_counts_for_as_much_as_several_small_ones() -> None:
    turns = UserTurns()
    turns.next(["a", "b"])
    turns.charge("a", 4)
    assert served(turns, {"a": 9, "b": 9}, 6) == ["b", "b", "b", "b", "a", "b"]


def test_who_always_waits_gets_turns_beside_those_who_come_again_and_again() -> None:
    turns = UserTurns()
    order = []
    away: list[str] = []
    for _ in range(60):
        # Of six users four wait: the one who was served comes back two turns later.
        waiting = [name for name in ("a", "b", "c", "d", "e", "f") if name not in away[-2:]]
        user = turns.next(["greedy", *waiting])
        turns.charge(user)
        order.append(user)
        away.append(user)
    assert {order.count(name) for name in ("greedy", "a", "b", "c", "d", "e", "f")} <= {8, 9}


def test_what_users_without_a_turn_were_given_is_kept_of_a_bounded_number() -> None:
    turns = UserTurns()
    for number in range(5000):
        served(turns, {f"user {number}": 1}, 1)
    assert len(turns.counts(["last"])) == 1
    assert len(turns._given) <= 1002
