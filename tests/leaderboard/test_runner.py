"""Runs: the same records whatever the workers, lanes and order; whose fault a failure is; who may know the truth."""

from __future__ import annotations

import json

import pytest
from visenv.leaderboard import run_bench
from visenv.leaderboard.cast import Cast
from visenv.leaderboard.runner import plan
from visenv.leaderboard.sampling import choose_indices, player_seed

from visenv.errors import BadValueError, InfrastructureError, UnknownNameError
from visenv.experts import ExpertSet

FROZEN = [53, 497, 342, 428, 184]
FROZEN_SEED = 5188145128394300320
AGENTS = ("blob-finder", "blob-guesser", "blob-hostile", "blob-crash")


def by_name(summary, agent):
    (row,) = [r for r in summary.rows if r.agent == agent]
    return row


def test_a_run_leaves_what_the_design_says(settings, tmp_path):
    summary = run_bench(settings(*AGENTS), tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"run.json", "episodes.jsonl", "images", "summary.json"}
    written = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert written == summary.to_dict()
    for key in ("agent", "task", "split", "level", "n", "of", "primary", "ci_low", "ci_high", "profile", "metrics"):
        assert key in written["rows"][0]
    finder = by_name(summary, "blob-finder")
    assert (finder.n, finder.of, finder.failures) == (6, 6, 0) and finder.primary == pytest.approx(0.84)
    assert finder.metrics == {"giou": pytest.approx(0.84), "undefined": None}
    assert finder.turns == 3 and finder.tool_calls == 2 and finder.reasons == {"submitted": 6}
    assert finder.reward == pytest.approx(0.84) and summary.complete


@pytest.mark.parametrize(("workers", "lanes"), [(1, 1), (1, 3), (2, 2)], ids=["alone", "lanes", "workers"])
def test_the_same_records_whatever_the_workers_and_lanes(settings, records, tmp_path, workers, lanes):
    plain = run_bench(settings(*AGENTS), tmp_path / "a")
    other = run_bench(settings(*AGENTS), tmp_path / "b", workers=workers, lanes=lanes)
    assert records(tmp_path / "a") == records(tmp_path / "b") and len(records(tmp_path / "a")) == 24
    rows = [[{**r, "timing": None} for r in s.to_dict()["rows"]] for s in (plain, other)]
    assert rows[0] == rows[1]
    assert {p.name for p in (tmp_path / "a/images").iterdir()} == {p.name for p in (tmp_path / "b/images").iterdir()}
    assert (tmp_path / "a/run.json").read_bytes() == (tmp_path / "b/run.json").read_bytes()


def test_an_agents_records_do_not_depend_on_its_company(settings, records, tmp_path):
    run_bench(settings("blob-guesser"), tmp_path / "a")
    run_bench(settings("blob-finder", "blob-guesser", seed=0), tmp_path / "b")
    alone, company = records(tmp_path / "a"), records(tmp_path / "b")
    assert all(company[key] == record for key, record in alone.items())


def test_what_the_agent_breaks_is_the_agents(settings, records, tmp_path):
    summary = run_bench(settings("blob-crash"), tmp_path / "run")
    row = by_name(summary, "blob-crash")
    assert row.reasons == {"agent_error": 6} and row.failures == 0 and row.primary == 0.0
    messages = {r.failure for r in records(tmp_path / "run").values()}
    assert messages <= {"ValueError: cannot start <b>", "KeyError: 'lost'"} and len(messages) == 2
    assert all(r.score == 0.0 and not r.failed for r in records(tmp_path / "run").values())


