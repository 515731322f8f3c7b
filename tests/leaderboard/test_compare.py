"""``compare``: pairs by sample, hand values, refusals, and words that claim no more than the numbers."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats
from visenv.leaderboard import RunSettings, read_records, run_bench
from visenv.leaderboard.compare import compare_runs

from visenv import plugins
from visenv.cli import main
from visenv.errors import BadValueError, UnknownNameError


@pytest.fixture
def visenv(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            main(list(map(str, words)))
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def two_played(tmp_path_factory):
    """Two runs that share an agent and eight samples, each with more of its own. Tests copy them."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent / "plugin"))
        plugins.plugins.cache_clear()
        for name, agents, limit in (
            ("a", ("blob-finder", "blob-guesser"), 8), ("b", ("blob-finder", "blob-crash"), 10),
        ):  # fmt: skip
            run_bench(RunSettings(agents=agents, tasks=("Blobs",), experts="blobs", limit=limit), folder / name)
    plugins.plugins.cache_clear()
    return folder


@pytest.fixture
def two(fakes, two_played, tmp_path):
    shutil.copytree(two_played, tmp_path, dirs_exist_ok=True)
    return tmp_path / "a", tmp_path / "b"


def rewrite(run, change):
    """Let ``change`` make each record anew, or leave it out."""
    records = [made for r in read_records(run) if (made := change(r)) is not None]
    (run / "episodes.jsonl").write_text("".join(r.to_json() + "\n" for r in records), "ascii")


def score(run, agent, values):
    """Give an agent's records these scores, in the order of their indices."""
    order = sorted(r.index for r in read_records(run) if r.agent == agent)
    by_index = dict(zip(order, values, strict=False))
    rewrite(run, lambda r: replace(r, score=by_index[r.index]) if r.agent == agent and r.index in by_index else r)


def edit(run, change):
    info = json.loads((run / "run.json").read_text())
    change(info)
    (run / "run.json").write_text(json.dumps(info))


def only(found):
    (agents,) = found.agents
    (task,) = agents.tasks
    return task


def test_hand_values(settings, tmp_path):
    run = tmp_path / "run"
    run_bench(settings("blob-finder", "blob-guesser", limit=6), run)
    first, second = [0.9, 0.8, 0.7, 0.4, 0.5, 0.6], [0.5, 0.8, 0.1, 0.5, 0.2, 0.1]
    rewrite(run, lambda r: replace(r, cluster=r.sample_id))
    score(run, "blob-finder", first)
    score(run, "blob-guesser", second)
    found = only(compare_runs(run, agents=["blob-finder", "blob-guesser"]))
    interval = stats.ttest_rel(first, second).confidence_interval()
    assert (found.n, found.num_clusters, found.wins, found.ties, found.losses) == (6, 6, 4, 1, 1)
    assert found.mean_first == pytest.approx(0.65) and found.mean_second == pytest.approx(2.2 / 6)
    assert found.difference == pytest.approx(1.7 / 6)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.verdict == ("A better" if interval.low > 0 else "cannot tell")
    assert [round(s.difference, 6) for s in found.largest] == [0.6, 0.5, 0.4, 0.3, -0.1]
    back = only(compare_runs(run, agents=["blob-guesser", "blob-finder"]))
    assert (back.low, back.high) == pytest.approx((-interval.high, -interval.low)) and back.losses == 4


def test_clusters_count(settings, tmp_path):
    run = tmp_path / "run"
    run_bench(settings("blob-finder", "blob-guesser", limit=6), run)
    rewrite(run, lambda r: replace(r, cluster="one"))
    found = only(compare_runs(run, agents=["blob-finder", "blob-guesser"]))
    assert found.num_clusters == 1 and found.low is None and found.verdict == "cannot tell" and not found.all_equal


