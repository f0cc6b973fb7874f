"""The header of a GGUF file is read within bounds: anyone may have made the file."""

import logging
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlx_notebook.model_files.footprint import read_sizes
from mlx_notebook.model_files.gguf.gguf_facts import read_facts
from mlx_notebook.model_files.gguf.gguf_header import (
    GgufList,
    contains_text,
    read_header,
    read_range,
    read_values,
)
from tests.tiny_models.gguf_models import QWEN3, gguf_and_folder

LOG = logging.getLogger("test")
U32, TEXT, LIST = 4, 8, 9


def text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


def header(*parts: bytes, tensors: int = 0, entries: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + b"".join(parts)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_and_folder(tmp_path_factory.mktemp("gguf"), QWEN3, "Q4_0")[0]


def test_metadata_and_tensors_are_found(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    names = struct.pack("<IQ", TEXT, 2) + text("one") + text("zwei")
    numbers = struct.pack("<IQ3I", U32, 3, 7, 8, 9)
    content = header(
        entry("a.text", TEXT, text("\u00e4")),
        entry("a.number", U32, struct.pack("<I", 5)),
        entry("a.names", LIST, names),
        entry("a.numbers", LIST, numbers),
        tensor("t", (4, 2), 0, offset=64),
        tensors=1,
        entries=4,
    )
    begin = -(-len(content) // 32) * 32
    file.write_bytes(content.ljust(begin + 96, b"\0"))
    found = read_header(file)
    assert found.metadata["a.text"] == "\u00e4"
    assert found.metadata["a.number"] == 5
    place = found.metadata["a.names"]
    assert isinstance(place, GgufList)
    assert read_values(file, place) == ["one", "zwei"]
    assert contains_text(read_range(file, place.offset, place.size), "zwei")
    assert not contains_text(read_range(file, place.offset, place.size), "zwe")
    assert read_values(file, found.metadata["a.numbers"]) == [7, 8, 9]
    (only,) = found.tensors
    assert (only.name, only.shape, only.kind) == ("t", (2, 4), "F32")
    assert (only.offset, only.size) == (begin + 64, 32)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no GGUF file"),
        (b"GGU", "no GGUF file"),
        (b"GGML" + bytes(60), "no GGUF file"),
        (b"GGUF", "cut off"),
        (header(version=1), "version 1"),
        (header(entries=2**60), "entries"),
        (header(tensors=2**60), "entries"),
        (header(struct.pack("<Q", 2**63), entries=1), "a text of"),
        (header(entry("k", TEXT, struct.pack("<Q", 2**40)), entries=1), "a text of"),
        (header(entry("k", TEXT, struct.pack("<Q", 2**20)), entries=1), "cut off"),
        (header(entry("k", 99, b""), entries=1), "type 99"),
        (header(entry("k", LIST, struct.pack("<IQ", U32, 2**62)), entries=1), "larger than any"),
        (header(entry("k", LIST, struct.pack("<IQ", TEXT, 2**40)), entries=1), "a list of"),
        (header(entry("k", LIST, struct.pack("<IQ", LIST, 1)), entries=1), "a list of"),
        (header(entry("general.alignment", U32, bytes(4)), entries=1), "alignment"),
        (header(tensor("t", (), 0), tensors=1), "0 dimensions"),
        (header(tensor("t", (1,) * 9, 0), tensors=1), "9 dimensions"),
        (header(tensor("t", (31,), 2), tensors=1), "whole blocks"),
        (header(tensor("t", (0, 4), 0), tensors=1), "whole blocks"),
        (header(tensor("t", (4,), 77), tensors=1), "unknown type"),
        (header(tensor("t", (2**40, 2**40), 0), tensors=1), "cut off"),
        (header(tensor("t", (4,), 0, 2**63), tensors=1), "cut off"),
        (header(*[tensor("t", (1,), 0)] * 2, tensors=2) + bytes(64), "two tensors"),
    ],
)
def test_a_damaged_file_is_told_in_a_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.gguf"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_header(file)
    facts = read_facts(file, LOG)
    assert facts.error is not None
    assert words in facts.error


def test_a_list_of_texts_that_never_ends_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bad.gguf"
    file.write_bytes(
        header(entry("k", LIST, struct.pack("<IQ", TEXT, 2**21)), entries=1) + bytes(8)
    )
    with pytest.raises(ValueError, match="cut off"):
        read_header(file)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cut=st.floats(0, 1), place=st.floats(0, 1), byte=st.integers(0, 255))
def test_no_change_of_a_byte_and_no_cut_is_more_than_an_error(
    good: Path, tmp_path: Path, cut: float, place: float, byte: int
) -> None:
    """A changed file is read, or refused with a `ValueError`; nothing else happens."""
    content = bytearray(good.read_bytes())
    head = 6000  # the header and a little of the weights
    content[int(place * head)] = byte
    file = tmp_path / "changed.gguf"
    for changed in (content, content[: int(cut * len(content))]):
        file.write_bytes(changed)
        facts = read_facts(file, LOG)
        try:
            read_sizes("changed", file)
        except ValueError:
            assert facts.error is not None


def test_a_file_that_shrinks_while_it_is_read_is_an_error(good: Path, tmp_path: Path) -> None:
    file = tmp_path / "shrinks.gguf"
    file.write_bytes(good.read_bytes())
    last = read_header(file).tensors[-1]
    file.write_bytes(good.read_bytes()[:-8])
    with pytest.raises(ValueError, match="has changed"):
        read_range(file, last.offset, last.size)
