"""The README stays short, its links and images are there, and each command stands on one line."""

import re

import pytest

from tests.docs.blocks import ROOT, blocks

README = (ROOT / "README.md").read_text()
LINES = 120
IMAGE_BYTES = 150_000


def test_it_is_read_in_two_minutes():
    assert len(README.splitlines()) <= LINES


def test_its_links_lead_to_files_of_the_repository():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []


def test_its_images_are_small_and_described():
    images = re.findall(r"<img ([^>]+)>", README)
    assert images
    for image in images:
        source = re.search(r'src="([^"]+)"', image)
        assert source
        assert (ROOT / source[1]).stat().st_size <= IMAGE_BYTES
        assert re.search(r'alt="[^"]{20,}"', image)


# `.ci/run` takes the second one from here.
@pytest.mark.parametrize("title", ["Try it", "Test it"])
def test_the_two_commands_are_one_line_each(title):
    section = README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (block,) = [block for block in blocks(section) if block.language == "bash"]
    assert len(block.code.splitlines()) == 1
