"""Tasks by name with options: one name for equal ones, records that stay apart, and names from files that do no harm."""

from __future__ import annotations

import copy
import json
import os
import pickle
import sys
import time
from pathlib import Path

import pytest
from visenv.leaderboard import Patience, RunInfo, RunSettings, run_bench
from visenv.leaderboard.compare import compare_runs
from visenv.leaderboard.runner import plan_bench
from visenv.leaderboard.sampling import indices_of
from visenv.leaderboard.shelf import MAX_VARIANTS, TaskShelf, task_label
from visenv.leaderboard.site import build_site
from visenv.leaderboard.site.shards import parse_shard
from visenv.leaderboard.verification import verify_run

from visenv import make_task
from visenv.errors import BadValueError, UnknownNameError

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import coco

KEY = "sk-4711-0815"


@pytest.fixture
def data(monkeypatch, tmp_path):
    coco.write(tmp_path / "data")
    monkeypatch.setenv("VISENV_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "coco"


@pytest.fixture
def on_coco(data):
    """Settings of a small run on COCO."""

    def make(*tasks, **changes):
        return RunSettings(**({"agents": ("oracle",), "tasks": tasks, "toolset": "none", "limit": 3} | changes))

    return make


def names(run):
    return [task.name for task in RunInfo.read(run).tasks]


def rename(run, name):
    """Let a run say that its one task is called otherwise, and of the version that is installed."""
    version = "0.1.0" if name.startswith("Blobs") else "0"
    for file, key in (("run.json", "version"), ("episodes.jsonl", "task_version"), ("summary.json", "task_version")):
        text = (run / file).read_text("ascii").replace('"Blobs"', json.dumps(name))
        if file == "run.json":
            said = json.loads(text)
            said["tasks"][0][key] = version
            text = json.dumps(said)
        else:
            text = text.replace(f'"{key}":"0.1.0"', f'"{key}":"{version}"').replace(
                f'"{key}": "0.1.0"', f'"{key}": "{version}"'
            )
        (run / file).write_text(text, "ascii")


# Equal tasks have one name


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("coco", "COCO"),
        ("COCO:", "COCO"),
        ("COCO:mode=detect", "COCO"),  # says the default
        ("coco:mode=count,images=a/b", "COCO:images=a/b,mode=count"),
        ("COCO:images=a/b, mode=count", "COCO:images=a/b,mode=count"),
        ("COCO:images=2017", "COCO:images=2017"),  # is text, whatever it reads as
        ("COCO:images=007", "COCO:images=007"),
        ("COCO:annotations=/a/b:c=d.json", "COCO:annotations=/a/b:c=d.json"),
        ("BLINKOrders:seed=0,orders=4", "BLINKOrders"),
        ("BLINKOrders:orders=08", "BLINKOrders:orders=8"),
        (f"Blobs:api_key={KEY},shift=2", "Blobs:api_key=***,shift=2"),
    ],
)
def test_equal_tasks_have_one_name(fakes, spec, label):
    assert task_label(spec) == label
    assert "***" in label or task_label(label) == label


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("COCO:colour=red", BadValueError, r"\(annotations, images, mode\)"),
        ("COCO:root=/tmp", BadValueError, "VISENV_DATA"),
        ("COCO:mode=count,mode=count", BadValueError, "each key once"),
        ("COCO:=3", BadValueError, "key=value"),
        ("COCO:mode", BadValueError, "mode=TEXT"),
        ("EmojiRef:size=3", BadValueError, r"\(none\)"),
        ("COCA:mode=count", UnknownNameError, "'COCO'"),
    ],
)
def test_what_a_task_does_not_take_is_refused(spec, error, said):
    for make in (make_task, task_label):
        with pytest.raises(error, match=said):
            make(spec)


def test_options_can_be_given_beside_the_name(data):
    assert make_task("COCO", mode="count").kind.value == "count"
    assert make_task("COCO:mode=count", root=data.parent).num_samples("val", 1) >= 12
    with pytest.raises(BadValueError, match="mode"):
        make_task("COCO:mode=count", mode="segment")
    with pytest.raises(BadValueError, match="annotations, images, mode"):
        make_task("COCO", colour="red")


# Runs


