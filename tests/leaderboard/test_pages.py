"""The table in a terminal and in a pipe: complete, ranked, and plain where it must be."""

from __future__ import annotations

import io
import re

import pytest
from visenv.leaderboard import run_bench
from visenv.leaderboard.table import print_table


@pytest.fixture
def run(settings, tmp_path):
    summary = run_bench(settings("blob-finder", "blob-hostile", "blob-crash", "oracle", limit=4), tmp_path / "run")
    return tmp_path / "run", summary


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
