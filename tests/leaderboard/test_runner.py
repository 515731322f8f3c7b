"""Runs: the same records whatever the workers, lanes and order; whose fault a failure is; who may know the truth."""

from __future__ import annotations

import json

import pytest
from visenv.leaderboard import Patience, plan_bench, run_bench
from visenv.leaderboard.cast import Cast
from visenv.leaderboard.runner import jobs_of
from visenv.leaderboard.sampling import choose_indices, player_seed

from visenv.errors import BadValueError, InfrastructureError, UnknownNameError, UnsuitedError, VisenvError
from visenv.experts import ExpertSet

FROZEN = [53, 497, 342, 428, 184]
FROZEN_SEED = 5188145128394300320
AT_ONCE = Patience(wait_s=0)
AGENTS = ("blob-finder", "blob-guesser", "blob-hostile", "blob-crash")


def stored(record):
    return {name for name, image in record.images.items() if image.file}


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
    rows = [[{**r, "measured": None} for r in s.to_dict()["rows"]] for s in (plain, other)]
    assert rows[0] == rows[1]
    assert {p.name for p in (tmp_path / "a/images").iterdir()} == {p.name for p in (tmp_path / "b/images").iterdir()}
    assert (tmp_path / "a/run.json").read_bytes() == (tmp_path / "b/run.json").read_bytes()


@pytest.mark.filterwarnings("ignore:.*cannot be closed:RuntimeWarning")
@pytest.mark.parametrize("how", ["exit", "cancelled", "speechless"])
def test_what_an_agent_throws_is_its_own_in_any_process(settings, records, tmp_path, monkeypatch, outside, how):
    monkeypatch.setenv("PYTHONPATH", outside["PYTHONPATH"])
    agents = (f"blob-rude:how={how}", "blob-finder")
    for name, workers in (("a", 1), ("b", 2)):
        summary = run_bench(settings(*agents, limit=3), tmp_path / name, workers=workers)
        assert summary.complete and summary.rows[0].reasons == {"agent_error": 3} and summary.rows[1].primary > 0.8
    assert records(tmp_path / "a") == records(tmp_path / "b")
    assert {"exit": "SystemExit: 0", "cancelled": "CancelledError"}.get(how, "UnspeakableError") in {
        r.failure for r in records(tmp_path / "a").values() if r.failure
    }.pop()


def test_an_agent_that_cannot_be_closed_is_a_warning(settings, tmp_path):
    with pytest.warns(RuntimeWarning, match="'blob-rude' cannot be closed: SystemExit: cannot close"):
        assert run_bench(settings("blob-rude:how=exit", limit=1), tmp_path / "run").complete


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
    summary = run_bench(settings(experts="flaky", limit=12), run, patience=AT_ONCE)
    row = by_name(summary, "blob-finder")
    assert row.failures > 0 and row.n + row.failures == 12 == row.of and not summary.complete
    assert row.primary == pytest.approx(0.84), "failures are not zeros"
    for record in records(run).values():
        if record.failed:
            assert (record.score, record.row, record.answer) == (None, None, None)
            assert record.reason == "infrastructure_error" and "the detector is down" in record.failure
    monkeypatch.delenv("BLOBS_DOWN")
    lines = len((run / "episodes.jsonl").read_text().splitlines())
    summary = run_bench(settings(experts="flaky", limit=12), run, patience=AT_ONCE)
    assert summary.complete and by_name(summary, "blob-finder").failures == 0
    assert len((run / "episodes.jsonl").read_text().splitlines()) == lines + row.failures, "only failures play again"
    run_bench(settings(experts="flaky", limit=12), tmp_path / "calm")
    assert records(run) == records(tmp_path / "calm")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_fails_for_a_moment_is_tried_again(settings, records, tmp_path, workers, monkeypatch, outside):
    monkeypatch.setenv("PYTHONPATH", outside["PYTHONPATH"])
    summary = run_bench(settings("blob-moody"), tmp_path / "run", workers=workers, patience=AT_ONCE)
    assert summary.complete and summary.rows[0].attempts == 3 and summary.rows[0].failures == 0
    assert {r.attempts for r in records(tmp_path / "run").values()} == {3}
    assert len((tmp_path / "run/episodes.jsonl").read_text().splitlines()) == 6, "a try that failed leaves no record"
    run_bench(settings(), tmp_path / "calm")
    calm = {key[1:]: record.answer for key, record in records(tmp_path / "calm").items()}
    assert {key[1:]: record.answer for key, record in records(tmp_path / "run").items()} == calm


def test_patience_has_an_end(settings, records, tmp_path):
    summary = run_bench(settings("blob-moody", limit=2), tmp_path / "run", patience=Patience(retries=1, wait_s=0))
    assert summary.rows[0].failures == 2 and {r.attempts for r in records(tmp_path / "run").values()} == {2}
    assert [Patience(wait_s=0.5).wait_after(n) for n in (1, 2, 3)] == [0.5, 2.0, 8.0]


