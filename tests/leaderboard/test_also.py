"""Further profiles of a task: recorded with every answer, checked, and shown beside the score with their names."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from visenv.leaderboard import EpisodeRecord, Patience, RunInfo, RunSettings, read_records, run_bench
from visenv.leaderboard.listing import catalogue
from visenv.leaderboard.rundir import write_json
from visenv.leaderboard.summary import digest_of, summarise
from visenv.leaderboard.table import print_table
from visenv.leaderboard.verification import verify_run
from visenv.tasks.profiles import PROFILES

from visenv import ExpertSet
from visenv.answers import Answer
from visenv.env import make_task
from visenv.errors import BadValueError
from visenv.task import profiles_of
from visenv.testing import ConformanceError, check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import grefcoco, reasonseg, rec8k, refcoco, visdrone

TASKS = ("ReasonSeg", "GRES", "RefCOCO", "REC8K", "VisDrone")
BESIDE = {
    "ReasonSeg": ["reasonseg/segzero", "reasonseg/visionreasoner"],
    "GRES": ["gres/rela", "gres/gsva"],
    "RefCOCO": ["refcoco/lavt480", "refcoco/box"],
    "REC8K": [],
    "VisDrone": ["visdrone/coco", "visdrone/rexf1"],
}


class Silent:
    """Looks until its turns are over, and submits nothing."""

    name = "silent"

    def start(self, spec: Any) -> Any:
        return SimpleNamespace(act=lambda observation: {"name": "view", "arguments": {"images": ["img_0"]}})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("data")
    for module in (grefcoco, reasonseg, rec8k, refcoco, visdrone):
        module.write(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISENV_DATA", str(root))
        yield root


@pytest.fixture(scope="module")
def played(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the oracle and of an agent that submits nothing, on miniatures. Tests copy it."""
    run = tmp_path_factory.mktemp("played") / "run"
    chosen = {"tasks": TASKS, "experts": ExpertSet({}), "limit": 6, "keep_images": 0, "max_turns": 2}
    run_bench(RunSettings(agents=("oracle", Silent()), **chosen), run)
    return run


@pytest.fixture
def run(played: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(played, tmp_path / "run"))


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "episodes.jsonl").read_text("ascii").splitlines()]


def write_lines(run: Path, lines: list[dict[str, Any]], *, tasks: dict[str, Any] | None = None) -> None:
    """Write records, and the summary that follows from them: what is left to find is in the records themselves."""
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (run / "episodes.jsonl").write_text(text, "ascii")
    info = RunInfo.read(run)
    profiles = {t.name: profiles_of((tasks or {}).get(t.name) or make_task(t.name)) for t in info.tasks}
    write_json(run / "summary.json", summarise(info, read_records(run), profiles, digest=digest_of(run)).to_dict())


def first(lines: list[dict[str, Any]], task: str, agent: str = "oracle") -> dict[str, Any]:
    return next(line for line in lines if line["task"] == task and line["agent"] == agent)


def rows_of(run: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(r["agent"], r["task"]): r for r in json.loads((run / "summary.json").read_text())["rows"]}


def wrong(run: Path) -> str:
    """Verify and return the problems as text."""
    found = verify_run(run)
    assert not found.ok and found.problems
    return "\n".join(f"{p.kind}: {p}" for p in found.problems)


# What is recorded and computed


def test_an_honest_run_is_verified_with_every_profile(played):
    found = verify_run(played)
    assert found.problems == () and found.verified and found.rescored == 60
    for record in read_records(played):
        task = make_task(record.task)
        target = task.sample(record.split, record.level, record.index).target
        answer = None if record.answer is None else Answer.from_json(record.answer)
        assert (answer is None) is (record.agent == "silent")
        assert list(record.also) == BESIDE[record.task]
        for profile in task.also if record.also else ():
            assert record.also[profile.name] == profile.row(target, answer)


def test_the_summary_has_what_each_profile_publishes(played):
    rows = rows_of(played)
    assert all(list(row["also"]) == BESIDE[row["task"]] for row in rows.values())
    for row in rows.values():
        for name, one in row["also"].items():
            assert one["source"] == PROFILES[name].source and one["metrics"]
    number = lambda agent, task, name, metric: rows[agent, task]["also"][name]["metrics"][metric]  # noqa: E731
    assert number("oracle", "GRES", "gres/gsva", "gIoU") == pytest.approx(1, abs=1e-4)
    assert number("oracle", "GRES", "gres/rela", "gIoU") == 100.0
    assert number("oracle", "RefCOCO", "refcoco/box", "Acc@0.5") == 1.0
    assert number("oracle", "VisDrone", "visdrone/coco", "AP") == pytest.approx(1.0)
    for task, names in BESIDE.items():
        for name in names:
            zero = {v for k, v in rows["silent", task]["also"][name]["metrics"].items() if v is not None}
            assert zero == {0.0}, "nothing submitted finds nothing by any of them"


