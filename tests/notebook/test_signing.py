"""Files are signed for the user who wrote them."""

import json
import stat

import pytest

from mlx_notebook.notebook import signing


@pytest.fixture
def own_data(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_a_text_is_signed_as_long_as_nobody_changes_it(own_data):
    text = signing.signed('{\n "a": "é",\n "b": [1, 2]\n}\n')
    assert json.loads(text)["b"] == [1, 2]
    assert signing.is_signed(text)
    for changed in (
        text.replace("é", "e"), text.replace('"b"', '"signature": "x",\n "b"'), text + " ",
        text.replace("}\n", ', "c": 1}\n'), text[:-5], "", "{}", '{\n "signature": ""\n}\n',
    ):  # fmt: skip
        assert not signing.is_signed(changed)
    key = own_data / "mlx_notebook" / "file_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [file.name for file in key.parent.iterdir()] == ["file_key"]
    key.unlink()
    assert not signing.is_signed(text)


def test_without_a_place_for_the_key_files_are_written_unsigned(own_data):
    own_data.write_text("in the way")
    text = '{\n "a": 1\n}\n'
    with pytest.warns(UserWarning, match="not signed"):
        assert signing.signed(text) == text
    assert not signing.is_signed(text)
