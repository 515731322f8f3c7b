"""The site in a real browser, from disk: nothing from elsewhere, masks where they are, and text that stays text."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from visenv.leaderboard import latest, read_records
from visenv.leaderboard.site import build_site

from visenv.images import decode_image
from visenv.masks import Mask
from visenv.tools import Toolset
from visenv.toolsets import ZOOM
from visenv.toolsets.full import segment_box

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


class Tab:
    """A page of a site, with everything that it said and asked for."""

    def __init__(self, page: Any, site: Path) -> None:
        self.page, self.site = page, site
        self.said: list[str] = []
        self.asked: list[str] = []
        self.dialogs: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    def go(self, place: str, wait: str) -> Any:
        self.page.goto((self.site / "index.html").as_uri() + place)
        self.page.wait_for_selector(wait)
        return self.page

    def fine(self) -> None:
        """Nothing went wrong, and nothing but the site's own files was asked for."""
        ours = [
            text for text in self.said if "willReadFrequently" not in text
        ]  # about the tests' own reading of pixels
        assert not ours and not self.dialogs
        assert self.asked and all(url.startswith(self.site.as_uri() + "/") for url in self.asked)

    def fits(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.fixture
def open_site(browser: Any) -> Iterator[Any]:
    contexts = []

    def make(site: Path, **options: Any) -> Tab:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        context.set_default_timeout(10_000)
        contexts.append(context)
        return Tab(context.new_page(), site)

    yield make
    for context in contexts:
        context.close()


def until(page: Any, condition: str) -> None:
    """Wait for an expression; Playwright's own way needs `eval`, which the pages forbid."""
    end = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(30)


def episode(agent: str, index: int, turn: int | str, run: str = "small") -> str:
    return f"#/episode/{quote(run, safe='')}/Blobs~0.1.0~val~1~{index}~{quote(agent, safe='')}/{turn}"


@pytest.fixture(scope="module")
def record_of(run: Path) -> Any:
    """A record of the small run by agent; ``stored`` says whether its crop is a picture of the run."""
    records = latest(read_records(run)).values()

    def find(agent: str, *, stored: bool = True) -> Any:
        return next(
            r for r in records
            if r.agent == agent and r.images and bool(list(r.images.values())[min(1, len(r.images) - 1)].file) is stored
        )  # fmt: skip

    return find


# The pages


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_every_page_opens_from_disk(open_site, site, record_of, width, scheme):
    tab = open_site(site, viewport={"width": width, "height": 900}, color_scheme=scheme)
    index = record_of("blob-finder").index
    for place, wait in (
        ("#/", ".block tbody tr"), ("#/task/Blobs~0.1.0~val~1", ".list tbody tr"),
        (episode("blob-finder", index, 2), ".gallery canvas.marks"), (episode("blob-finder", index, "end"), ".legend"),
    ):  # fmt: skip
        page = tab.go(place, wait)
        assert tab.fits() and page.title().endswith("visenv report")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) < 200) is (scheme == "dark")
    tab.fine()


def test_tables_sort_by_click_and_by_key(open_site, site):
    tab = open_site(site)
    page = tab.go("#/", ".block tbody tr")
    agents = lambda: page.locator(".block tbody td.agent").all_inner_texts()  # noqa: E731
    ranked = agents()
    head = page.locator(".block th.agent")
    assert head.get_attribute("aria-sort") == "none"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending" and agents() == sorted(ranked)
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending" and agents() == sorted(ranked, reverse=True)
    page.locator(".block th.place button").click()
    assert agents() == ranked and head.get_attribute("aria-sort") == "none"
    page.locator("#agent-filter").fill("finder")
    assert agents() == ["blob-finder"] and page.locator(".lane:not(.head, .axis)").count() == 1
    tab.fine()


