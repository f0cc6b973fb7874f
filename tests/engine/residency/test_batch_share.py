"""The rows of a batch are shared by user."""

from collections import Counter

from mlx_notebook.engine.residency.batch_share import BatchShare


class Batch:
    """A batch of rows that a test fills and empties."""

    def __init__(self, most: int):
        self.most = most
        self.rows = Counter[str]()
        self.waiting: list[tuple[str, int]] = []
        self._share = BatchShare()

    def join(self) -> str:
        """Let all join that may; return their users, in order."""
        order = ""
        while sum(self.rows.values()) < self.most:
            index = self._share.next(self.waiting, self.rows, self.most)
            if index is None:
                break
            user, rows = self.waiting.pop(index)
            self.rows[user] += rows
            order += user
        return order

    def end(self, user: str) -> None:
        self.rows[user] -= 1


def test_one_row_stays_free_for_a_user_who_has_none() -> None:
    batch = Batch(4)
    batch.waiting = [("a", 1)] * 100
    assert batch.join() == "aaa"
    batch.waiting.append(("b", 1))
    assert batch.join() == "b"


def test_the_next_free_row_is_for_the_user_with_the_fewest() -> None:
    batch = Batch(4)
    batch.waiting = [("a", 1)] * 100
    batch.join()
    batch.waiting += [("b", 1)] * 3 + [("c", 1)]
    assert batch.join() == "b"
    batch.end("a")
    assert batch.join() == "c"
    batch.end("b")
    assert batch.join() == "b"
    batch.end("c")
    assert batch.join() == "b"
    batch.end("b")
    batch.end("b")
    assert batch.join() == "a"  # one row stays free


def test_users_with_as_many_rows_take_turns() -> None:
    batch = Batch(1)
    batch.waiting = [("a", 1)] * 5 + [("b", 1)] * 2
    order = ""
    for _ in range(6):
        user = batch.join()
        order += user
        batch.end(user)
    assert order == "abab" + "aa"


def test_an_answer_of_several_rows_counts_for_all_of_them() -> None:
    batch = Batch(16)
    batch.waiting = [("a", 6), ("a", 1), ("b", 1), ("b", 1), ("b", 1)]
    assert batch.join() == "abbba"


def test_the_one_user_without_a_name_has_all_rows_in_the_order_of_the_requests() -> None:
    batch = Batch(3)
    batch.waiting = [("", 1), ("", 2), ("", 1)]
    assert batch.join() == ""
    assert batch.waiting == [("", 1)]


def test_a_request_for_more_rows_than_there_are_joins_when_its_user_has_none() -> None:
    batch = Batch(2)
    batch.waiting = [("a", 8), ("a", 1)]
    assert batch.join() == "a"
    assert batch.waiting == [("a", 1)]
