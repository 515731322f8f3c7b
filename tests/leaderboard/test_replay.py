"""A run that kept its experts' answers is played again without the experts."""

from __future__ import annotations

import json
import os
import re

import pytest
from visenv.leaderboard import Patience, run_bench

AGENTS = ("blob-finder", "blob-guesser")


def lines(run):
    """The lines of a run's records, in order of their samples, without what is measured."""
    text = (run / "episodes.jsonl").read_text(encoding="ascii")
    return sorted(re.sub(r'"measured": ?\{[^}]*\}', "", line) for line in text.splitlines())


@pytest.fixture
def unusable(fakes, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the expert is not there")

    def break_them():
        for name in ("__init__", "run", "close"):
            monkeypatch.setattr(fakes.BlobExpert, name, never, raising=False)

    return break_them


def test_a_replay_needs_no_expert_and_gives_the_same_records(settings, unusable, tmp_path):
    run_bench(settings(*AGENTS, experts=f"blobs,cache={tmp_path / 'cache'}"), tmp_path / "played")
    run_bench(settings(*AGENTS, experts="blobs"), tmp_path / "plain")
    assert list((tmp_path / "cache").glob("*/*.result"))
    unusable()
    run_bench(settings(*AGENTS, experts=f"blobs,replay={tmp_path / 'cache'}"), tmp_path / "replayed", lanes=3)
    played = lines(tmp_path / "played")
    assert len(played) == 12 and all('"measured"' not in line for line in played)
    assert lines(tmp_path / "replayed") == played == lines(tmp_path / "plain")
    settled = {(tmp_path / run / "run.json").read_bytes() for run in ("played", "replayed", "plain")}
    assert len(settled) == 1, "where answers are kept is no setting"


def test_a_replay_says_what_it_lacks_and_scores_nothing_wrong(settings, unusable, tmp_path):
    kept = f"blobs,cache={tmp_path / 'cache'}"
    run_bench(settings(experts=kept, limit=2), tmp_path / "played")
    unusable()
    replayed = settings(experts=f"blobs,replay={tmp_path / 'cache'}", limit=6)
    summary = run_bench(replayed, tmp_path / "replayed", patience=Patience(retries=0))
    records = [json.loads(line) for line in (tmp_path / "replayed" / "episodes.jsonl").read_text().splitlines()]
    failed = [r for r in records if r["failed"]]
    assert len(records) == 6 and len(failed) == summary.rows[0].failures > 0
    assert all("blobs@1" in r["failure"] and "cache=" in r["failure"] for r in failed)
    assert sum(not r["failed"] for r in records) >= 2


def test_processes_replay_what_one_has_played(settings, outside, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", outside["PYTHONPATH"])
    run_bench(settings(experts=f"blobs,cache={tmp_path / 'cache'}"), tmp_path / "played")
    monkeypatch.setenv("BLOBS_FATAL", str(os.getpid()))  # another process that makes the expert dies
    run_bench(settings(experts=f"blobs,replay={tmp_path / 'cache'}"), tmp_path / "replayed", workers=2)
    assert lines(tmp_path / "replayed") == lines(tmp_path / "played")