@pytest.mark.parametrize("width", [390, 1440])
def test_further_profiles_have_a_table_that_sorts(open_site, beside_site, width):
    tab = open_site(beside_site, viewport={"width": width, "height": 900})
    page = tab.go("#/", ".beside tbody tr")
    table = page.locator(".beside")
    groups = table.locator("thead .groups th")
    assert groups.all_inner_texts() == ["scored by blobs/iou", "gres/native", "blobs/odd"]
    assert groups.nth(2).get_attribute("title") == "some code"
    agents = lambda: table.locator("td.agent").all_inner_texts()  # noqa: E731
    ranked = agents()
    assert len(ranked) == 3 and table.locator(".why").all_inner_texts() == ["needs edges"] * 3
    table.get_by_role("button", name="odd one").click()
    assert agents()[:2] == ["blob-hostile", "blob-finder"] and ranked[:2] == ["blob-finder", "blob-hostile"]
    page.locator("#agent-filter").fill("finder")
    assert agents() == ["blob-finder"]
    assert "Beside it by blobs/odd: some code." in page.locator(".footnote").inner_text()
    assert tab.fits()
    page.locator(".block a.rowlink").first.click()
    page.locator(".list tbody tr a").first.click()
    page.wait_for_selector(".replay .pane")
    page.keyboard.press("End")
    until(page, "document.querySelector('.where').textContent === 'answer'")
    assert "As recorded by blobs/odd" in page.locator(".told").inner_text()
    tab.fine()


def test_the_list_filters_and_leads_to_an_episode(open_site, site):
    tab = open_site(site)
    page = tab.go("#/task/Blobs~0.1.0~val~1", ".list tbody tr")
    rows, count = page.locator(".list tbody tr"), page.locator(".count")
    assert rows.count() == 20 and count.inner_text() == "20 of 20 episodes"
    field = lambda name: page.get_by_label(name, exact=True)  # noqa: E731
    field("agent").select_option(label="blob-finder")
    assert rows.count() == 4
    field("score from").fill("0.9")
    assert page.locator(".list td.empty").is_visible()
    field("score from").fill("0.5")
    field("ended").select_option(label="submitted")
    field("text").fill("rectangle nonsense")
    assert "0 of 20" in count.inner_text()
    field("text").fill("RECT the")
    assert rows.count() == 4
    rows.first.locator("a").click()
    page.wait_for_selector(".replay .pane")
    assert page.locator(".title h2").inner_text() == "blob-finder"
    page.go_back()
    page.wait_for_selector(".list")
    tab.fine()


def test_an_episode_steps_through_its_turns(open_site, site, record_of):
    record = record_of("blob-looker")
    tab = open_site(site)
    page = tab.go(episode("blob-looker", record.index, 0), ".replay .pane")
    verb = page.locator(".call .verb")

    def arrives(where: str) -> None:
        until(page, f"document.querySelector('.where').textContent === {where!r}")

    arrives("start")
    assert page.locator(".gallery .name").all_inner_texts() == ["img_0"]
    page.keyboard.press("ArrowRight")
    arrives("turn 1 of 3")
    assert verb.inner_text() == "crop" and page.locator(".gallery .name").all_inner_texts() == ["crop_1"]
    assert page.locator(".archive .name").all_inner_texts() == ["img_0"] and page.url.endswith("/1")
    page.get_by_role("button", name="Next turn").click()
    arrives("turn 2 of 3")
    assert verb.inner_text() == "segment_box" and page.locator(".objects tbody tr").count() == 1
    assert "<b>here</b>" in page.locator(".objects").inner_text()
    page.keyboard.press("End")
    arrives("answer")
    assert page.url.endswith("/end") and f"{record.score:.3f}" in page.locator(".told").inner_text()
    page.keyboard.press("Home")
    arrives("start")
    page.locator("input[type=range]").fill("2")
    arrives("turn 2 of 3")
    page.get_by_label("compare with").select_option(label="blob-finder")
    page.wait_for_selector(".panes.two")
    assert page.locator(".title h2").all_inner_texts() == ["blob-looker", "blob-finder"] and "/with/" in page.url
    page.locator(".chip", has_text="oracle").click()
    until(page, "document.querySelector('.title h2').textContent === 'oracle'")
    tab.fine()


# What is drawn


ALPHA = """(canvas) => {
  const {width, height} = canvas, found = [];
  const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  for (let y = 0; y < 64; y++) for (let x = 0; x < 64; x++)
    found.push(pixels[4 * (Math.floor((y + 0.5) / 64 * height) * width + Math.floor((x + 0.5) / 64 * width)) + 3]);
  return found;
}"""


def drawn(page: Any) -> np.ndarray:
    until(page, "document.querySelector('canvas.marks').width > 300")
    page.get_by_label("labels").uncheck()
    page.get_by_label("boxes").uncheck()
    return np.array(page.locator("canvas.marks").first.evaluate(ALPHA)).reshape(64, 64)