@pytest.mark.parametrize("workers", [1, 2])
def test_three_modes_in_one_run(on_coco, records, tmp_path, workers):
    run = tmp_path / "run"
    tasks = (
        "coco:mode=count",
        "COCO",
        "COCO:mode=segment,annotations=annotations/instances_val2017.json,images=val2017",
    )
    summary = run_bench(on_coco(*tasks), run, workers=workers)
    wanted = [task_label(task) for task in tasks]
    assert names(run) == wanted == [row.task for row in summary.rows] and {
        r.task for r in records(run).values()
    } == set(wanted)
    assert [(row.n, row.primary) for row in summary.rows] == [(3, 1.0)] * 3
    assert [row.profile for row in summary.rows] == ["rec8k/official", "coco/ap", "gres/native"]
    found = verify_run(run)
    assert found.verified and [task.rescored for task in found.tasks] == [3, 3, 3], found.problems
    again = (
        "COCO:mode=count",
        "COCO:mode=detect",
        f"coco:images=val2017,{tasks[2].removeprefix('COCO:').removesuffix(',images=val2017')}",
    )
    assert not plan_bench(on_coco(*again), run).left
    with pytest.raises(BadValueError, match=r"COCO:mode=count 0 val .* -> COCO:mode=segment"):
        run_bench(on_coco("COCO:mode=segment", *again[1:]), run)


def test_options_do_not_change_which_samples_are_drawn(on_coco, data, tmp_path):
    drawn = indices_of("COCO:mode=count", "val", 1, size=12, samples=None, limit=5, seed=3)
    assert drawn == indices_of("COCO:mode=segment", "val", 1, size=12, samples=None, limit=5, seed=3)
    plan = plan_bench(
        on_coco("COCO:mode=count", "COCO:mode=segment", limit=None, samples=("COCO/val/1/4", "2")), tmp_path / "a"
    )
    assert [(job.task, job.index) for job in plan.jobs] == [
        (f"COCO:mode={mode}", index) for mode in ("count", "segment") for index in (4, 2)
    ]
    with pytest.raises(BadValueError, match="a sample of coco/val/1"):
        plan_bench(on_coco("COCO:mode=count", limit=None, samples=("COCO:mode=count/val/1/4",)), tmp_path / "a")


def test_samples_of_one_id_stay_apart(settings, records, tmp_path):
    """Tasks that differ in their options alone have samples of the same ids; everything else is by the whole name."""
    run = tmp_path / "run"
    run_bench(settings("oracle", tasks=("Blobs", "Blobs:shift=5", "Blobs:words=6x7"), keep_images=0), run)
    found = verify_run(run)
    assert found.verified, found.problems
    by_task = {t: {r.index: r for r in records(run).values() if r.task == t} for t in names(run)}
    assert len({frozenset((i, r.sample_id, r.seed) for i, r in rows.items()) for rows in by_task.values()}) == 1
    assert any(r.target != by_task["Blobs:shift=5"][i].target for i, r in by_task["Blobs"].items())
    site = build_site([run], tmp_path / "site").parent
    shards = [parse_shard(path.read_bytes()) for path in sorted((site / "data").glob("*.js"))]
    index = next(shard for shard in shards if isinstance(shard, dict) and "blocks" in shard)
    assert [block["task"] for block in index["blocks"]] == names(run) and index["runs"][0]["check"][
        "state"
    ] == "verified"
    questions = [
        {s["text"] for s in parse_shard((site / "data" / f"{b['list']}.js").read_bytes())["samples"]}
        for b in index["blocks"]
    ]
    assert all("<6x7>" in text for text in questions[2]) and not any(
        "<6x7>" in text for text in questions[0] | questions[1]
    )


def test_failures_before_the_beginning_keep_their_place(settings, fakes, records, tmp_path, monkeypatch):
    monkeypatch.setattr(fakes.Blobs, "sample", lambda self, *place: 1 / 0)
    run = tmp_path / "run"
    run_bench(settings("oracle", tasks=("Blobs:shift=5",), limit=2), run, patience=Patience(retries=0))
    assert {r.sample_id.rpartition("/")[0] for r in records(run).values()} == {"Blobs/val/1"}
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "plugin"))
    found = verify_run(run)
    assert found.ok and not found.verified, found.problems