@pytest.mark.parametrize(("shift", "says"), [(0.3, "A better"), (-0.3, "B better"), (0.0, "cannot tell")])
def test_the_words_follow_the_interval(settings, tmp_path, shift, says):
    run = tmp_path / "run"
    run_bench(settings("blob-finder", "blob-guesser", limit=8), run)
    rewrite(run, lambda r: replace(r, cluster=r.sample_id))
    score(run, "blob-finder", [0.5 + shift + e for e in (0.02, -0.01, 0.03, -0.04, 0.0, 0.01, 0.02, -0.03)])
    score(run, "blob-guesser", [0.5] * 8)
    assert only(compare_runs(run, agents=["blob-finder", "blob-guesser"])).verdict == says


def test_equal_differences_claim_no_certainty(two, visenv):
    found = only(compare_runs(*two))
    assert found.all_equal and found.low is None and found.high is None and found.standard_error is None
    assert found.verdict == "all scores equal" and found.ties == found.n == 8
    assert found.could_differ == pytest.approx(1 - 0.05 ** (1 / found.num_clusters))
    score(two[0], "blob-finder", [0.94] * 8)
    score(two[1], "blob-finder", [0.84] * 10)
    found = only(compare_runs(*two))
    assert found.all_equal and found.verdict == "all differences equal" and found.wins == 8
    _, out, _ = visenv("compare", *two)
    assert "all differences equal" in out and "no interval" in out and "better\n" not in out


def test_the_agents_that_both_have(two):
    found = compare_runs(*two)
    assert [(a.first, a.second) for a in found.agents] == [("blob-finder", "blob-finder")]
    assert "blob-guesser, blob-crash" in found.notes[0] and found.problems == ()
    task = only(found)
    assert task.n == 8 and task.missing_first == 2 and task.missing_second == 0


def test_single_agents_of_other_names_are_compared(settings, tmp_path):
    run_bench(settings("blob-finder", limit=3), tmp_path / "a")
    run_bench(settings("blob-guesser", limit=3), tmp_path / "b")
    (agents,) = compare_runs(tmp_path / "a", tmp_path / "b").agents
    assert (agents.first, agents.second) == ("blob-finder", "blob-guesser")


def test_named_agents(two):
    (agents,) = compare_runs(*two, agents=["BLOB-guesser", "blob-crash"]).agents
    assert (agents.first, agents.second) == ("blob-guesser", "blob-crash") and agents.tasks[0].n == 8
    with pytest.raises(UnknownNameError, match="blob-crash"):
        compare_runs(*two, agents=["blob-crash"])
    with pytest.raises(BadValueError, match="two agents"):
        compare_runs(two[0])
    with pytest.raises(BadValueError, match="two agents"):
        compare_runs(two[0], agents=["blob-finder"])
    with pytest.raises(BadValueError, match="agent"):
        compare_runs(*two, agents=["a", "b", "c"])
    edit(two[1], lambda info: info.update(agents=[info["agents"][0] | {"name": n} for n in "xy"]))
    with pytest.raises(BadValueError, match="no agent is in both"):
        compare_runs(*two)


def test_failures_are_left_out_and_counted(two, visenv):
    gone = [r.index for r in read_records(two[1]) if r.agent == "blob-finder"][:2]

    def fail(r):
        if r.agent == "blob-finder" and r.index in gone:
            return replace(r, failed=True, score=None, row=None, answer=None, reason="infrastructure_error")
        return r

    rewrite(two[1], fail)
    found = only(compare_runs(*two))
    assert (found.n, found.failed_first, found.failed_second) == (6, 0, 2)
    _, out, _ = visenv("compare", *two)
    assert "2 samples left out that failed in B" in out


def test_other_versions_and_profiles_are_refused(two):
    rewrite(two[1], lambda r: replace(r, profile="blobs/other"))
    with pytest.raises(BadValueError, match="profile"):
        compare_runs(*two)
    edit(two[1], lambda info: info["tasks"][0].update(version="9"))
    rewrite(two[1], lambda r: replace(r, task_version="9"))
    with pytest.raises(BadValueError, match="version"):
        compare_runs(*two)