def expected(mask: Mask, image: Any) -> tuple[np.ndarray, np.ndarray]:
    """What a mask covers at 64 x 64 places of a view, and where that is sure: away from its edge."""
    a, b, c, d, e, f = image.to_source
    width, height = image.size_wh
    dense = np.pad(mask.to_dense(), 200)

    def at(dx: float, dy: float) -> np.ndarray:
        x, y = np.meshgrid((np.arange(64) + 0.5 + dx) / 64 * width, (np.arange(64) + 0.5 + dy) / 64 * height)
        return dense[np.floor(d * x + e * y + f).astype(int) + 200, np.floor(a * x + b * y + c).astype(int) + 200]

    around = np.stack([at(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)])
    return at(0, 0), around.all(axis=0) | ~around.any(axis=0)


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "redrawn"])
def test_a_mask_is_drawn_on_a_crop_where_its_code_says(open_site, site, record_of, stored):
    record = record_of("blob-looker", stored=stored)
    (place,) = record.transcript[1].objects
    mask = Mask.from_json(record.objects[place].mask)
    tab = open_site(site)
    page = tab.go(episode("blob-looker", record.index, 2), "canvas.marks")
    assert page.locator(".gallery .name").inner_text() == "view_2"
    inside, sure = expected(mask, record.images["crop_1"])
    alpha = drawn(page)
    assert 200 < inside.sum() < 2000 and (alpha > 0)[sure].tolist() == inside[sure].tolist()
    notes = page.locator("figcaption").inner_text()
    assert "drawn live" in notes and ("redrawn" in notes) is not stored
    page.get_by_label("masks").uncheck()
    assert not np.array(page.locator("canvas.marks").evaluate(ALPHA)).any()
    tab.fine()