def test_a_metric_that_is_none_says_why(played):
    rows = rows_of(played)
    needs_boxes = dict.fromkeys(("precision", "recall", "F1"), "needs boxes")
    assert rows["silent", "REC8K"]["undefined"] == rows["oracle", "REC8K"]["undefined"] == needs_boxes
    assert all(rows["silent", "REC8K"]["metrics"][name] is None for name in needs_boxes)
    assert rows["silent", "GRES"]["undefined"] == {}, "a metric with a value has no reason"


def test_two_processes_record_the_same(data, tmp_path):
    chosen = RunSettings(agents=("oracle",), tasks=("GRES", "VisDrone"), limit=3, keep_images=0)
    for workers in (1, 2):
        run_bench(chosen, tmp_path / str(workers), workers=workers)
    one, two = ({r.key: r for r in read_records(tmp_path / str(workers))} for workers in (1, 2))
    assert one == two and all(r.also for r in one.values())


# What verification finds


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in BESIDE.items() for name in names[-1:]])
def test_a_forged_row_is_found_though_the_summary_follows_from_it(run, task, name):
    lines = lines_of(run)
    row = first(lines, task)["also"][name]
    row |= {"failed": not row["failed"]}
    write_lines(run, lines)
    text = wrong(run)
    assert f"row by {name}" in text and text.startswith("row: ") and "summary" not in text


def test_forgery_of_every_kind_is_found(run):
    lines = lines_of(run)
    honest = json.dumps(lines)
    name = "reasonseg/segzero"

    def forge(change: Any) -> str:
        forged = json.loads(honest)
        change(first(forged, "ReasonSeg")["also"])
        write_lines(run, forged)
        return wrong(run)

    assert "row by" in forge(lambda also: also[name].update(inter=also[name]["inter"] + 1))
    assert "row by" in forge(lambda also: also[name].update(inter=float(also[name]["inter"])))
    assert "row by" in forge(lambda also: also[name].update(failed=0))
    assert "row by" in forge(lambda also: also[name].update(more=1))
    assert "further rows by" in forge(lambda also: also.pop(name))
    assert "further rows by" in forge(lambda also: also.update({"reasonseg/lisa": {"inter": 1}}))
    assert "further rows by" in forge(lambda also: also.update({"reasonseg/segzero2": also.pop(name)}))
    assert "further rows by" in forge(lambda also: also.clear())
    write_lines(run, json.loads(honest))
    assert verify_run(run).verified


def test_a_failure_of_ours_has_no_rows(run):
    lines = lines_of(run)
    line = first(lines, "GRES", "silent")
    line |= {"reason": "infrastructure_error", "failed": True, "failure": "x", "row": None, "score": None}
    write_lines(run, lines)
    assert "failed, but with rows by" in wrong(run)


@pytest.mark.parametrize("change", [
    lambda row: row["also"]["gres/gsva"]["metrics"].update(gIoU=0.99),
    lambda row: row["also"]["gres/gsva"].update(source="compared"),
    lambda row: row["also"]["gres/gsva"].update(undefined={"gIoU": "needs luck"}),
    lambda row: row["also"].pop("gres/rela"),
    lambda row: row["also"].update(better={"source": "", "metrics": {"gIoU": 1.0}, "undefined": {}}),
    lambda row: row.update(also=None),
    lambda row: row.update(also={}),
    lambda row: row.pop("also"),
])  # fmt: skip
def test_numbers_of_the_summary_that_do_not_follow_are_found(run, change):
    summary = json.loads((run / "summary.json").read_text())
    row = next(r for r in summary["rows"] if (r["agent"], r["task"]) == ("silent", "GRES"))
    change(row)
    (run / "summary.json").write_text(json.dumps(summary))
    assert ".also" in wrong(run)