def test_records_of_another_plan_are_refused(two):
    rewrite(two[0], lambda r: replace(r, level=2))
    with pytest.raises(BadValueError, match="visenv verify"):
        compare_runs(*two)


def test_another_split_has_nothing_in_common(two):
    edit(two[1], lambda info: info["tasks"][0].update(level=2))
    rewrite(two[1], lambda r: replace(r, level=2))
    with pytest.raises(BadValueError, match="in common"):
        compare_runs(*two)


def test_another_target_is_a_problem(two, visenv):
    first = read_records(two[0])[0].index
    rewrite(two[1], lambda r: replace(r, target="0" * 64) if r.index == first else r)
    found = compare_runs(*two)
    assert only(found).n == 7 and len(found.problems) == 1
    code, out, _ = visenv("compare", *two)
    assert code == 1 and "Problem: Blobs/val/1/" in out


def test_all_tasks_have_one_line(settings, fakes, tmp_path):
    class Other(fakes.Blobs):
        name = "Other"

    run = tmp_path / "run"
    run_bench(settings("blob-finder", "blob-guesser", tasks=("Blobs", Other()), limit=6), run)
    rewrite(run, lambda r: replace(r, cluster=f"{r.task}/{r.index}"))
    found = compare_runs(run, agents=["blob-finder", "blob-guesser"])
    (agents,) = found.agents
    tasks, overall = agents.tasks, agents.overall
    assert overall.difference == pytest.approx((tasks[0].difference + tasks[1].difference) / 2)
    errors = [t.standard_error for t in tasks]
    assert overall.standard_error == pytest.approx(math.hypot(*errors) / 2)
    freedom = (errors[0] ** 2 + errors[1] ** 2) ** 2 / (errors[0] ** 4 / 5 + errors[1] ** 4 / 5)
    half = stats.t.ppf(0.975, freedom) * overall.standard_error
    assert overall.high == pytest.approx(min(1, overall.difference + half))
    one = compare_runs(run, agents=["blob-finder", "blob-guesser"], tasks=["other"]).agents[0]
    assert [t.task for t in one.tasks] == ["Other"] and one.overall is None
    with pytest.raises(UnknownNameError):
        compare_runs(run, agents=["blob-finder", "blob-guesser"], tasks=["Others"])
    score(run, "blob-guesser", [0.5] * 12)
    score(run, "blob-finder", [0.5] * 12)
    overall = compare_runs(run, agents=["blob-finder", "blob-guesser"]).agents[0].overall
    assert overall.low is None and overall.verdict == "cannot tell", "nothing varies, nothing is certain"


def test_the_command(two, visenv):
    code, out, err = visenv("compare", two[0], "--agent", "blob-finder,blob-guesser")
    assert code == 0 and err == "" and "\x1b" not in out
    assert "blob-finder (A) and blob-guesser (B)" in out and "largest differences" in out
    assert "Blobs, val, level 1" in out and "95 % interval" in out
    code, out, _ = visenv("compare", *two, "--json")
    found = json.loads(out)
    assert code == 0 and found["agents"][0]["tasks"][0]["verdict"] == "all scores equal"
    assert found["agents"][0]["overall"] is None and found["problems"] == []


@pytest.mark.parametrize("words", [["nothing"], ["a", "nothing"], ["a"], ["a", "b", "--task", "None"]])
def test_wrong_usage(two, visenv, words, monkeypatch):
    monkeypatch.chdir(two[0].parent)
    code, out, err = visenv("compare", *words)
    assert code == 2 and out == "" and err


def test_who_knew_the_truth_is_said(settings, tmp_path, visenv):
    run_bench(settings("blob-finder", "oracle", limit=3), tmp_path / "run")
    _, out, _ = visenv("compare", tmp_path / "run", "--agent", "blob-finder,oracle")
    assert "oracle knows the truth" in out