def at_16(pixels: np.ndarray) -> np.ndarray:
    """Return a picture's pixels at 16 x 16 places."""
    rows, columns = ((np.arange(16) * 2 + 1) * side // 32 for side in pixels.shape[:2])
    return pixels[rows[:, None], columns[None]]


TURNING = Toolset(name="turning", tools=(*ZOOM.tools, segment_box))


@pytest.fixture(scope="module")
def turned(play: Any, turner: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The site of a run in which pictures are turned; those of one of two samples are stored."""

    def make(angle: int) -> tuple[Path, Any]:
        run = play(
            tmp_path_factory.mktemp("turned") / "small", turner(angle), toolset=TURNING, max_turns=6, limit=2, keep_images=1
        )  # fmt: skip
        return build_site([run], tmp_path_factory.mktemp("sites") / "turned").parent, list(
            latest(read_records(run)).values()
        )

    return make


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_turned_view_is_drawn_turned_and_masks_lie_on_it_where_they_do(open_site, turned, fakes, angle):
    site, records = turned(angle)
    tab = open_site(site)
    for record in records:
        stored = bool(record.images["turned_1"].file)
        original = record.images["img_0"].size_wh
        for turn, name, view in ((2, "view_2", "turned_1"), (4, "view_4", "zoom_3")):
            page = tab.go(episode("blob-turner", record.index, turn), "canvas.marks")
            assert page.locator(".gallery .name").inner_text() == name
            place = record.images[name].objects[0]
            inside, sure = expected(Mask.from_json(record.objects[place].mask), record.images[view])
            assert 200 < inside.sum() < 2000 and ((drawn(page) > 0)[sure] == inside[sure]).all()
            page.get_by_label("labels").check()
            where = page.locator(".inset .where").count()
            assert where == (view == "zoom_3"), "the part is shown on its source, turned or not"
            notes = page.locator("figcaption").inner_text()
            assert ("redrawn" in notes) is not stored
        page = tab.go(episode("blob-turner", record.index, 1), ".gallery .frame")
        assert record.images["turned_1"].size_wh == (original if angle == 180 else original[::-1])
        page.wait_for_timeout(200)  # until it is painted
        seen = decode_image(page.locator(".gallery .frame").screenshot(), where="the screenshot").pixels
        sample = np.rot90(fakes.Blobs().sample("val", 1, record.index).images[0].pixels, -(angle // 90))
        flat = np.abs(at_16(seen).astype(int) - at_16(sample)).max(axis=2) < 40
        assert flat.mean() > 0.9, "the picture itself is turned the same way"
    tab.fine()


def test_a_mask_is_drawn_on_the_picture_and_the_truth_over_it(open_site, site, record_of, fakes):
    record = record_of("blob-finder")
    mask = Mask.from_json(record.objects[record.transcript[1].objects[0]].mask)
    tab = open_site(site)
    page = tab.go(episode("blob-finder", record.index, 2), "canvas.marks")
    inside, sure = expected(mask, record.images["img_0"])
    assert ((drawn(page) > 0)[sure] == inside[sure]).all()
    page.get_by_label("truth").check()
    truth = fakes.Blobs().sample("val", 1, record.index).target.masks[0]
    x1, y1, x2, _ = truth.box_xyxy
    red, green, blue, _ = page.locator("canvas.marks").evaluate(
        "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(Math.floor(x / 96 * canvas.width), Math.floor(y / 96 * canvas.height), 1, 1).data]",
        [(x1 + x2) / 2, y1],
    )  # fmt: skip
    assert green > 120 and green > red + 50 and green > blue + 50
    tab.fine()


def test_pointing_at_an_object_marks_it_in_picture_and_table(open_site, site, record_of):
    record = record_of("blob-looker")
    tab = open_site(site)
    page = tab.go(episode("blob-looker", record.index, 2), ".objects tbody tr")
    pointed = lambda: np.array(page.locator("canvas.pointed").evaluate(ALPHA)).any()  # noqa: E731
    assert not pointed()
    page.locator(".objects tbody tr").hover()
    assert pointed() and page.locator("tr.pointed").count() == 1
    page.locator("h1").hover()
    assert not pointed() and page.locator("tr.pointed").count() == 0
    x1, y1, x2, y2 = record.objects[record.transcript[1].objects[0]].box_xyxy
    a, b, c, d, e, f = record.images["crop_1"].to_source
    assert b == d == 0
    width, height = record.images["crop_1"].size_wh
    box = page.locator(".frame").bounding_box()
    page.mouse.move(
        box["x"] + ((x1 + x2) / 2 - c) / a / width * box["width"],
        box["y"] + ((y1 + y2) / 2 - f) / e / height * box["height"],
    )
    page.wait_for_selector("tr.pointed")
    assert pointed()
    tab.fine()


def test_masks_decode_as_pycocotools_does(open_site, site):
    rng = np.random.default_rng(0)
    masks = [np.zeros((7, 5), bool), np.ones((7, 5), bool), np.ones((1, 1), bool), np.eye(9, dtype=bool)]
    for _ in range(60):
        height, width = rng.integers(1, 120, 2)
        masks.append(rng.random((height, width)) < rng.random())
        blob = np.zeros((height, width), bool)
        blob[rng.integers(height) :, rng.integers(width) :] = True
        masks.append(blob)
    codes = [Mask.from_dense(m) for m in masks]
    page = open_site(site).go("#/", ".block")
    found = page.evaluate(
        "(codes) => codes.map((c) => { const m = visenv.rle.decode(c); return [m.x, m.y, m.w, m.h, m.area, [...m.bits].join(''), visenv.rle.area(c)]; })",
        [c.to_json() for c in codes],
    )
    for code, dense, (x, y, w, h, area, bits, quick) in zip(codes, masks, found, strict=True):
        again = np.zeros(dense.shape, bool)
        again[y : y + h, x : x + w] = np.array([b == "1" for b in bits], bool).reshape(h, w)
        assert (again == code.to_dense()).all() and area == quick == code.area_px
        assert (x, y, x + w, y + h) == code.box_xyxy


def test_what_is_no_mask_is_refused(open_site, site):
    page = open_site(site).go("#/", ".block")
    good = Mask.from_dense(np.eye(9, dtype=bool)).to_json()
    bad = [
        None, {}, {"size": [9, 9]}, {"size": [9, 8], "counts": good["counts"]}, {"size": [1e9, 1e9], "counts": "0"},
        {"size": [-9, -9], "counts": good["counts"]}, {"size": [9, 9], "counts": good["counts"][:-1]},
        {"size": [9, 9], "counts": "\u202e<b>"}, {"size": ["9", 9], "counts": good["counts"]}, {"size": [9, 9], "counts": "o" * 99},
    ]  # fmt: skip
    assert page.evaluate("(bad) => bad.map((b) => visenv.rle.decode(b))", bad) == [None] * len(bad)


# What is hostile


KINDS = "[...new Set([...document.querySelectorAll('body *')].map((e) => e.localName))]"
UNSEEN = r"""(() => {
  const hidden = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u, found = [document.title].filter((t) => hidden.test(t));
  for (const e of document.querySelectorAll('body *')) {
    for (const a of e.attributes) if (hidden.test(a.value)) found.push(`${e.localName} ${a.name}`);
    for (const t of e.childNodes) if (t.nodeType === 3 && hidden.test(t.data)) found.push(`${e.localName} ${e.className}`);
  }
  return found;
})()"""


def test_nothing_that_was_said_does_anything(open_site, hostile_site, hostile_run):
    run, _ = hostile_run
    records = latest(read_records(run)).values()
    tab = open_site(hostile_site)
    page = tab.go("#/", ".block tbody tr")
    began = time.monotonic()
    page.locator("summary").first.click()
    kinds = page.evaluate(KINDS)
    assert page.evaluate(UNSEEN) == []
    page.locator(".lane .task").first.click()
    page.wait_for_selector(".list tbody tr")
    assert tab.fits() and page.evaluate(UNSEEN) == []
    for number in range(10):  # every agent on two samples
        page.locator(".list tbody tr a").nth(number).click()
        page.wait_for_selector(".replay .pane")
        for _ in range(6):
            assert tab.fits()
            kinds += page.evaluate(KINDS)
            assert page.evaluate(UNSEEN) == []
            page.keyboard.press("ArrowRight")
        until(page, "document.querySelector('.where').textContent === 'answer'")
        if number < 9:
            page.evaluate("location.hash = document.querySelectorAll('.crumbs a')[1].getAttribute('href')")
            page.wait_for_selector(".list tbody tr")
    assert time.monotonic() - began < 40
    assert page.evaluate("window.hurt") is None
    assert "script" not in kinds and "svg" not in kinds and "b" in kinds
    assert page.evaluate(
        "[...document.querySelectorAll('img')].every((i) => i.getAttribute('src').startsWith('images/'))"
    )
    assert page.evaluate("Object.prototype.hurt === undefined && ({}).a === undefined")
    tab.fine()
    assert len(records) == 20


def test_what_cannot_be_seen_is_written_out(open_site, site, record_of):
    tab = open_site(site)
    page = tab.go(episode("blob-hostile", record_of("blob-hostile").index, 1), ".call.bad")
    said = page.locator(".told .box").first
    text = said.inner_text()
    for mark in (
        "<script>alert(1)</script>",
        "‹U+D800›",
        "␀",
        "␛[31m",
        "‹U+202E›RLO",
        "‹U+2067›",
        "‹U+200B›",
        "‹U+2028›",
        "<svg onload",
    ):
        assert mark in text, mark
    assert not set(text) & set("\u202e\u202d\u2066\u2067\u2068\u200b\u200e\u200f\x00\x1b\x07")
    assert len(text) < 2000 and tab.fits()
    button = page.get_by_role("button", name="show all")
    assert "100,0" in button.inner_text()  # what a record keeps of a megabyte
    button.click()
    until(page, "document.querySelector('.told .box .said').textContent.length > 100000")
    began = time.monotonic()
    assert tab.fits() and said.bounding_box()["height"] < 900
    page.get_by_role("button", name="show less").click()
    assert len(said.inner_text()) < 2000 and time.monotonic() - began < 3
    tab.fine()


def test_a_megabyte_opens_without_freezing(open_site, hostile_site, hostile_run):
    run, _ = hostile_run
    record = next(r for r in latest(read_records(run)).values() if "finder" in r.agent)
    tab = open_site(hostile_site)
    agent = record.agent.replace("\ud800", "\ufffd")
    page = tab.go(episode(agent, record.index, 1, run=run.name), ".told .box")
    page.evaluate(
        "window.worst = 0; let last = performance.now(); const watch = () => { const now = performance.now(); window.worst = Math.max(window.worst, now - last); last = now; requestAnimationFrame(watch); }; watch()"
    )
    page.locator(".told > .box .more").first.click()
    until(page, "document.querySelector('.told > .box .said').textContent.length > 1000000")
    assert page.evaluate("window.worst") < 1500 and tab.fits()
    tab.fine()


def test_emoji_and_scripts_of_all_directions_are_left_as_they_are(open_site, site):
    page = open_site(site).go("#/", ".block")
    kept = ["👨‍👩‍👧 🏳️‍🌈 👍🏽", "שלום", "日本語\tтекст\nnew line", "é"]
    assert page.evaluate("(texts) => texts.map(visenv.text.visible)", kept) == kept
    shown = page.evaluate(
        "(texts) => texts.map(visenv.text.visible)", ["a\u200db", "\u200d👧", "\r\n", "\U000e0041", "\x85"]
    )
    assert shown == ["a‹U+200D›b", "‹U+200D›👧", "␍\n", "‹U+E0041›", "‹U+0085›"]


def test_names_that_look_alike_are_told_apart(open_site, site):
    page = open_site(site).go("#/", ".block")
    alike = ["a b", "a\u034f b", "a\u00a0b", "a b ", " a b", "a  b", "a\u2800b", "a\u3000b", "a b\ufe0f", "a\u115fb"]
    shown = page.evaluate("(names) => names.map((n) => visenv.text.name(n))", alike)
    assert len(set(shown)) == len(alike) and shown[0] == "a b"
    assert all("‹U+" in s or "␣" in s for s in shown[1:])


def test_masks_beyond_the_budget_are_said_and_not_drawn(open_site, site):
    page = open_site(site).go("#/", ".block")
    big = Mask.from_dense(np.ones((4000, 4000), bool)).to_json()
    broken = page.evaluate(
        "(m) => { const purse = {left: 2 ** 25}; return Array(9).fill(0).map(() => visenv.view.shape(m, [0, 0, 9, 9], purse).broken); }",
        big,
    )
    assert broken == [False, False] + [True] * 7


def test_position_and_label_agree_after_an_error(open_site, site, record_of):
    tab = open_site(site)
    page = tab.go(episode("blob-looker", record_of("blob-looker").index, 0), ".replay .pane")
    page.evaluate("void (visenv.rle.area = () => { throw new Error('made up'); })")
    page.locator("input[type=range]").fill("2")  # the object table of turn 2 asks for areas
    until(page, "document.querySelector('.where').textContent === 'turn 2 of 3'")
    assert "cannot be shown: made up" in page.locator(".pane [role=alert]").inner_text()
    assert page.locator("input[type=range]").input_value() == "2"
    page.keyboard.press("ArrowLeft")
    until(page, "document.querySelector('.where').textContent === 'turn 1 of 3'")
    assert page.locator(".call .verb").inner_text() == "crop" and page.url.endswith("/1")
    tab.fine()


def test_a_table_shows_that_it_scrolls(open_site, site):
    page = open_site(site, viewport={"width": 700, "height": 900}).go("#/", ".block tbody tr")
    box = page.locator(".block .tablebox").first
    until(page, "document.querySelector('.block .tablebox').classList.contains('moreright')")
    assert "moreleft" not in box.get_attribute("class")
    box.locator(".scroll").evaluate("(e) => { e.scrollLeft = 9999; }")
    until(page, "document.querySelector('.block .tablebox').classList.contains('moreleft')")
    assert "moreright" not in box.get_attribute("class")


def test_a_verified_run_looks_other_than_one_that_is_not(open_site, site, hostile_site):
    page = open_site(site).go("#/", ".block tbody tr")
    assert page.locator("h1 .seal").inner_text() == "verified: 20 records re-scored"
    page = open_site(hostile_site).go("#/", ".block tbody tr")
    assert page.locator("h1 .seal.different").count() == 1 and "NOT equal" in page.locator("h1").inner_text()
    rows = page.locator(".block tbody tr")
    assert page.locator(".block tbody tr.forged").count() == rows.count() > 0


def test_the_last_step_shows_its_legend_without_scrolling(open_site, site, record_of):
    tab = open_site(site, viewport={"width": 1300, "height": 900})
    page = tab.go(episode("blob-finder", record_of("blob-finder").index, "end"), ".legend")
    legend, frame = page.locator(".legend").bounding_box(), page.locator(".frame").first.bounding_box()
    assert legend["y"] + legend["height"] < frame["y"] and frame["y"] + frame["height"] < 900


def test_the_policy_stops_markup_and_scripts_even_if_we_forget(open_site, site):
    tab = open_site(site)
    page = tab.go("#/", ".block")
    outcome = page.evaluate(
        """async () => {
          const tried = [];
          try { document.body.innerHTML = '<b>x</b>'; tried.push('markup'); } catch { tried.push('refused'); }
          const script = document.createElement('script');
          try { script.src = 'https://example.com/x.js'; tried.push('address'); } catch { tried.push('refused'); }
          try { script.text = 'window.hurt = 1'; document.head.append(script); } catch { tried.push('refused'); }
          await new Promise((resolve) => { const image = new Image(); image.onerror = resolve; image.src = 'https://example.com/x.png'; });
          try { await visenv.load('../x'); tried.push('loaded'); } catch { tried.push('refused'); }
          return [tried, window.hurt];
        }"""
    )
    assert outcome == [["refused", "refused", "refused", "refused"], None]
    assert not any(url.startswith("http") for url in tab.asked if not url.endswith("x.png"))


def test_a_wrong_address_and_a_missing_file_say_so(open_site, site, tmp_path):
    broken = tmp_path / "site"
    shutil.copytree(site, broken)
    tab = open_site(broken)
    for place in (
        "#/task/Nothing~0~val~1",
        "#/episode/small/Blobs~0.1.0~val~1~99~nobody/1",
        "#/episode/small/x/1",
        "#/episode/%/x~%~1~1~1~1/1",
    ):
        assert "cannot be shown" in tab.go(place, "[role=alert]").locator("[role=alert]").inner_text()
    for shard in (broken / "data").iterdir():
        if b'"players"' in shard.read_bytes():
            shard.unlink()
    tab = open_site(broken)
    assert "missing" in tab.go("#/task/Blobs~0.1.0~val~1", "[role=alert]").locator("[role=alert]").inner_text()


def test_a_site_without_its_pictures_still_draws(open_site, site, record_of, tmp_path):
    bare = tmp_path / "site"
    shutil.copytree(site, bare, ignore=shutil.ignore_patterns("images"))
    tab = open_site(bare)
    for turn in (0, 2):  # the picture itself, and a view that is cut from it
        page = tab.go(episode("blob-looker", record_of("blob-looker").index, turn), ".frame.blank")
    assert drawn(page).any() and page.locator(".frame img:visible").count() == 0


def test_episodes_without_pictures_say_why(open_site, play, tmp_path, monkeypatch):
    from visenv.leaderboard.site import build_site

    run = play(tmp_path / "run", limit=1, keep_images=0)
    monkeypatch.setattr("visenv.leaderboard.shelf.make_task", lambda name: 1 / 0)
    tab = open_site(build_site([run], tmp_path / "site").parent)
    index = next(iter(latest(read_records(run)).values())).index
    page = tab.go(episode("blob-finder", index, 2, run="run"), ".frame.blank")
    assert "picture not available" in page.locator("figcaption").inner_text()
    assert "not available" in page.locator("h1").inner_text() and drawn(page).any()
    page.keyboard.press("End")
    page.wait_for_selector(".replay.ended")
    assert "not available" in page.locator(".told").inner_text()
    tab.fine()


@pytest.mark.parametrize("width", [390, 1440])
def test_tasks_that_differ_at_the_end_of_a_long_name_are_told_apart(open_site, play, tmp_path, width):
    from visenv.leaderboard.site import build_site

    names = [f"Blobs:words={'folder/' * 45}{end}" for end in ("one", "two")]
    run = play(tmp_path / "run", "blob-finder", tasks=names, limit=1, keep_images=0)
    tab = open_site(build_site([run], tmp_path / "site").parent, viewport={"width": width, "height": 900})
    page = tab.go("", "section.block")
    assert tab.fits() and all(len(name) > 300 for name in names)
    for shown in ("section.block h2", ".lane.head .task" if width > 1000 else ".cell .small", "#task-filter option"):
        texts = [text for text in page.locator(shown).all_inner_texts() if "Blobs" in text]
        assert len(set(texts)) == len(texts) == 2 and all(len(text) <= 80 for text in texts), shown
    page.locator("section.block").last.locator("a", has_text="to look at").click()
    page.wait_for_selector("main.list")
    assert page.locator("h1").get_attribute("title") == names[1] and tab.fits()
    tab.fine()