def test_without_the_data_rows_are_put_together_again(run, tmp_path, monkeypatch):
    monkeypatch.setenv("VISENV_DATA", str(tmp_path / "nothing here"))
    found = verify_run(run)
    assert found.problems == () and found.rescored == 0 and found.reaggregated == 60
    summary = json.loads((run / "summary.json").read_text())
    summary["rows"][0]["also"]["reasonseg/segzero"]["metrics"]["gIoU"] = 0.5
    (run / "summary.json").write_text(json.dumps(summary))
    assert ".also.reasonseg/segzero.metrics.gIoU is 0.5" in wrong(run)


@pytest.mark.parametrize("change", [lambda also: also.clear(), lambda also: also.update({"gres/rela": {"no": 1}})])
def test_without_the_data_rows_left_out_or_of_another_form_are_found(run, tmp_path, monkeypatch, change):
    lines = lines_of(run)
    change(next(line for line in lines[::-1] if line["task"] == "GRES")["also"])
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (run / "episodes.jsonl").write_text(text, "ascii")
    monkeypatch.setenv("VISENV_DATA", str(tmp_path / "nothing here"))
    assert re.search("further rows by|cannot be checked", wrong(run))


def test_profiles_that_nobody_knows_are_noted(settings, fakes, tmp_path):
    own = dataclasses.replace(fakes.PROFILE, name="blobs/other")

    class Elsewhere(fakes.Blobs):
        name = "Elsewhere"
        profile = PROFILES["reasonseg/lisa"]
        also = (own,)

    run_bench(settings("blob-finder", tasks=(Elsewhere(),), limit=2), tmp_path / "run")
    found = verify_run(tmp_path / "run")
    assert found.problems == () and found.reaggregated == 2
    assert any("blobs/other" in note and "not computed" in note for note in found.notes)
    assert verify_run(tmp_path / "run", tasks={"Elsewhere": Elsewhere()}).verified


# Records and summaries from before


def test_records_and_summaries_without_further_profiles_stay_as_they_are(settings, tmp_path):
    run = tmp_path / "run"
    run_bench(settings("blob-finder", limit=2), run)
    for line in (run / "episodes.jsonl").read_text("ascii").splitlines():
        assert '"also"' not in line and EpisodeRecord.from_json(line).to_json() == line
    summary = json.loads((run / "summary.json").read_text())
    for row in summary["rows"]:
        assert row.pop("also") == {} and row.pop("undefined") == {}
    (run / "summary.json").write_text(json.dumps(summary))
    assert verify_run(run).problems == ()


def test_a_summary_from_before_reasons_were_given_is_equal(run):
    summary = json.loads((run / "summary.json").read_text())
    for row in summary["rows"]:
        row.pop("undefined")
    (run / "summary.json").write_text(json.dumps(summary))
    assert verify_run(run).verified
    summary["rows"][0]["undefined"] = {"gIoU": "needs luck"}
    (run / "summary.json").write_text(json.dumps(summary))
    assert ".undefined has 'gIoU'" in wrong(run)


def test_some_records_without_rows_give_no_number(run):
    lines = lines_of(run)
    first(lines, "ReasonSeg").pop("also")
    write_lines(run, lines)
    row = rows_of(run)["oracle", "ReasonSeg"]
    assert [one["metrics"] for one in row["also"].values()] == [{}, {}] and row["metrics"]["gIoU"] > 0.99


# Profiles that misbehave


@pytest.mark.parametrize("raised", [ZeroDivisionError("x"), KeyError("x"), SystemExit(3)], ids=repr)
def test_one_that_cannot_score_fails_its_episode_alone(settings, fakes, tmp_path, raised):
    def row(target: Any, answer: Any) -> Any:
        if target.labels == ("red",):
            raise raised
        return fakes.PROFILE.row(target, answer)

    class Odd(fakes.Blobs):
        also = (dataclasses.replace(fakes.PROFILE, name="blobs/odd", row=row),)

    run_bench(settings("blob-finder", tasks=(Odd(),), limit=12), tmp_path / "run", patience=Patience(retries=0))
    records = read_records(tmp_path / "run")
    failed = [r for r in records if r.failed]
    assert 0 < len(failed) < 12 and all("blobs/odd" in (r.failure or "") for r in failed)
    assert all(r.reason == "infrastructure_error" and r.row is None and not r.also for r in failed)
    assert all(list(r.also) == ["blobs/odd"] for r in records if not r.failed)