@pytest.mark.parametrize("what", ["pipe", "link", "deep", "nan", "folder"])
def test_no_file_hurts(two, visenv, what, tmp_path):
    path = two[0] / "episodes.jsonl"
    whole = path.read_text("ascii")
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "link":
        path.symlink_to(two[1] / "episodes.jsonl")
    elif what == "folder":
        path.mkdir()
    else:
        path.write_text({"deep": "[" * 100_000 + "\n", "nan": re.sub(r'"score":[0-9.]+', '"score":NaN', whole)}[what])
    for words in ([], ["--json"]):
        code, out, err = visenv("compare", *two, *words)
        assert code == 2 and out == "" and "NaN" not in out and len(err) < 1500
    path.unlink() if what != "folder" else path.rmdir()
    path.write_text(whole)
    (two[0] / "run.json").write_text("[" * 100_000)
    code, _, err = visenv("compare", *two)
    assert code == 2 and "Traceback" not in err


@pytest.mark.parametrize("score", [7.0, -1.0])
def test_scores_beyond_their_range_are_refused(two, score):
    path = two[0] / "episodes.jsonl"
    path.write_text(re.sub(r'"score":[0-9.]+', f'"score":{score}', path.read_text("ascii"), count=1))
    with pytest.raises(BadValueError, match="episode record"):
        compare_runs(*two)


def test_other_settings_are_said(two, visenv):
    assert not any("differ in" in note for note in compare_runs(*two).notes)
    edit(two[1], lambda info: info.update(toolset="none", memory="append", max_turns=9))
    found = compare_runs(*two)
    said = " ".join(found.notes)
    assert "toolset: full -> none" in said and "memory: archive -> append" in said and "max_turns" in said
    assert "agents:" not in said and "limit:" not in said and "tasks:" not in said
    _, out, _ = visenv("compare", *two)
    assert "Note: The runs differ in toolset: full -> none." in out


def many(settings, fakes, tmp_path, number):
    """A run of two agents on several tasks, every sample a cluster."""

    def other(task):
        return type(task, (fakes.Blobs,), {"name": task})()

    run = tmp_path / "run"
    names = ["Blobs", *(f"Other{i}" for i in range(1, number))]
    run_bench(settings("blob-finder", "blob-guesser", tasks=("Blobs", *map(other, names[1:])), limit=6), run)
    rewrite(run, lambda r: replace(r, cluster=f"{r.task}/{r.index}"))
    return run, ["blob-finder", "blob-guesser"]


def test_several_comparisons_are_counted_once(settings, fakes, tmp_path):
    run, agents = many(settings, fakes, tmp_path, 3)
    notes = compare_runs(run, agents=agents).notes
    assert [n for n in notes if "comparisons" in n] == ["4 comparisons, each at 95%: together they err more often."]
    assert not any("comparisons" in n for n in compare_runs(run, agents=agents, tasks=["Blobs"]).notes)


def test_one_saturated_task_leaves_an_interval(settings, fakes, tmp_path):
    run, agents = many(settings, fakes, tmp_path, 2)

    def saturate(r):
        return replace(r, score=1.0) if r.task == "Other1" else r

    rewrite(run, saturate)
    (pair,) = compare_runs(run, agents=agents).agents
    varying, equal = pair.tasks
    assert equal.all_equal and varying.standard_error and pair.overall.saturated == 1
    half = stats.t.ppf(1 - 0.0125, 5) * varying.standard_error / 2
    share = 1 - 0.025 ** (1 / 6)
    assert pair.overall.low == pytest.approx(max(-1, varying.difference / 2 - half - share / 2))
    assert pair.overall.high == pytest.approx(min(1, varying.difference / 2 + half + share / 2))
    assert pair.overall.standard_error is None
