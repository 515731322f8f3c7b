"""The page about experts: its code runs, its expert is one, and what it lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from visenv import Image, plugins
from visenv.experts import DetectRequest, Upscaled
from visenv.experts._spec import WORDS

PAGE = (Path(__file__).parents[2] / "docs/experts.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_expert_is_short_passes_the_checks_and_plays():
    names: dict = {}
    body = BLOCKS[0][BLOCKS[0].index("class ") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 22
    for block in BLOCKS[:2]:
        exec(compile(block, "docs/experts.md", "exec"), names)  # our own text
    pixels = np.full((40, 60, 3), 255, np.uint8)
    pixels[5:15, 10:30] = (220, 40, 40)
    (found,) = names["ColourFinder"]().run([DetectRequest(image=Image(pixels), phrase="the red box")])
    assert found.boxes_xyxy.tolist() == [[10, 5, 30, 15]] and found.labels == ("red",)
    names["env"].reset(seed=0)
    _, _, _, _, info = names["env"].step({"name": "detect", "arguments": {"images": ["img_0"], "phrase": "red"}})
    assert "reason" not in info or info["reason"] is None
    names["env"].close()


def test_the_batcher_runs_as_written():
    names: dict = {"pixels": np.zeros((4, 5, 3), np.uint8)}
    exec(compile(BLOCKS[2], "docs/experts.md", "exec"), names)
    assert isinstance(names["answer"], Upscaled) and names["answer"].image.size_wh == (10, 8)


def test_every_expert_is_listed_and_has_a_page():
    listed = dict(re.findall(r"^\| \[`([\w-]+)`\]\(([\w/.]+)\)", PAGE, re.MULTILINE))
    assert sorted(listed) == plugins.names("experts")
    for page in listed.values():
        assert (Path(__file__).parents[2] / "docs" / page).is_file(), page


def test_no_option_of_an_expert_begins_a_part_of_the_command_line():
    for name in plugins.names("experts"):
        taken = set(plugins.option_names("experts", plugins.load("experts", name))) & set(WORDS)
        assert not taken, f"{name}: {taken}"
    for word in WORDS:
        assert f"`{word}`" in PAGE
