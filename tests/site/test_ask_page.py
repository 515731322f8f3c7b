"""The page of a question of one's own, in a real browser: the answer and every turn, and no score anywhere."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from visenv.leaderboard import save_answer

from visenv import Expert, ExpertSet, ask
from visenv.experts import Points

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

PHOTO = np.full((300, 400, 3), 210, np.uint8)
PROBE = "<img src=x onerror='window.hurt=1'></script>\u202e\x1b[31m"


def call(name, **arguments):
    return {"name": name, "arguments": arguments}


def box(x1, y1, x2, y2, image="img_0", **more):
    return call("segment_box", image=image, x1=x1, y1=y1, x2=x2, y2=y2, **more)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def look(browser: Any, fakes: Any, tmp_path: Path) -> Iterator[Any]:
    """Ask, save, and open what was saved; at the end nothing may have gone wrong or been asked of anybody else."""
    said: list[str] = []
    asked_for: list[str] = []
    contexts = []
    blobs = fakes.BlobExpert()
    numbers = itertools.count()

    def make(*calls: Any, agent: Any = None, window: Any = None, **more: Any) -> Any:
        question = {
            "instruction": "the cup",
            "pictures": PHOTO,
            "experts": ExpertSet({"detect": blobs, "segment": blobs}),
        }
        question |= {"agent": agent or (lambda observation: calls[observation["turn"]])} | more
        found = ask(question.pop("pictures"), question.pop("instruction"), **question)
        page_file = save_answer(found, tmp_path / str(next(numbers)))["index.html"]
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | (window or {})))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked_for.append(request.url))
        page.goto(page_file.as_uri())
        page.wait_for_selector("main.replay .body")
        return page

    yield make
    for context in contexts:
        context.close()
    assert not [text for text in said if "willReadFrequently" not in text]
    assert asked_for and all(url.startswith(tmp_path.as_uri() + "/") for url in asked_for)


def test_it_opens_with_the_answer_and_says_nothing_of_scores(look):
    page = look(box(100, 100, 500, 500, label="cup"), call("submit"))
    text = page.inner_text("body")
    assert page.title() == "the cup \u2013 visenv ask" and page.inner_text("h1") == "the cup"
    assert page.inner_text("output.where") == "answer" and "1 object" in text
    assert [cell.inner_text() for cell in page.query_selector_all("tbody td")] == [
        "1",
        "cup",
        "40, 30, 200, 150",
        "19,200",
    ]
    for word in ("score", "truth", "reward", "verified", "report", "tasks", "attempts"):
        assert word not in text.lower(), word


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_every_screen(look, width, scheme):
    window = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    page = look(
        box(0, 0, 500, 500, label="a very long label " * 3), call("submit"), window=window, instruction="the cup " * 60
    )
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_mask_is_drawn_where_it_is(look):
    page = look(box(100, 100, 500, 500, label="cup"), call("submit"))
    drawn = page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas.marks"), context = canvas.getContext("2d");
          const at = (x, y) => context.getImageData(Math.round(x * canvas.width), Math.round(y * canvas.height), 1, 1).data[3];
          return [at(0.3, 0.3), at(0.45, 0.45), at(0.7, 0.7), at(0.05, 0.5)];
        }"""
    )
    assert drawn[0] > 0 and drawn[1] > 0 and drawn[2] == 0 and drawn[3] == 0


def test_every_turn_can_be_gone_back_to(look):
    page = look(
        box(100, 100, 500, 500, label="cup"), call("crop", image="img_0", x1=0, y1=0, x2=500, y2=500), call("submit")
    )
    turns = ["answer"]
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
        turns.append(page.inner_text("output.where"))
    assert turns == ["answer", "turn 3 of 3", "turn 2 of 3", "turn 1 of 3", "start"]
    page.keyboard.press("ArrowRight")
    text = page.inner_text("body")
    assert "segment_box" in text and "Objects, 1" in text and "score" in text, "the expert's, of the object"
    assert "reward" not in text and "truth" not in text.lower()
    again = page.url
    page.goto("about:blank")
    page.goto(again)
    page.wait_for_selector("main.replay .body")
    assert page.inner_text("output.where") == "turn 1 of 3"


def test_views_that_cannot_be_cut_out_are_there(look):
    large = np.random.default_rng(0).integers(0, 255, (200, 2600, 3), np.uint8)
    page = look(call("crop", image="img_0", x1=100, y1=0, x2=500, y2=1000), call("submit_none"), pictures=large)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    text = page.inner_text("body")
    assert "crop_1" in text and "not available" not in text and "redrawn" not in text


def test_results_that_no_record_holds_are_shown_as_they_were(look):
    class Pointer(Expert):
        name, version, capabilities = "pointer", "1", frozenset({"point"})

        def run(self, requests):
            return [Points(points_xy=np.array([[50.0, 60]]), scores=np.array([0.9])) for _ in requests]

    experts = ExpertSet({"point": Pointer()})
    page = look(call("point", images=["img_0"], phrase="cup"), call("submit_none"), experts=experts)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    text = page.inner_text("body")
    assert "turn 1 of 2" in text and "not shown" not in text and "not available" not in text


@pytest.mark.parametrize(
    ("calls", "more", "said"),
    [
        ([call("submit_none")], {}, "nothing matches"),
        ([call("submit_count", count=24)], {"answer": "count"}, "24"),
        ([call("submit_choice", choice="B")], {"answer": "choice", "options": ["one", "two"]}, "B. two"),
        ([call("detect", images=["img_0"], phrase="x")], {"max_turns": 1}, "ended: turn limit"),
        ([], {}, "IndexError"),
    ],
    ids=["none", "count", "choice", "turn limit", "failed"],
)
def test_every_outcome_is_said(look, calls, more, said):
    text = look(*calls, **more).inner_text("body")
    assert said in text and "score" not in text.lower() and "truth" not in text.lower()


def test_what_was_set_can_be_read(look):
    page = look(call("submit_none"), memory="window:k=2")
    page.click("details.settings summary")
    text = page.inner_text("details.settings")
    assert "window:k=2" in text and "blobs" in text and "turn limit" in text


def test_text_stays_text(look):
    calls = [
        box(0, 0, 500, 500, label=PROBE[:60]),
        PROBE,
        call("detect", images=["img_0"], phrase=PROBE[:60]),
        call("submit"),
    ]
    page = look(*calls, instruction=PROBE + "\nA. " + PROBE)
    for _ in range(5):
        assert page.evaluate("window.hurt === undefined") and not page.query_selector("main img[src='x']")
        page.keyboard.press("ArrowLeft")


def test_a_page_of_many_objects_shows_them_in_part(look):
    calls = [
        call("draw_box", image="img_0", x1=x, y1=y, x2=x + 30, y2=y + 30)
        for x in range(0, 960, 60)
        for y in range(0, 960, 60)
    ]
    page = look(*calls, call("submit"), answer="boxes", max_turns=300)
    assert page.inner_text(".told .big") == "256 objects" and "and 56 more" in page.inner_text("body")
