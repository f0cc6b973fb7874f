from mlx_notebook.engine.kv_cache.disk.seen_blocks import SeenBlocks


def test_what_two_prompts_share_returns() -> None:
    seen = SeenBlocks()
    seen.add_prompt(["a", "b", "c"])
    assert seen.returned(["a", "b", "c"]) == 0
    seen.add_prompt(["a", "b", "x"])
    assert seen.returned(["a", "b", "c"]) == 2
    assert seen.returned(["a", "b", "x", "y"]) == 2


def test_an_answer_returns_with_the_prompt_of_the_next_turn() -> None:
    seen = SeenBlocks()
    seen.add_prompt(["a"])
    seen.add_sequence(["a", "answer"])
    assert seen.returned(["a", "answer"]) == 0
    seen.add_prompt(["a", "answer", "next"])
    assert seen.returned(["a", "answer", "next"]) == 2


def test_several_sequences_of_one_prompt_do_not_make_it_return() -> None:
    seen = SeenBlocks()
    seen.add_prompt(["a", "b"])
    for answer in "xyz":
        seen.add_sequence(["a", "b", answer])
    assert seen.returned(["a", "b", "x"]) == 0


def test_what_returned_once_is_known_to_return() -> None:
    seen = SeenBlocks()
    seen.add_prompt(["a"])
    seen.add_prompt(["a"])
    seen.add_sequence(["a", "b"])
    assert seen.returned(["a", "b"]) == 1


def test_the_least_recently_seen_is_forgotten_and_the_end_before_the_beginning() -> None:
    seen = SeenBlocks(4)
    seen.add_prompt(["a", "b", "c"])
    seen.add_prompt(["x", "y"])
    seen.add_prompt(["a", "b", "c"])
    assert seen.returned(["a", "b", "c"]) == 2
