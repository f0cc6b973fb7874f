"""Rows join, decode, fork and leave; prompts are computed in chunks and in padded groups."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

from mlx_notebook.engine.batching.batch_row import NewToken, PromptProgress, split_last
from mlx_notebook.engine.batching.prefill_policy import PrefillLimits, PrefillPolicy, PrefillSpeed
from mlx_notebook.engine.batching.row_generator import RowGenerator, place_in_turn
from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.protocol import URGENT_ROWS
from tests.tiny_models.models import qwen3

PROMPTS = [list(range(5, 45)), list(range(60, 75)), [7, 8] * 30, [9, 10, 11]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    loaded, _ = load_model(qwen3(tmp_path_factory.mktemp("rows") / "m"))
    return loaded


@pytest.fixture
def make(model: Any) -> Callable[..., RowGenerator]:
    def made(max_rows: int = 8, **limits: Any) -> RowGenerator:
        policy = PrefillPolicy(PrefillLimits(**limits), PrefillSpeed(1e6))
        return RowGenerator(model, policy, max_rows, lambda: make_prompt_cache(model))

    return made


def insert(generator: RowGenerator, prompt: list[int], count: int = 6, **options: Any) -> int:
    cache = options.pop("cache", None) or generator._empty_cache()
    return generator.insert(
        options.pop("segments", [prompt]),
        options.pop("settings", Row()),
        cache=cache,
        tokens=options.pop("tokens", []),
        max_tokens=count,
        ends=options.pop("ends", ()),
        user=options.pop("user", ""),
        urgent=options.pop("urgent", False),
        patient=options.pop("patient", False),
    )


def run(generator: RowGenerator) -> tuple[dict[int, list[int]], list[PromptProgress]]:
    found: dict[int, list[int]] = {}
    reports: list[PromptProgress] = []
    while len(generator):
        progress, new = generator.next()
        reports.extend(progress)
        for token in new:
            found.setdefault(token.uid, []).append(token.token)
    return found, reports


def greedy(model: Any, prompt: list[int], count: int = 6) -> list[int]:
    cache, inputs, found = make_prompt_cache(model), prompt, []
    for _ in range(count):
        inputs = [int(mx.argmax(model(mx.array([inputs]), cache=cache)[0, -1]).item())]
        found.extend(inputs)
    return found


@pytest.mark.parametrize("limits", [{}, {"chunk": 16}, {"rounding": True}, {"rows": 1}])
def test_each_row_gets_the_tokens_that_it_gets_alone(
    model: Any, make: Callable[..., RowGenerator], limits: dict[str, Any]
) -> None:
    generator = make(**limits)
    uids = [insert(generator, prompt) for prompt in PROMPTS]
    found, reports = run(generator)
    assert [found[uid] for uid in uids] == [greedy(model, prompt) for prompt in PROMPTS]
    for uid, prompt in zip(uids, PROMPTS, strict=True):
        done = [report.done for report in reports if report.uid == uid]
        assert done[-1] == len(prompt)
        assert done == sorted(done)
        assert [report.end_of_prompt for report in reports if report.uid == uid][-1]


def test_rows_join_and_leave_while_others_decode(
    model: Any, make: Callable[..., RowGenerator]
) -> None:
    generator = make(max_rows=2)
    wanted = {insert(generator, prompt, 3 + i): (prompt, 3 + i) for i, prompt in enumerate(PROMPTS)}
    generator.next()
    late = insert(generator, [50, 51, 52], 4)
    wanted[late] = ([50, 51, 52], 4)
    found, _ = run(generator)
    assert found == {uid: greedy(model, *asked) for uid, asked in wanted.items()}


def test_a_row_is_forked_after_its_prompt(model: Any, make: Callable[..., RowGenerator]) -> None:
    generator = make()
    uid = insert(generator, PROMPTS[0])
    sibling = None
    found: dict[int, list[int]] = {}
    while len(generator):
        progress, new = generator.next()
        if any(report.end_of_prompt and report.uid == uid for report in progress):
            sibling = generator.fork(uid, Row(), 3, ())
        for token in new:
            found.setdefault(token.uid, []).append(token.token)
    assert sibling is not None
    wanted = greedy(model, PROMPTS[0])
    assert (found[uid], found[sibling]) == (wanted, wanted[:3])


def test_the_last_token_of_a_row_comes_with_its_kv_cache(
    model: Any, make: Callable[..., RowGenerator]
) -> None:
    generator = make()
    for prompt in PROMPTS[:2]:
        insert(generator, prompt, 5)
    last: list[NewToken] = []
    while len(generator):
        last.extend(token for token in generator.next()[1] if token.finish)
    for token, prompt in zip(sorted(last, key=lambda token: token.uid), PROMPTS, strict=False):
        assert token.finish == "length"
        assert token.all_tokens == prompt + greedy(model, prompt, 5)
        assert all(layer.offset == len(token.all_tokens) for layer in token.cache)
        again = insert(generator, [], 4, segments=[[3]], cache=token.cache, tokens=token.all_tokens)
        assert run(generator)[0][again] == greedy(model, [*token.all_tokens, 3], 4)


def test_rows_are_removed_at_every_stage(model: Any, make: Callable[..., RowGenerator]) -> None:
    generator = make(max_rows=3, chunk=16)
    first, second, third, waiting = (insert(generator, prompt, 20) for prompt in PROMPTS)
    for _ in range(3):
        generator.next()
    generator.remove([third, waiting])
    assert len(generator) == 2
    cache, tokens = generator.extract(first)
    assert all(layer.offset == len(tokens) for layer in cache)
    generator.remove([first])
    found, _ = run(generator)
    assert set(found) == {second}
    with pytest.raises(KeyError):
        generator.extract(first)


def test_an_end_token_ends_a_row(model: Any, make: Callable[..., RowGenerator]) -> None:
    wanted = greedy(model, PROMPTS[1])
    generator = make()
    uid = insert(generator, PROMPTS[1], ends=[wanted[2]])
    assert run(generator)[0][uid] == wanted[: wanted.index(wanted[2]) + 1]


def test_segments_end_where_they_should(make: Callable[..., RowGenerator]) -> None:
    generator = make()
    uid = insert(generator, [], segments=[[5] * 10, [6] * 20, [7, 8]])
    _, reports = run(generator)
    ends = [report.done for report in reports if report.uid == uid and report.end_of_segment]
    assert ends == [10, 30, 31]
    assert split_last([[1, 2], [], [3]]) == [[1, 2], [3]]
    with pytest.raises(ValueError, match="empty"):
        split_last([[]])


def test_warming_up_changes_nothing(model: Any, make: Callable[..., RowGenerator]) -> None:
    assert list(make().warm_up()) == []
    generator = make(rounding=True)
    assert len(list(generator.warm_up())) > 10
    uid = insert(generator, PROMPTS[0])
    assert run(generator)[0][uid] == greedy(model, PROMPTS[0])


@pytest.mark.parametrize(
    ("arrivals", "order"),
    [("aaab", "abaa"), ("aabbcc", "abcabc"), ("aaabcb", "abcaba"), ("abab", "abab")],
)
def test_the_prompts_of_users_wait_in_turn(arrivals: str, order: str) -> None:
    waiting: list[str] = []
    for user in arrivals:
        waiting.insert(place_in_turn(waiting, user), user)
    assert "".join(waiting) == order


def test_a_prompt_of_another_user_begins_before_the_second_one_of_the_first(
    make: Callable[..., RowGenerator],
) -> None:
    generator = make(max_rows=4, rows=1, chunk=16)
    first, second, other = (insert(generator, PROMPTS[0], user=user) for user in ("a", "a", "b"))
    _, reports = run(generator)
    ends = [report.uid for report in reports if report.end_of_prompt]
    assert ends == [first, other, second]


def test_an_urgent_row_begins_before_those_that_wait_and_beside_a_full_batch(
    make: Callable[..., RowGenerator], model: Any
) -> None:
    generator = make(max_rows=2)
    long = [insert(generator, PROMPTS[0], 40) for _ in range(3)]
    generator.next()
    urgent = insert(generator, PROMPTS[1], 3, urgent=True)
    found: dict[int, list[int]] = {}
    while urgent not in found or len(found[urgent]) < 3:
        for token in generator.next()[1]:
            found.setdefault(token.uid, []).append(token.token)
    assert found[urgent] == greedy(model, PROMPTS[1], 3)
    assert long[2] not in found
    assert all(len(found[uid]) < 40 for uid in long[:2])
    found, _ = run(generator)
    assert len(found[long[2]]) == 40


def test_urgent_rows_have_few_rows_of_their_own(make: Callable[..., RowGenerator]) -> None:
    generator = make(max_rows=1)
    insert(generator, PROMPTS[0], 40)
    generator.next()
    for _ in range(4):
        insert(generator, PROMPTS[3], 40, urgent=True)
    for _ in range(6):
        generator.next()
    assert len(generator._batch) == 1 + URGENT_ROWS
    run(generator)


def test_an_urgent_prompt_goes_before_a_long_one_that_has_begun(
    make: Callable[..., RowGenerator],
) -> None:
    generator = make(chunk=16)
    long = insert(generator, [5] * 200)
    generator.next()
    urgent = insert(generator, [6] * 100, urgent=True)
    reports: list[PromptProgress] = []
    while not any(report.uid == urgent and report.end_of_prompt for report in reports):
        reports += generator.next()[0]
    assert {report.uid for report in reports} == {urgent}
    assert long in generator


def test_a_batch_of_patient_rows_rests_while_another_prompt_is_computed(
    make: Callable[..., RowGenerator], model: Any
) -> None:
    generator = make(max_rows=2, chunk=16)
    patient = [insert(generator, PROMPTS[0], 40, patient=True) for _ in range(2)]
    for _ in range(4):
        generator.next()
    # One is in the batch: they have half of the rows.
    assert len(generator._batch) == 1
    others = [insert(generator, [6] * 100, 3) for _ in range(2)]
    reports: list[PromptProgress] = []
    while sum(report.end_of_prompt for report in reports) < 2:
        progress, tokens = generator.next()
        reports += progress
        assert not [t for t in tokens if t.uid in patient] or len(generator._batch) > 1
    assert {report.uid for report in reports} == set(others)
    found, _ = run(generator)
    assert found[others[0]] == greedy(model, [6] * 100, 3)
    assert len(found[patient[1]]) == 40


def test_any_prompt_goes_before_a_patient_one_that_has_begun(
    make: Callable[..., RowGenerator],
) -> None:
    generator = make(chunk=16)
    patient = insert(generator, [5] * 200, patient=True)
    generator.next()
    other = insert(generator, [6] * 100)
    reports: list[PromptProgress] = []
    while not any(report.uid == other and report.end_of_prompt for report in reports):
        reports += generator.next()[0]
    assert {report.uid for report in reports} == {other}
    found, _ = run(generator)
    assert len(found[patient]) == 6


@pytest.mark.parametrize(("before", "decodes"), [(1, False), (16, False), (17, True)])
def test_only_rows_that_have_just_begun_wait_for_a_prompt(
    make: Callable[..., RowGenerator], before: int, decodes: bool
) -> None:
    generator = make(chunk=16)
    first = insert(generator, PROMPTS[3], 30)
    tokens = 0
    while tokens < before:
        tokens += len(generator.next()[1])
    second = insert(generator, [6] * 100, 1)
    new: list[NewToken] = []
    ended = False
    while not ended:
        progress, more = generator.next()
        new += more
        ended = any(report.end_of_prompt for report in progress)
    # The prompt has seven chunks; before each, a running row decodes.
    assert [token.uid for token in new] == ([first] * 7 if decodes else [])
    found, _ = run(generator)
    assert (len(found[first]), len(found[second])) == (30 - before - len(new), 1)


def test_rows_of_a_burst_get_their_first_token_before_the_next_prompts(
    make: Callable[..., RowGenerator],
) -> None:
    generator = make(rows=1)
    uids = [insert(generator, prompt, 4) for prompt in PROMPTS[:3]]
    events: list[tuple[str, int]] = []
    while len(generator):
        progress, new = generator.next()
        events += [("token", token.uid) for token in new]
        events += [("prompt", report.uid) for report in progress if report.end_of_prompt]
    first = [events.index(("token", uid)) for uid in uids]
    computed = [events.index(("prompt", uid)) for uid in uids]
    assert computed[0] < first[0] < computed[1] < first[1] < computed[2] < first[2]


def test_a_burst_of_patient_rows_waits_for_a_prompt_that_is_not(
    make: Callable[..., RowGenerator],
) -> None:
    generator = make()
    patient = insert(generator, PROMPTS[0], patient=True)
    while generator.computing or not len(generator._batch):
        generator.next()
    other = insert(generator, PROMPTS[1])
    found, _ = run(generator)
    assert (len(found[patient]), len(found[other])) == (6, 6)


def test_an_urgent_row_waits_for_no_burst(make: Callable[..., RowGenerator]) -> None:
    generator = make(chunk=16)
    urgent = insert(generator, PROMPTS[3], 30, urgent=True)
    while not generator.next()[1]:
        pass
    insert(generator, [6] * 100, 1)
    assert [token.uid for token in generator.next()[1]] == [urgent]


def test_chunks_are_short_while_somebody_types(make: Callable[..., RowGenerator]) -> None:
    def fed(generator: RowGenerator) -> int:
        uid = insert(generator, [5] * 2000)
        return max(report.done for report in generator.next()[0] if report.uid == uid)

    calm, typing = make(), make()
    for generator in (calm, typing):
        generator._policy.speed = PrefillSpeed(1000)
    run_one = insert(typing, PROMPTS[3], 1, urgent=True)
    while run_one in typing:
        typing.next()
    assert fed(calm) == 1000
    assert fed(typing) == 100
