"""The table and the page of strips: complete, plain where it must be, and deaf to what an agent says."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image as PilImage
from visenv.leaderboard import run_bench
from visenv.leaderboard.strips import SIDE_PX, write_strips
from visenv.leaderboard.table import print_table


@pytest.fixture
def run(settings, tmp_path):
    summary = run_bench(settings("blob-finder", "blob-hostile", "blob-crash", "oracle", limit=4), tmp_path / "run")
    return tmp_path / "run", summary


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href")]
        assert not any(k.startswith("on") for k, _ in attrs)

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_complete_and_self_contained(run):
    run, _ = run
    page = write_strips(run)
    text = page.read_text("utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.tags.count("article") == 4 and reader.tags.count("ol") == 16
    assert "script" not in reader.tags and "link" not in reader.tags and not re.search(r"url\(|@import|https?://", text)
    for link in reader.links:
        assert link.startswith("#") or (run / link).is_file(), link
    said = " ".join(reader.text)
    for words in (
        "<rectangle>",
        "Blobs/val/1/",
        "blobs/iou",
        "0.840",
        "agent_error",
        "knows the truth",
        "answer and truth",
    ):
        assert words in said
    files = {p.name for p in (run / "strips").iterdir()}
    assert files == {link.split("/")[1] for link in reader.links if link.startswith("strips/")}
    for file in (run / "strips").iterdir():
        with PilImage.open(file) as image:
            assert max(image.size) <= SIDE_PX and image.format == "JPEG"


def test_what_an_agent_says_is_only_text(run):
    text = write_strips(run[0]).read_text("utf-8")
    assert "&lt;script&gt;alert(1)" in text and "<script" not in text and "<img src=x" not in text
    assert "cannot start &lt;b&gt;" in text and "\x1b" not in text and "\x00" not in text


def test_the_page_is_the_same_again(run):
    page = write_strips(run[0])
    before = page.read_bytes()
    assert write_strips(run[0]).read_bytes() == before


def test_a_page_without_the_task_or_its_pictures(run, monkeypatch):
    run, _ = run
    for picture in (run / "images").iterdir():
        picture.write_bytes(b"damaged")
    monkeypatch.setattr("visenv.leaderboard.strips.make_task", lambda name: 1 / 0)
    text = write_strips(run).read_text("utf-8")
    assert "cannot make this sample again" in text and "no picture" in text


def test_no_pictures_no_page(settings, tmp_path):
    run_bench(settings(keep_images=0, limit=1), tmp_path / "run")
    assert write_strips(tmp_path / "run") is None


def test_the_table_says_everything_beside_the_number(run):
    out = io.StringIO()
    print_table(run[1], out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "Blobs, val, level 1" and "\x1b" not in out.getvalue()
    rows = [line.split() for line in lines[2:6]]
    assert [r[1] for r in rows][:1] == ["blob-finder"] and rows[-1][:2] == ["*", "oracle"]
    for word in ("0.840", "blobs/iou", "4/4", "submitted"):
        assert word in lines[2]
    assert "not ranked" in out.getvalue() and "Incomplete" not in out.getvalue()


def test_failures_show_in_the_table(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOBS_DOWN", "1")
    out = io.StringIO()
    print_table(run_bench(settings(experts="flaky", limit=12), tmp_path / "run"), out)
    assert "infrastructure_error" in out.getvalue() and "Incomplete" in out.getvalue()


def test_a_mean_over_tasks_needs_all_of_them(settings, fakes, tmp_path):
    class Other(fakes.Blobs):
        name = "Other"

    out = io.StringIO()
    print_table(run_bench(settings(tasks=("Blobs", Other()), limit=2), tmp_path / "run"), out)
    assert "All tasks" in out.getvalue() and "2/2" in out.getvalue()


@pytest.mark.parametrize("columns", [80, 140])
def test_the_table_fits_a_terminal(run, monkeypatch, columns):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    print_table(run[1], out)
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert text != out.getvalue() and max(map(len, text.splitlines())) <= columns
    for words in ("blob-finder", "0.840", "blobs/iou", "4/4", "submitted 4"):
        assert words in text
    assert ("giou" in text) == (columns > 100)