def test_compare_takes_options_in_any_order(settings, tmp_path):
    run = tmp_path / "run"
    run_bench(settings("blob-finder", "blob-guesser", tasks=("Blobs", "Blobs:shift=5,words=x")), run)
    agents = ("blob-finder", "blob-guesser")
    (pair,) = compare_runs(run, agents=agents, tasks=["blobs:words=x,shift=5"]).agents
    assert [task.task for task in pair.tasks] == ["Blobs:shift=5,words=x"]
    with pytest.raises(UnknownNameError, match="Blobs:shift=5,words=x"):
        compare_runs(run, agents=agents, tasks=["Blobs:shift=5,words=y"])


def test_a_task_of_ones_own_has_no_options_in_its_name(settings, fakes, tmp_path):
    task = fakes.Blobs()
    task.name = "Blobs:shift=3"
    with pytest.raises(BadValueError, match="without a colon"):
        run_bench(settings(tasks=(task,)), tmp_path / "run")


def test_secrets_are_left_out_and_such_a_task_is_not_made_again(settings, tmp_path, monkeypatch):
    run = tmp_path / "run"
    chosen = settings(tasks=(f"Blobs:api_key={KEY},shift=1",), limit=2, keep_images=0)
    run_bench(chosen, run)
    assert names(run) == ["Blobs:api_key=***,shift=1"] and not plan_bench(chosen, run).left
    assert not any(KEY.encode() in path.read_bytes() for path in run.rglob("*") if path.is_file())
    for trust in (False, True):
        found = verify_run(run, trust_options=trust)
        assert found.ok and found.reaggregated == 2 and "secret" in found.tasks[0].reason
    task = make_task("Blobs:shift=1")
    assert verify_run(run, tasks={"Blobs:api_key=***,shift=1": task}).verified
    with pytest.raises(BadValueError, match="each task once"):
        plan_bench(settings(tasks=("Blobs:api_key=one-secret", "Blobs:api_key=two-secret")), tmp_path / "b")


# Names from files


@pytest.mark.parametrize(
    "name",
    [
        "Blobs:words=/etc/passwd",
        "Blobs:words=~/secrets",
        "Blobs:words=a/../../b",
        "Blobs:words=C:/b",
        "Blobs:words=..\\b",
        "Blobs:words=http://localhost:1/x",
        "Blobs:words=a\0b",
        "Blobs:words=",
        "Blobs:words=\ud800",
        f"Blobs:words={'x/' * 50_000}{'y' * 300}",
    ],
    ids=lambda n: ascii(n)[:32],
)
def test_a_name_from_a_file_leads_nowhere(settings, fakes, tmp_path, monkeypatch, name):
    run_bench(settings(limit=2, keep_images=0), tmp_path / "run")
    rename(tmp_path / "run", name)
    made = []
    monkeypatch.setattr(fakes.Blobs, "__init__", lambda self, shift=0, words="", api_key=None: made.append(words))
    found = verify_run(tmp_path / "run")
    assert found.tasks[0].reason and found.reaggregated == 2 and not found.verified and not made
    build_site([tmp_path / "run"], tmp_path / "site")
    assert not made


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Blobs:shift=1,words=x,", "not as they are written"),
        ("Blobs:words=x,shift=1", "not as they are written"),
        ("Blobs:shift=0", "not as they are written"),
        ("Blobs:", "not as they are written"),
        ("Blobs :shift=1", "not as they are written"),
        ("blobs:shift=1", "not installed"),
        (":shift=1", "not installed"),
        ("Blobs:nothing=1", "options that it has"),
        ("Blobs:shift=1,shift=1", "each key once"),
        ("Blobs:===", "key=value"),
        ("Blobs:root=x", "option"),
        (f"Blobs:shift={'9' * 5000}", "not as they are written"),
        (f"Blobs:{'x' * 100_000}", "options that it has"),
        ("BLINKOrders:orders=0", "at least 1"),
        ("BLINKOrders:orders=many", "at least 1"),
        ("COCO:mode=paint", "Unknown mode"),
        ("COCO:annotations=no/such.json", "no/such.json"),
        ("COCO:annotations=annotations", "annotations"),
    ],
    ids=lambda n: n[:32],
)
def test_a_name_from_a_file_is_one_that_visenv_writes(settings, data, tmp_path, name, said):
    run = tmp_path / "run"
    run_bench(settings(limit=2, keep_images=0), run)
    rename(run, name)
    for trust in (False, True):
        found = verify_run(run, trust_options=trust)
        assert said in found.tasks[0].reason and not found.verified


