from mlx_notebook.engine.kv_cache.disk.block_names import BLOCK, block_names


def test_sequences_with_the_same_beginning_have_the_same_first_names() -> None:
    one = block_names("model", list(range(3 * BLOCK)))
    other = block_names("model", [*range(2 * BLOCK), *range(7, 7 + BLOCK)])
    assert len(set(one)) == 3
    assert one[:2] == other[:2]
    assert one[2] != other[2]


def test_a_block_that_is_not_whole_has_no_name() -> None:
    assert block_names("model", list(range(BLOCK - 1))) == []
    assert len(block_names("model", list(range(2 * BLOCK - 1)))) == 1


def test_the_model_the_salt_and_all_tokens_before_are_in_the_name() -> None:
    tokens = list(range(2 * BLOCK))
    names = [
        block_names(identity, asked, salt)[1]
        for identity, asked, salt in [
            ("model", tokens, ""),
            ("another", tokens, ""),
            ("model", tokens, "ann"),
            ("model", tokens, "bob"),
            ("mode", tokens, "l"),
            ("model", [1, *tokens[1:]], ""),
            ("model", [*tokens[:-1], 1], ""),
        ]
    ]
    assert len(set(names)) == len(names)


def test_any_whole_numbers_may_be_tokens() -> None:
    large = [2**200, -1, *range(BLOCK - 2)]
    assert block_names("model", large) != block_names("model", [2**201, *large[1:]])
    assert block_names("model", large) == block_names("model", list(large))
