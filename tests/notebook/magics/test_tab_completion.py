import pytest

SETUP = """
from dataclasses import dataclass
from PIL import Image

@dataclass
class City:
    name: str

def weather(city: str) -> str:
    "Tell the weather."
    return city

def weekday() -> str:
    "Tell the day."
    return "Monday"

photo, photos_of_paris, readings = Image.new("RGB", (4, 4)), 3, [1, 2]
"""


@pytest.fixture(scope="module")
def prepared(kernel):
    kernel.run(SETUP)
    kernel.run("%%chat --thread poems --max-tokens 1\nHello")
    kernel.run("import pathlib; pathlib.Path('plots').mkdir(exist_ok=True)")
    kernel.run("Image.new('RGB', (4, 4)).save('plots/first.png'); open('plots/data.csv', 'w')")
    return kernel


@pytest.mark.parametrize(
    ("code", "offered"),
    [
        ("%%chat --max", ["--max-tokens"]),
        ("%%chat --thr", ["--thread"]),
        ("%%chat -m tiny-c", ["tiny-chat"]),
        ("%%chat --model=tiny-v", ["tiny-vision"]),
        ("%%chat --tools wea", ["weather"]),
        ("%%chat --tools weather,wee", ["weekday"]),
        ("%%chat --tools weather, wee", ["weekday"]),
        ("%%chat --image pho", ["photo"]),
        ("%%chat --image plots/", ["plots/first.png"]),
        ("%%chat --thread p", ["poems"]),
        ("%%chat --schema C", ["City"]),
        ("  %chat -t 0 --se", ["--seed"]),
        ("%%map read", ["readings"]),
        ("%%map readings --ca", ["--cache"]),
        ("%%map readings --schema C", ["City"]),
        ("%%map readings --no-cache -m tiny-c", ["tiny-chat"]),
        ("%mlx rep", ["replay"]),
        ("%mlx load tiny-ch", ["tiny-chat"]),
        ("%mlx replay --s", ["--speed"]),
    ],
)
def test_only_what_fits_is_offered(prepared, code, offered):
    assert prepared.complete(code) == offered


def test_after_the_magic_all_options_are_offered_and_nothing_else(prepared):
    offered = prepared.complete("%%chat --")
    assert {"--model", "--tools", "--image", "--no-think", "--code"} <= set(offered)
    assert all(name.startswith("--") for name in offered)
    assert prepared.complete("%%chat ") == offered


def test_models_come_first_after_load_and_those_on_this_machine_before_others(prepared):
    offered = prepared.complete("%mlx load ")
    assert offered.index("tiny-chat") < offered.index("mlx-community/Qwen3-4B-4bit")
    assert offered[-2:] == ["--pin", "--adapter"]


def test_what_is_offered_comes_with_a_few_words_of_help(prepared):
    reply = prepared.client.complete("%%chat --see", reply=True, timeout=60)
    (item,) = reply["content"]["metadata"]["_jupyter_types_experimental"]
    assert (item["text"], item["type"]) == ("--seed", "makes a random answer repeatable")


def test_the_prompt_below_is_left_to_python(prepared):
    assert "photo" in prepared.complete("%%chat --json\nDescribe {{ pho")
    assert "--json" not in prepared.complete("%%chat\n--js")