def test_what_we_break_has_no_score_and_is_played_again(settings, records, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOBS_DOWN", "1")
    run = tmp_path / "run"
    summary = run_bench(settings(experts="flaky", limit=12), run)
    row = by_name(summary, "blob-finder")
    assert row.failures > 0 and row.n + row.failures == 12 == row.of and not summary.complete
    assert row.primary == pytest.approx(0.84), "failures are not zeros"
    for record in records(run).values():
        if record.failed:
            assert (record.score, record.row, record.answer) == (None, None, None)
            assert record.reason == "infrastructure_error" and "the detector is down" in record.failure
    monkeypatch.delenv("BLOBS_DOWN")
    lines = len((run / "episodes.jsonl").read_text().splitlines())
    summary = run_bench(settings(experts="flaky", limit=12), run)
    assert summary.complete and by_name(summary, "blob-finder").failures == 0
    assert len((run / "episodes.jsonl").read_text().splitlines()) == lines + row.failures, "only failures play again"
    run_bench(settings(experts="flaky", limit=12), tmp_path / "calm")
    assert records(run) == records(tmp_path / "calm")


def test_an_agent_may_say_that_the_failure_is_not_its_own(settings, records, tmp_path):
    class Unplugged:
        name = "unplugged"

        def start(self, spec):
            raise InfrastructureError("the endpoint is down")

    summary = run_bench(settings(Unplugged(), limit=2), tmp_path / "run")
    assert summary.rows[0].failures == 2 and summary.rows[0].primary is None and summary.rows[0].metrics == {}


@pytest.mark.parametrize("broken", ["sample", "row", "nan", "primary"])
def test_a_broken_task_breaks_only_its_episodes(settings, records, fakes, tmp_path, broken):
    from dataclasses import replace

    class Odd(fakes.Blobs):
        name = "Odd"

        def sample(self, split, level, index):
            if broken == "sample" and index % 2:
                raise OSError("no such picture")
            return replace(super().sample(split, level, index), task="Odd", id=f"Odd/{split}/{level}/{index}")

    def fail(*_):
        raise ZeroDivisionError("a bug")

    if broken in ("row", "primary"):
        Odd.profile = replace(fakes.PROFILE, **{broken: fail})
    if broken == "nan":
        Odd.profile = replace(fakes.PROFILE, primary=lambda row: float("nan"))
    agents = ("blob-finder", "blob-crash")
    summary = run_bench(settings(*agents, tasks=("Blobs", Odd()), limit=8), tmp_path / "run")
    good, odd = [r for r in summary.rows if r.agent == "blob-finder"]
    assert good.n == 8 and odd.failures > 0 and odd.n == (8 - odd.failures)
    assert all(r.failed == (r.score is None) for r in records(tmp_path / "run").values())
    assert all(r.failure for r in records(tmp_path / "run").values() if r.failed)


def test_a_batch_that_raises_costs_only_the_guilty(settings, records, tmp_path):
    class Fussy:
        name = "fussy"

        def start(self, spec):
            return spec.seed

        def act_batch(self, players, observations):
            if any(p % 2 for p in players):
                raise RuntimeError("one of these")
            return [{"name": "submit_none", "arguments": {}} for _ in players]

    run_bench(settings(Fussy(), limit=10), tmp_path / "run")
    found = records(tmp_path / "run").values()
    assert {(r.seed % 2, r.reason) for r in found} == {(0, "submitted"), (1, "agent_error")}


def test_other_settings_are_refused_with_the_difference(settings, tmp_path):
    run_bench(settings(limit=2), tmp_path / "run")
    before = (tmp_path / "run/episodes.jsonl").read_bytes()
    for change, words in (({"seed": 1}, "seed: 0 -> 1"), ({"memory": "append"}, "memory: archive -> append")):
        with pytest.raises(BadValueError, match=words):
            run_bench(settings(**({"limit": 2} | change)), tmp_path / "run")
    with pytest.raises(BadValueError, match="agents: blob-finder -> blob-guesser"):
        run_bench(settings("blob-guesser", limit=2), tmp_path / "run")
    assert (tmp_path / "run/episodes.jsonl").read_bytes() == before


def test_a_file_is_no_run_directory(settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadValueError, match="out"):
        run_bench(settings(), tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"agents": ("nobody",)}, UnknownNameError),
        ({"tasks": ("Nothing",)}, UnknownNameError),
        ({"split": "none"}, UnknownNameError),
        ({"level": 9}, UnknownNameError),
        ({"toolset": "hammer"}, UnknownNameError),
        ({"memory": "goldfish"}, UnknownNameError),
        ({"experts": "nobody"}, UnknownNameError),
        ({"reward": "praise"}, UnknownNameError),
        ({"agents": ("blob-finder:colour=1",)}, BadValueError),
        ({"agents": ("blob-finder", "BLOB-FINDER")}, BadValueError),
        ({"tasks": ("Blobs", "blobs")}, BadValueError),
        ({"split": "train", "limit": None}, BadValueError),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_wrong_settings_leave_nothing_behind(settings, tmp_path, change, error):
    with pytest.raises(error):
        run_bench(settings(**change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change", [{"limit": 0}, {"seed": -1}, {"agents": ()}, {"keep_images": True}, {"max_turns": 0}]
)
def test_settings_are_checked(settings, change):
    with pytest.raises(BadValueError):
        settings(**change)


def test_objects_do_as_well_as_names(settings, records, fakes, tmp_path):
    expert = fakes.BlobExpert()
    things = {"tasks": (fakes.Blobs(),), "experts": ExpertSet(dict.fromkeys(["detect", "segment"], expert))}
    run_bench(settings(fakes.Finder(), **things), tmp_path / "a")
    run_bench(settings(), tmp_path / "b")
    assert records(tmp_path / "a") == records(tmp_path / "b")

    class Local(fakes.Finder):
        name = "local"

    with pytest.raises(BadValueError, match="workers"):
        run_bench(settings(Local()), tmp_path / "c", workers=2)


def test_turn_limit_and_memory_reach_the_episode(settings, records, tmp_path):
    run_bench(settings(max_turns=2, limit=2), tmp_path / "run")
    assert {r.reason for r in records(tmp_path / "run").values()} == {"turn_limit"}


def test_pictures_are_kept_for_the_first_samples_only(settings, records, tmp_path):
    run_bench(settings("blob-finder", "blob-guesser", keep_images=2), tmp_path / "run")
    kept = {key[1:] for key, r in records(tmp_path / "run").items() if r.images}
    assert len(kept) == 2 and sum(bool(r.images) for r in records(tmp_path / "run").values()) == 4
    one = next(r for r in records(tmp_path / "run").values() if r.images and r.agent == "blob-finder")
    assert {n for t in one.transcript for n in t.shown} | {"img_0"} == set(one.images)


def test_samples_are_the_same_for_every_agent_and_grow_with_the_limit(settings):
    jobs = plan(Cast(settings("blob-finder", "blob-guesser", limit=5)))
    assert [j.index for j in jobs if j.agent == "blob-finder"] == [j.index for j in jobs if j.agent == "blob-guesser"]
    more = plan(Cast(settings(limit=9)))
    assert [j.index for j in more][:5] == [j.index for j in jobs if j.agent == "blob-finder"]
    assert [j.index for j in plan(Cast(settings(limit=None)))] == list(range(40))
    train = plan(Cast(settings(limit=50, split="TRAIN")))
    assert len({j.index for j in train}) == 50 and all(0 <= j.index < 100_000 and j.split == "train" for j in train)


def test_sampling_is_frozen():
    assert choose_indices(500, 5, seed=0, where="EmojiRef/val/1") == FROZEN
    assert choose_indices(500, 5, seed=1, where="EmojiRef/val/1") != FROZEN
    assert choose_indices(500, 5, seed=0, where="EmojiRef/val/2") != FROZEN
    assert len(set(choose_indices(7, 6, seed=0, where="x"))) == 6
    assert choose_indices(7, 99, seed=0, where="x") == list(range(7))
    assert player_seed(0, "EmojiRef/val/1/0", "random") == FROZEN_SEED < 2**63