def test_a_turn_that_our_failure_ended_is_in_the_transcript(settings, records, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOBS_DOWN", "1")
    run_bench(settings(experts="flaky", limit=12), tmp_path / "run", patience=Patience(retries=0))
    failed = [r for r in records(tmp_path / "run").values() if r.failed]
    assert failed
    for record in failed:
        (turn,) = record.transcript
        assert turn.call["name"] == "detect" and turn.error is None and record.costs.turns == 1
        assert "the detector is down" in record.failure and "infrastructure_error" in turn.feedback


def test_a_plan_does_nothing(settings, tmp_path):
    plan = plan_bench(settings(limit=4), tmp_path / "run")
    assert len(plan.jobs) == len(plan.left) == 4 and not (tmp_path / "run").exists()
    run_bench(settings(limit=4), tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    plan = plan_bench(settings(limit=4), tmp_path / "run")
    assert (len(plan.jobs), len(plan.left)) == (4, 0)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before
    with pytest.raises(BadValueError, match="limit: 4 -> 5"):
        plan_bench(settings(limit=5), tmp_path / "run")


def test_chosen_samples(settings, records, tmp_path):
    chosen = settings(limit=None, samples=("7", "blobs/val/1/3", "7"))
    summary = run_bench(chosen, tmp_path / "run")
    assert summary.rows[0].of == 2 and {key[4] for key in records(tmp_path / "run")} == {3, 7}
    with pytest.raises(BadValueError, match=r"samples: 7, .* -> none"):
        run_bench(settings(limit=2), tmp_path / "run")
    for wrong in ("40", "-1", "Blobs/val/1/x", "", "٣", "Other/val/1/5", "Blobs/test/1/9"):
        with pytest.raises(BadValueError, match="sample"):
            run_bench(settings(limit=None, samples=(wrong,)), tmp_path / "no")
    with pytest.raises(BadValueError, match="samples"):
        settings(limit=3, samples=("1",))


def test_another_version_of_what_computes_is_another_setting(settings, tmp_path):
    run_bench(settings(limit=2), tmp_path / "run")
    path = tmp_path / "run/run.json"
    content = json.loads(path.read_text())
    assert {"visenv", "numpy", "opencv-python-headless", "board-fakes"} <= set(content["versions"])
    content["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(content))
    with pytest.raises(BadValueError, match=r"\(versions: numpy 1\.0 -> [^;]*\)"):
        run_bench(settings(limit=2), tmp_path / "run")


def test_an_agent_may_say_that_the_failure_is_not_its_own(settings, records, tmp_path):
    class Unplugged:
        name = "unplugged"

        def start(self, spec):
            raise InfrastructureError("the endpoint is down")

    summary = run_bench(settings(Unplugged(), limit=2), tmp_path / "run", patience=AT_ONCE)
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
    summary = run_bench(settings(*agents, tasks=("Blobs", Odd()), limit=8), tmp_path / "run", patience=AT_ONCE)
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
        ({"agents": ("blob-finder", "blob-choosy"), "level": 2}, UnsuitedError),
        ({"agents": ("blob-weightless",)}, FileNotFoundError),
        ({"agents": ("blob-finder", "BLOB-FINDER")}, BadValueError),
        ({"tasks": ("Blobs", "blobs")}, BadValueError),
        ({"split": "train", "limit": None}, BadValueError),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_wrong_settings_leave_nothing_behind(settings, tmp_path, change, error):
    for workers in (1, 2):
        with pytest.raises(error):
            run_bench(settings(**change), tmp_path / "run", workers=workers)
    with pytest.raises(error):
        plan_bench(settings(**change), tmp_path / "run")
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
    kept = {key[1:] for key, r in records(tmp_path / "run").items() if stored(r)}
    assert len(kept) == 2 and sum(bool(stored(r)) for r in records(tmp_path / "run").values()) == 4
    one = next(r for r in records(tmp_path / "run").values() if stored(r) and r.agent == "blob-finder")
    assert {n for t in one.transcript for n in t.shown} | {"img_0"} == stored(one)


def test_samples_are_the_same_for_every_agent_and_grow_with_the_limit(settings):
    jobs = jobs_of(Cast(settings("blob-finder", "blob-guesser", limit=5)))
    assert [j.index for j in jobs if j.agent == "blob-finder"] == [j.index for j in jobs if j.agent == "blob-guesser"]
    more = jobs_of(Cast(settings(limit=9)))
    assert [j.index for j in more][:5] == [j.index for j in jobs if j.agent == "blob-finder"]
    assert [j.index for j in jobs_of(Cast(settings(limit=None)))] == list(range(40))
    train = jobs_of(Cast(settings(limit=50, split="TRAIN")))
    assert len({j.index for j in train}) == 50 and all(0 <= j.index < 100_000 and j.split == "train" for j in train)


def test_threads_reach_every_embedded_expert_that_does_not_say_how_many(settings):
    cast = Cast(
        settings(experts="sliced:of=embedded:threshold=0.4;input_px=256,size=64,segmenter=embedded:threads=5"),
        threads=1,
    )
    made = cast.experts.experts
    assert (made["detect"].inner.threads, made["upscale"].threads, made["segment"].threads) == (1, 1, 5)
    assert made["detect"].size_px == 64 and made["detect"].inner.threshold == 0.4
    assert cast.info.experts == "sliced:of=embedded:threshold=0.4;input_px=256,size=64,segmenter=embedded"
    assert Cast(settings(experts="detector=sliced"), threads=1).experts.experts["detect"].inner.threads == 1


def test_a_cast_that_cannot_be_made_closes_its_experts(settings, monkeypatch):
    closed = []
    monkeypatch.setattr(ExpertSet, "close", lambda self: closed.append(self))
    with pytest.raises(VisenvError):
        Cast(settings(memory="elephant"))
    assert len(closed) == 1


def test_sampling_is_frozen():
    assert choose_indices(500, 5, seed=0, where="EmojiRef/val/1") == FROZEN
    assert choose_indices(500, 5, seed=1, where="EmojiRef/val/1") != FROZEN
    assert choose_indices(500, 5, seed=0, where="EmojiRef/val/2") != FROZEN
    assert len(set(choose_indices(7, 6, seed=0, where="x"))) == 6
    assert choose_indices(7, 99, seed=0, where="x") == list(range(7))
    assert player_seed(0, "EmojiRef/val/1/0", "random") == FROZEN_SEED < 2**63