def test_nothing_is_fetched_for_a_name_from_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv("VISENV_DATA", str(tmp_path))
    for name in ("BLINK:mirror=BLINK-Benchmark/BLINK", "RefCOCO:mirror=jxu124/refcoco-benchmark"):
        assert "may fetch" in str(TaskShelf().any(name)) and task_label(name) == name


def test_options_of_another_task_of_the_name_are_found(settings, tmp_path):
    run = tmp_path / "run"
    run_bench(settings("oracle", limit=4, keep_images=0), run)
    rename(run, "Blobs:shift=5")
    assert {p.kind for p in verify_run(run).problems} >= {"target"}


def test_only_so_many_variants_are_made(fakes):
    wanted = [f"Blobs:shift={number}" for number in range(1, MAX_VARIANTS + 3)]
    shelf = TaskShelf()
    refused = [name for name in wanted if isinstance(shelf.any(name), str)]
    assert refused == wanted[MAX_VARIANTS:] and "more than" in str(shelf.any(refused[0]))
    assert not isinstance(shelf.any("Blobs"), str), "without options there is no limit"
    trusting = TaskShelf(trust_options=True)
    assert not any(isinstance(trusting.any(name), str) for name in wanted)


def test_a_file_of_ones_own_anywhere_is_looked_at_when_told(on_coco, data, tmp_path):
    mine = tmp_path / "a-long-folder-name" / "/".join(["of-many-folders-in-each-other"] * 18)
    mine.mkdir(parents=True)
    (data / "annotations" / "instances_val2017.json").rename(mine / "labels.json")
    (data / "val2017").rename(mine / "images")
    name = f"COCO:annotations={mine / 'labels.json'},mode=count"
    assert len(name) > 500
    run = tmp_path / "run"
    run_bench(on_coco(name, name.replace("count", "segment")), run)
    shy, told = verify_run(run), verify_run(run, trust_options=True)
    assert told.verified and shy.ok and shy.reaggregated == 6 and "--trust-options" in shy.tasks[0].reason
    for trust, state in ((False, "unchecked"), (True, "verified")):
        site = build_site([run], tmp_path / f"site-{trust}", trust_options=trust).parent
        shards = [parse_shard(path.read_bytes()) for path in sorted((site / "data").glob("*.js"))]
        index = next(shard for shard in shards if isinstance(shard, dict) and "blocks" in shard)
        assert index["runs"][0]["check"]["state"] == state
        assert [block["task"] for block in index["blocks"]] == names(run)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("trust", [False, True])
def test_a_pipe_does_not_hang(settings, data, tmp_path, trust):
    os.mkfifo(data / "pipe.json")
    run = tmp_path / "run"
    run_bench(settings(limit=2, keep_images=0), run)
    rename(run, f"COCO:annotations={data / 'pipe.json' if trust else 'pipe.json'}")
    began = time.monotonic()
    assert "MissingDataError" in verify_run(run, trust_options=trust).tasks[0].reason
    assert time.monotonic() - began < 5


def test_names_do_not_hang_on_where_python_runs(on_coco, data, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    (here / "labels.json").write_text("{}")
    monkeypatch.chdir(here)
    with pytest.raises(FileNotFoundError, match=r"labels\.json"):
        plan_bench(on_coco("COCO:annotations=labels.json"), tmp_path / "run")


def test_tasks_with_options_survive_copies(data):
    task = make_task("COCO:mode=segment,annotations=annotations/instances_train2017.json,images=train2017")
    for other in (copy.deepcopy(task), pickle.loads(pickle.dumps(task))):
        assert (other.kind, other.profile, other.also, other.splits) == (task.kind, task.profile, task.also, ("val",))
        assert other.sample("val", 1, 3).target == task.sample("val", 1, 3).target
