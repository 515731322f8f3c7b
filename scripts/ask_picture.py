"""Draw the picture of docs/ask.md: the page of a question about a cup, and coins that a function found.

Needs playwright and scikit-image (extra `dev`), for its photos, and a Chromium.

python scripts/ask_picture.py --out docs/images/ask.jpg
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright
from skimage import data
from visenv.leaderboard import save_answer

import visenv

SIZE_WH = 1180, 760
SCALE = 0.62
GAP_PX = 16
PAPER = (228, 226, 221)
AROUND_CUP = {"x1": 285, "y1": 40, "x2": 700, "y2": 640}
CLICKS = ((433, 172), (483, 370), (478, 550))
RIM_PX = 6


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def click_cup(observation: dict[str, Any]) -> dict[str, Any]:
    """A box around the cup, clicks, done."""
    clicks = [call("refine", object=0, image="img_0", x=x, y=y, sign="positive") for x, y in CLICKS]
    calls = [call("segment_box", image="img_0", label="cup", **AROUND_CUP), *clicks, call("submit")]
    return calls[observation["turn"]]


class BrightThings:
    """Puts a box around everything that is brighter than what surrounds it, and has each segmented."""

    name = "bright-things"

    def start(self, spec: visenv.EpisodeSpec) -> BrightThings:
        """Play the next episode."""
        self._calls: Iterator[dict[str, Any]] | None = None
        return self

    def act(self, observation: dict[str, Any]) -> dict[str, Any]:
        """Return the next call."""
        if self._calls is None:
            self._calls = self._look(observation["images"][0])
        return next(self._calls)

    def _look(self, pixels: np.ndarray) -> Iterator[dict[str, Any]]:
        grey = cv2.medianBlur(pixels[..., 0], 7)
        bright = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 101, -15)
        bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
        height, width = grey.shape
        for x, y, wide, high, area in cv2.connectedComponentsWithStats(bright)[2][1:].tolist():
            if area > 300:
                corners = np.array([x - RIM_PX, y - RIM_PX, x + wide + RIM_PX, y + high + RIM_PX])
                places = np.clip(corners * 1000 // np.array([width, height, width, height]), 0, 1000).tolist()
                yield call(
                    "segment_box",
                    image="img_0",
                    label="coin",
                    **dict(zip(("x1", "y1", "x2", "y2"), places, strict=True)),
                )
        yield call("submit")


def photograph(page_file: Path) -> Image.Image:
    """Return a page as a browser shows it."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": SIZE_WH[0], "height": SIZE_WH[1]}, device_scale_factor=1.5)
        page.goto(page_file.resolve().as_uri())
        page.wait_for_timeout(800)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        browser.close()
    return shot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    cup = visenv.ask(data.coffee(), "the cup", agent=click_cup)
    coins = visenv.ask(data.coins(), "the coins", agent=BrightThings(), max_turns=40)
    print(cup, coins, sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        shot = photograph(save_answer(cup, Path(folder) / "cup")["index.html"])
    width, height = (round(side * SCALE) for side in SIZE_WH)
    beside = Image.fromarray(coins.overlay().pixels)
    beside = beside.resize((round(beside.width * height / beside.height), height), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (width + beside.width + 3 * GAP_PX, height + 2 * GAP_PX), PAPER)
    sheet.paste(shot.resize((width, height), Image.Resampling.LANCZOS), (GAP_PX, GAP_PX))
    sheet.paste(beside, (width + 2 * GAP_PX, GAP_PX))
    sheet.save(chosen.out, quality=88, optimize=True)


if __name__ == "__main__":
    main()