@pytest.fixture
def sound(fakes, monkeypatch):
    """A task that passes every check, and the profile that scores it."""

    def mean(rows: Any) -> Any:
        return {"giou": sum(map(fakes.primary, rows)) / len(rows) if rows else None, "undefined": None}

    profile = dataclasses.replace(fakes.PROFILE, aggregate=mean)
    monkeypatch.setattr(fakes.Blobs, "profile", profile)
    return fakes.Blobs, profile


@pytest.mark.parametrize("also", ["profile", "same", "twice", "list", "names"])
def test_also_that_is_none_is_refused_at_the_start(settings, sound, tmp_path, monkeypatch, also):
    task, profile = sound
    own = dataclasses.replace(profile, name="blobs/own")
    wrong = {"profile": own, "same": (profile,), "twice": (own, own), "list": [own], "names": ("blobs/own",)}
    monkeypatch.setattr(task, "also", wrong[also], raising=False)
    with pytest.raises(BadValueError, match="also of Blobs"):
        run_bench(settings(tasks=(task(),)), tmp_path / "run")
    with pytest.raises(ConformanceError, match="`also` raised"):
        check_task(task(), split="val", level=1, num_samples=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"primary": lambda row: 0.0}, None),  # it makes no score
        ({"name": "own"}, "the profile's name is 'own'"),
        ({"row": lambda target, answer: {"iou": 0.5}}, "a float"),
        ({"aggregate": lambda rows: {"iou": float("nan")}}, "nan"),
        ({"undefined": {"iou": "needs boxes"}}, "`profile.undefined` has ['iou']"),
        ({"undefined": {"giou": "because " * 20}}, "`profile.undefined` is"),
        ({"undefined": {"giou": ""}}, "`profile.undefined` is"),
        ({"undefined": {"undefined": "needs luck"}}, None),
    ],
)
def test_check_task_checks_the_further_profiles(sound, monkeypatch, changes, words):
    task, profile = sound
    also = (dataclasses.replace(profile, **{"name": "blobs/own", **changes}),)
    monkeypatch.setattr(task, "also", also, raising=False)
    if words is None:
        check_task(task(), split="val", level=1, num_samples=1)
        return
    with pytest.raises(ConformanceError, match=re.escape(words)) as caught:
        check_task(task(), split="val", level=1, num_samples=1)
    assert also[0].name in str(caught.value)


def test_the_list_has_further_profiles_and_says_what_is_wrong_with_them(sound, monkeypatch):
    task, profile = sound
    monkeypatch.setattr(task, "also", (dataclasses.replace(profile, name="blobs/own"),), raising=False)
    assert {"blobs/own", "blobs/iou"} <= set(catalogue().profiles)
    monkeypatch.setattr(task, "also", "blobs/own")
    assert "Blobs" in [one["name"] for one in catalogue().broken]


# The table


@pytest.fixture(scope="module")
def summary(played: Path) -> Any:
    info = RunInfo.read(played)
    profiles = {t.name: profiles_of(make_task(t.name)) for t in info.tasks}
    return summarise(info, read_records(played), profiles, digest=digest_of(played))


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_the_table_names_the_profile_beside_every_number(summary, monkeypatch, columns):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    print_table(summary, out)
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    for name in (name for names in BESIDE.values() for name in names):
        assert [line for line in lines if name in line and "oracle *" in line and re.search(r"\d", line)]
    assert "RefCOCO, val, level 1: the same answers by other profiles" in text
    assert "rec8k/official: no precision, recall, F1: needs boxes." in text
    assert "mIoU 100.0 %" not in next(line for line in lines if "refcoco/lavt480" in line)
    assert re.search(r"gres/rela +oracle \* +gIoU 100\.0 %", text) and re.search(r"gres/gsva +oracle \* +gIoU 1\.000", text)  # fmt: skip


def test_the_table_in_a_pipe_is_plain(summary):
    out = io.StringIO()
    print_table(summary, out)
    text = out.getvalue()
    assert "\x1b" not in text and "─" not in text
    assert re.search(r"^reasonseg/segzero +silent +gIoU 0\.000$", text, re.M)
    assert "rec8k/official: no precision, recall, F1: needs boxes.\n" in text


def test_a_reason_names_the_agents_if_it_is_not_everyones(summary):
    kept = [dataclasses.replace(row, undefined={} if row.agent == "oracle" else row.undefined) for row in summary.rows]
    out = io.StringIO()
    print_table(dataclasses.replace(summary, rows=tuple(kept)), out)
    assert "rec8k/official: no precision, recall, F1 of silent: needs boxes.\n" in out.getvalue()
