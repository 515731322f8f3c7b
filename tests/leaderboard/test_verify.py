"""``verify``: every change that alters a score or a stated number is found, and no file can hurt whoever checks it."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image as PilImage
from visenv.agents import prior
from visenv.leaderboard import Patience, RunInfo, RunSettings, run_bench
from visenv.leaderboard.job import Job
from visenv.leaderboard.recording import costs_of, failed_record
from visenv.leaderboard.records import plain
from visenv.leaderboard.rundir import read_records, write_json
from visenv.leaderboard.sampling import player_seed
from visenv.leaderboard.summary import digest_of, summarise
from visenv.leaderboard.verification import verify_run

from visenv import plugins
from visenv.answers import Answer
from visenv.cli import main
from visenv.env import make_task
from visenv.errors import BadValueError
from visenv.masks import Mask

TASKS = ("EmojiReason", "EmojiRef", "EmojiCount")
PLAYERS = ("random", "prior", "scripted", "oracle")
DENSE = ("EmojiDense", "EmojiMulti")
PLUGIN = Path(__file__).parent / "plugin"


class Cached:
    """A task that makes each sample once."""

    def __init__(self, task):
        self.task, self.samples = task, {}

    def __getattr__(self, name):
        return getattr(self.task, name)

    def sample(self, *place):
        if place not in self.samples:
            self.samples[place] = self.task.sample(*place)
        return self.samples[place]


@pytest.fixture(scope="module")
def tasks():
    return {name: Cached(make_task(name)) for name in (*TASKS, *DENSE)}


@pytest.fixture(scope="module")
def played(tmp_path_factory, tasks):
    """A run of four agents on five tasks, without pictures. Tests copy it."""
    run = tmp_path_factory.mktemp("played") / "run"
    chosen = RunSettings(agents=PLAYERS, tasks=tuple(tasks.values()), limit=2, keep_images=0)
    with pytest.MonkeyPatch.context() as patch:  # which constant is best does not matter here
        patch.setattr(prior, "NUM_SAMPLES", dict.fromkeys(prior.NUM_SAMPLES, 2))
        prior.best_constant.cache_clear()
        run_bench(chosen, run)
    prior.best_constant.cache_clear()
    return run


@pytest.fixture(scope="module")
def blobs_played(tmp_path_factory):
    """A small run with pictures, of agents of every temper. Tests copy it."""
    run = tmp_path_factory.mktemp("blobs") / "run"
    agents = ("blob-finder", "blob-hostile", "blob-crash", "oracle")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        plugins.plugins.cache_clear()
        run_bench(RunSettings(agents=agents, tasks=("Blobs",), experts="blobs", limit=4), run)
    plugins.plugins.cache_clear()
    return run


@pytest.fixture
def blobs(fakes, blobs_played, tmp_path):
    return shutil.copytree(blobs_played, tmp_path / "run")


@pytest.fixture
def visenv(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            main(list(map(str, words)))
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


def lines_of(run):
    return [json.loads(line) for line in (run / "episodes.jsonl").read_text("ascii").splitlines()]


def write_lines(run, lines, *, rehash=True):
    """Write records, and let the summary state their hash: a check of the hash alone finds nothing then."""
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (run / "episodes.jsonl").write_text(text, "ascii")
    if rehash:
        edit(run / "summary.json", records_sha256=digest_of(run))


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change(run, number, **changes):
    lines = lines_of(run)
    lines[number] |= changes
    write_lines(run, lines)


def resummarise(run, tasks=None):
    """State what follows from the records as they are."""
    info = RunInfo.read(run)
    profiles = {t.name: (tasks or {}).get(t.name, None) or make_task(t.name) for t in info.tasks}
    made = summarise(info, read_records(run), {n: t.profile for n, t in profiles.items()}, digest=digest_of(run))
    write_json(run / "summary.json", made.to_dict())


def kinds(found):
    return {p.kind for p in found.problems}


# Runs that are as they should be


def test_an_honest_run_is_equal(played, tasks):
    seen = []
    found = verify_run(played, tasks=tasks, progress=lambda done, total: seen.append((done, total)))
    assert found.problems == () and found.ok and found.rescored == 40 and found.reaggregated == found.failed == 0
    assert found.verdict == "Verified: 40 records re-scored, all equal; the summary follows from them."
    assert [t.task for t in found.tasks] == [*TASKS, *DENSE] and all(t.rescored == 8 for t in found.tasks)
    assert seen == [(i, 40) for i in range(1, 41)]


def test_every_end_of_an_episode_is_equal(blobs):
    found = verify_run(blobs)
    assert found.problems == () and found.rescored == 16 and found.notes == ()
    assert {r.reason for r in read_records(blobs)} >= {"submitted", "agent_error"}


@pytest.mark.parametrize(
    ("reward", "memory"),
    [
        ("rsagent", "append"), ("visharness:turn_cost=0.1", "window:k=1"), ("imagent", "prune:k=2"),
        ("primary:invalid_cost=0.5", "archive:blind"), ("rsagent:gain=0.5", "archive:blind"),
    ],
)  # fmt: skip
def test_rewards_and_views_follow_whatever_the_rules(settings, tmp_path, reward, memory):
    agents = ("blob-finder", "blob-guesser", "blob-hostile")
    run_bench(settings(*agents, reward=reward, memory=memory, limit=3), tmp_path / "run")
    assert verify_run(tmp_path / "run").problems == ()


@pytest.mark.parametrize("toolset", ["none", "visharness"])
def test_answers_follow_with_other_tools(tmp_path, tasks, toolset):
    wanted = tuple(tasks[name] for name in TASKS)
    chosen = {"agents": ("random",), "tasks": wanted, "toolset": toolset, "limit": 4, "seed": 5, "keep_images": 0}
    run_bench(RunSettings(**chosen), tmp_path / "run")
    assert verify_run(tmp_path / "run", tasks=tasks).problems == ()


def test_turn_limits_are_followed(settings, tmp_path):
    run_bench(settings(max_turns=2, limit=2, tasks=("Blobs",)), tmp_path / "run")
    assert {r.reason for r in read_records(tmp_path / "run")} == {"turn_limit"}
    assert verify_run(tmp_path / "run").problems == ()


def test_failures_have_no_score_and_are_counted(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOBS_DOWN", "1")
    run = tmp_path / "run"
    run_bench(settings("blob-finder", experts="flaky", limit=12), run, patience=Patience(retries=0))
    found = verify_run(run)
    assert found.problems == () and found.failed > 0 and found.rescored == 12 - found.failed
    assert any("Incomplete" in note for note in found.notes)
    monkeypatch.delenv("BLOBS_DOWN")
    run_bench(settings("blob-finder", experts="flaky", limit=12), run)
    found = verify_run(run)
    assert found.problems == () and found.rescored == 12 and found.notes == ()


def test_what_failed_before_it_began_is_no_problem(settings, fakes, tmp_path):
    class Torn(fakes.Blobs):
        def sample(self, split, level, index):
            if index % 3:
                raise OSError("no such picture")
            return super().sample(split, level, index)

    chosen = settings("blob-finder", "blob-crash", tasks=(Torn(),), limit=6)
    run_bench(chosen, tmp_path / "run", patience=Patience(retries=0))
    found = verify_run(tmp_path / "run")
    assert found.problems == () and found.failed > 0 and found.rescored == 12 - found.failed


def test_what_killed_its_process_is_no_problem(blobs, fakes):
    records = read_records(blobs)
    r = records[0]
    job = Job(agent=r.agent, task=r.task, split=r.split, level=r.level, index=r.index, keep=False)
    records[0] = failed_record(job, fakes.Blobs(), run_seed=0, failure="A worker process ended by itself", seconds=0.0)
    (blobs / "episodes.jsonl").write_text("".join(r.to_json() + "\n" for r in records), "ascii")
    resummarise(blobs)
    found = verify_run(blobs)
    assert found.problems == () and (found.failed, found.rescored) == (1, 15)


def test_chosen_samples_are_said(settings, tmp_path):
    run_bench(settings(limit=None, samples=("3", "Blobs/val/1/7")), tmp_path / "run")
    found = verify_run(tmp_path / "run")
    assert found.ok and any("chosen one by one" in note for note in found.notes)


def test_a_killed_run_says_how_to_go_on(settings, outside, tmp_path, fakes, monkeypatch):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "visenv.cli", "bench", "--agent", "blob-finder:slow=0.02", "--task", "Blobs",
               "--experts", "blobs", "--limit", "30", "--out", str(run)]  # fmt: skip
    process = subprocess.Popen(command, cwd="/", env=outside, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (run / "episodes.jsonl").exists() or (run / "episodes.jsonl").read_bytes().count(b"\n") < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    with (run / "episodes.jsonl").open("ab") as file:
        file.write(b'{"agent": "blob-fin')
    found = verify_run(run)
    assert [p.kind for p in found.problems] == ["summary"] and found.rescored >= 3
    assert "Finish the run with the same command" in found.problems[0].what
    assert any("torn" in n for n in found.notes) and any("Incomplete" in n for n in found.notes)
    monkeypatch.setattr(fakes, "time", SimpleNamespace(sleep=lambda seconds: None))
    run_bench(settings("blob-finder:slow=0.02", limit=30), run)
    assert verify_run(run).ok


# What cannot be scored again here


def test_without_the_task_rows_are_only_aggregated(blobs, visenv, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [p for p in sys.path if p != str(PLUGIN)])
        plugins.plugins.cache_clear()
        code, out, _ = visenv("verify", blobs)
        assert code == 0 and out.splitlines()[-1].startswith("Re-aggregated, not re-scored") and "NO ANSWER" in out
        assert "not installed" in out and "only the mean of the recorded scores" in out
        edit_row(blobs, primary=0.99)
        code, out, _ = visenv("verify", blobs)
        assert code == 1 and out.splitlines()[-1].startswith("NOT equal")
    plugins.plugins.cache_clear()
    code, out, _ = visenv("verify", blobs)
    assert code == 1 and "16 re-scored" in out


def edit_row(run, number=0, **changes):
    rows = json.loads((run / "summary.json").read_text())["rows"]
    rows[number] |= changes
    edit(run / "summary.json", rows=rows)


def test_another_version_is_not_scored_again(blobs, fakes):
    class Later(fakes.Blobs):
        version = "0.2.0"

    found = verify_run(blobs, tasks={"Blobs": Later()})
    assert found.ok and found.reaggregated == 16 and found.rescored == 0
    assert "0.1.0 was played, 0.2.0 is installed" in found.tasks[0].reason
    edit_row(blobs, metrics={"giou": 1.0, "undefined": None})
    assert kinds(verify_run(blobs, tasks={"Blobs": Later()})) == {"summary"}, "the profile is known by its name"
    lines = lines_of(blobs)
    number = next(i for i, line in enumerate(lines) if line["agent"] == "blob-finder")
    change(blobs, number, score=1.0)
    assert "row" in kinds(verify_run(blobs, tasks={"Blobs": Later()})), "a score must follow from its row"


def test_missing_data_is_not_the_runs_fault(blobs, fakes):
    class Bare(fakes.Blobs):
        def sample(self, split, level, index):
            raise FileNotFoundError("no such picture")

    found = verify_run(blobs, tasks={"Blobs": Bare()})
    assert found.ok and found.reaggregated == 16 and "no such picture" in found.tasks[0].reason

    first = read_records(blobs)[0].index

    class Half(fakes.Blobs):
        def sample(self, split, level, index):
            return super().sample(split, level, index) if index != first else 1 / 0

    found = verify_run(blobs, tasks={"Blobs": Half()})
    assert found.ok and found.rescored and found.reaggregated and "WERE NOT CHECKED" in found.verdict


def test_a_target_that_differs_is_a_problem(blobs, fakes):
    class Other(fakes.Blobs):
        def sample(self, split, level, index):
            return super().sample(split, level, index + 1)

    assert "target" in kinds(verify_run(blobs, tasks={"Blobs": Other()}))


# Random changes


def random_mask(rng, size):
    height, width = size
    dense = np.zeros((height, width), np.uint8)
    y, x = rng.randrange(height - 1), rng.randrange(width - 1)
    dense[y : y + rng.randrange(2, 200), x : x + rng.randrange(2, 200)] = 1
    return Mask.from_dense(dense).to_json()


def change_answer(rng, line, sample):
    answer = line["answer"]
    if answer is None:
        return False
    what = rng.choice([*(k for k in ("masks", "boxes_xyxy") if answer[k]), "count", "choice", "no_target", "none"])
    if what == "masks":
        answer["masks"][rng.randrange(len(answer["masks"]))] = random_mask(rng, sample.target.size_hw)
    elif what == "boxes_xyxy":
        box = rng.choice(answer["boxes_xyxy"])
        side = rng.randrange(4)
        box[side] = float(box[side] + rng.choice([-40, -3, 3, 40]))
    elif what == "count":
        answer["count"] = rng.randrange(40)
    elif what == "choice":
        answer["choice"] = rng.choice("ABCDE")
    elif what == "no_target":
        answer["no_target"] = not answer["no_target"]
    else:
        line["answer"] = None
    return True


def change_row(rng, line, sample):
    if line["row"] is None:
        return False
    name = rng.choice(sorted(line["row"]))
    value = line["row"][name]
    if isinstance(value, list):
        place = rng.randrange(len(value))
        value[place] += rng.choice([-1, 1])
    else:
        line["row"][name] = (not value) if isinstance(value, bool) else value + rng.choice([-7, -1, 1, 2, 100])
    return True


def change_number(rng, line, sample):
    what = rng.choice(["score", "reward", "cluster", "failed", "costs", "costs", "costs", "reason", "turn"])
    if what in ("score", "reward"):
        line[what] = rng.choice([0.0, 1.0, (line[what] or 0.0) + rng.choice([1e-6, -1e-6, 0.1])])
    elif what == "cluster":
        line["cluster"] = rng.choice(["one", line["cluster"] + "0"])
    elif what == "failed":
        line["failed"] = not line["failed"]
    elif what == "reason":
        line["reason"] = rng.choice(["submitted", "turn_limit", "agent_error", "token_limit", "infrastructure_error"])
    elif what == "turn":
        if not line["transcript"]:
            return False
        turn = rng.choice(line["transcript"])
        name = rng.choice(["reward", "visual_tokens", "call", "error"])
        turn[name] = turn[name] + 1 if name in ("reward", "visual_tokens") else None if turn[name] else "bad_value"
    else:
        line["costs"][rng.choice(sorted(line["costs"]))] += rng.choice([-1, 1, 500])
    return True


def change_summary(rng, summary):
    row = rng.choice(summary["rows"])
    names = [n for n, v in row.items() if isinstance(v, (int, float)) or n in ("metrics", "reasons", "measured")]
    name = rng.choice(names)
    inner = row
    if isinstance(row[name], dict):
        inner = row[name]
        name = rng.choice(sorted(inner))
    if inner[name] is None:
        return False
    value = inner[name]
    if isinstance(value, bool):
        inner[name] = not value
    else:
        step = 1 if isinstance(value, int) else rng.choice([1e-6, 0.05, 3]) * max(1.0, abs(value))
        inner[name] = value + rng.choice([-1, 1]) * step
    return True


def stated(record, profile, target):
    """What a record says that counts: the score of its answer, made independently of the code under test."""
    try:
        answer = None if record["answer"] is None else Answer.from_json(record["answer"])
        for mask in answer.masks if answer else ():
            assert mask.size_hw == target.size_hw
        row = profile.row(target, answer)
        return json.dumps(plain(row), sort_keys=True), profile.primary(row)
    except (ValueError, TypeError, AssertionError):
        return "nothing that can be scored"


CHANGES = (change_answer, change_answer, change_row, change_number, change_summary)


def run_changes(played, tasks, tmp_path, *, number, seed):
    texts, summary = (played / "episodes.jsonl").read_text("ascii").splitlines(), (played / "summary.json").read_text()
    run = shutil.copytree(played, tmp_path / "run")
    rng = random.Random(seed)
    missed, done = [], dict.fromkeys(CHANGES, 0)
    while sum(done.values()) < number:
        how = rng.choice(CHANGES)
        place = rng.randrange(len(texts))
        line, before, stating = json.loads(texts[place]), json.loads(texts[place]), json.loads(summary)
        sample = tasks[line["task"]].sample(line["split"], line["level"], line["index"])
        if how is change_summary:
            if not change_summary(rng, stating):
                continue
        elif not how(rng, line, sample) or line == before:
            continue
        elif how is change_answer:
            scored = [stated(one, tasks[line["task"]].profile, sample.target) for one in (before, line)]
            if scored[0] == scored[1]:
                continue
        changed = [*texts[:place], json.dumps(line, separators=(",", ":")), *texts[place + 1 :]]
        (run / "episodes.jsonl").write_text("\n".join(changed) + "\n", "ascii")
        (run / "summary.json").write_text(json.dumps(stating | {"records_sha256": digest_of(run)}))
        found = verify_run(run, tasks=tasks)
        done[how] += 1
        if found.ok:
            missed.append((how.__name__, place))
    assert not missed, missed
    assert all(done.values())


def test_random_changes_are_found(played, tasks, tmp_path):
    run_changes(played, tasks, tmp_path, number=40, seed=0)


@pytest.mark.acceptance
def test_a_thousand_random_changes_are_found(played, tasks, tmp_path):
    run_changes(played, tasks, tmp_path, number=1000, seed=1)


# Forgeries: everything that follows is made to follow


def forge(rng, record, profile, target):
    """Return the record with a better score that all of its own numbers agree with; the answer is kept."""
    best = plain(profile.row(target, truth_as_answer(target)))
    if record.row is None or record.row == best:
        best = plain(profile.row(target, None))  # worse: a rival's record
    if record.row == best:
        return None
    score = float(profile.primary(best))
    turns = list(record.transcript)
    if rng.random() < 0.3 and len(turns) > 1:  # cheaper too
        turns = turns[1:]
    elif rng.random() < 0.3 and turns:
        turns = [replace(t, visual_tokens=t.visual_tokens // 2) for t in turns]
    if turns:
        gained = score - (record.score or 0.0)
        turns[-1] = replace(turns[-1], reward=turns[-1].reward + gained, terms={"final": turns[-1].reward + gained})
    transcript = tuple(turns)
    return replace(
        record, row=best, score=score, transcript=transcript, costs=costs_of(transcript, record.reason),
        reward=math.fsum(t.reward for t in transcript),
    )  # fmt: skip


def truth_as_answer(target):
    if target.choice is not None:
        return Answer(choice=target.choice)
    return Answer(
        masks=target.masks, boxes_xyxy=target.boxes_xyxy or tuple(tuple(map(float, m.box_xyxy)) for m in target.masks),
        labels=target.labels or ("x",) * len(target.masks), no_target=target.no_target,
    )  # fmt: skip


def run_forgeries(played, tasks, tmp_path, *, number, seed):
    records, rng = read_records(played), random.Random(seed)
    run = tmp_path / "run"
    shutil.copytree(played, run)
    done = 0
    while done < number:
        forged = list(records)
        chosen = rng.sample(range(len(forged)), rng.randrange(1, 4))
        changed = 0
        for place in chosen:
            r = forged[place]
            target = tasks[r.task].sample(r.split, r.level, r.index).target
            made = forge(rng, r, tasks[r.task].profile, target)
            changed += made is not None
            forged[place] = made or r
        if not changed:
            continue
        (run / "episodes.jsonl").write_text("".join(r.to_json() + "\n" for r in forged), "ascii")
        resummarise(run, tasks)
        found = verify_run(run, tasks=tasks)
        assert not found.ok and kinds(found) & {"row", "costs", "reward"} and "summary" not in kinds(found)
        assert found.verdict.startswith("NOT equal")
        done += 1


def test_consistent_forgeries_are_found(played, tasks, tmp_path):
    run_forgeries(played, tasks, tmp_path, number=8, seed=0)


@pytest.mark.acceptance
def test_two_hundred_consistent_forgeries_are_found(played, tasks, tmp_path):
    run_forgeries(played, tasks, tmp_path, number=200, seed=1)


# What a run may not claim, everything else made consistent


@pytest.fixture
def copied(played, tmp_path):
    shutil.copytree(played, tmp_path / "run")
    return tmp_path / "run"


def rename(run, old, new, privileged=False):
    """Let an agent's records be another's."""
    lines = lines_of(run)
    for line in lines:
        if line["agent"] == old:
            line |= {"agent": new, "seed": player_seed(0, line["sample_id"], new)}
    write_lines(run, lines)
    info = json.loads((run / "run.json").read_text())
    for agent in info["agents"]:
        if agent["name"] == old:
            agent |= {"name": new, "privileged": privileged}
    edit(run / "run.json", agents=info["agents"])
    resummarise(run)


def test_an_oracle_by_another_name_is_found(copied, tasks):
    rename(copied, "oracle", "my-agent")
    found = verify_run(copied, tasks=tasks)
    assert kinds(found) == {"state"} and "without a call" in found.problems[0].what


@pytest.mark.parametrize(("name", "privileged"), [("oracle", False), ("scripted", True), ("Oracle:a=1", False)])
def test_who_knew_the_truth_is_checked(copied, tasks, name, privileged):
    rename(copied, "oracle" if name != "scripted" else name, name, privileged)
    assert "settings" in kinds(verify_run(copied, tasks=tasks))


def test_an_answer_from_nowhere_is_found(copied, tasks):
    records = read_records(copied)
    place = next(i for i, r in enumerate(records) if r.agent == "scripted" and r.task == "EmojiReason")
    r = records[place]
    task = tasks[r.task]
    target = task.sample(r.split, r.level, r.index).target
    answer = truth_as_answer(target)
    row = task.profile.row(target, answer)
    turns = [*r.transcript[:-1], replace(r.transcript[-1], reward=1.0, terms={"final": 1.0})]
    records[place] = replace(
        r, answer=plain(answer.to_json()), row=plain(row), score=1.0, reward=1.0, transcript=tuple(turns)
    )
    (copied / "episodes.jsonl").write_text("".join(r.to_json() + "\n" for r in records), "ascii")
    resummarise(copied)
    found = verify_run(copied, tasks=tasks)
    assert kinds(found) == {"answer"} and "last call" in found.problems[0].what


@pytest.mark.parametrize("overlay", [True, False])
def test_smaller_views_are_found(settings, tmp_path, overlay):
    """Smaller pictures would cost fewer visual tokens, with everything that follows made to follow."""
    run = tmp_path / "run"
    run_bench(settings("blob-finder", limit=2), run)
    lines = lines_of(run)
    for line in lines:
        for image in line["images"].values():
            if image["parent"]:
                image |= {"size_wh": [8, 8], "overlay": overlay}
    write_lines(run, lines)
    assert "image" in kinds(verify_run(run))


def test_a_better_second_try_is_found(copied, tasks):
    lines = lines_of(copied)
    write_lines(copied, [*lines, lines[0]])
    resummarise(copied)
    found = verify_run(copied, tasks=tasks)
    assert kinds(found) == {"plan"} and "second record" in found.problems[0].what


@pytest.mark.parametrize("field", ["index", "agent", "task", "split", "level", "task_version", "sample_id", "seed"])
def test_a_record_of_something_else_is_found(copied, tasks, field):
    other = {
        "index": 17, "agent": "nobody", "task": "Nothing", "split": "test", "level": 2, "task_version": "9",
        "sample_id": "EmojiReason/val/1/17", "seed": 3,
    }  # fmt: skip
    change(copied, 0, **{field: other[field]})
    assert kinds(verify_run(copied, tasks=tasks)) & {"plan", "target", "state"}


@pytest.mark.parametrize(
    "changes",
    [
        {"limit": 1}, {"limit": None}, {"seed": 9}, {"samples": ["0", "1"], "limit": None}, {"max_turns": 1},
        {"limit": 10**12}, {"samples": ["9" * 5000], "limit": None}, {"memory": "append"}, {"memory": "x"},
        {"reward": "visharness"}, {"reward": "y:a=1"}, {"format": 1}, {"format": 2.0}, {"bonus": 1}, {"agents": []},
    ],
    ids=lambda c: ",".join(f"{k}={str(v)[:12]}" for k, v in c.items()),
)  # fmt: skip
def test_a_plan_that_was_changed_afterwards_is_found(copied, tasks, changes):
    edit(copied / "run.json", **changes)
    if "agents" not in changes and "bonus" not in changes and "format" not in changes:
        resummarise(copied)
    assert not verify_run(copied, tasks=tasks).ok


@pytest.mark.parametrize("number", [1, 3, -1, 10**15])
def test_another_number_of_samples_is_found(copied, tasks, number):
    info = json.loads((copied / "run.json").read_text())
    info["tasks"][0]["num_samples"] = number
    edit(copied / "run.json", tasks=info["tasks"])
    resummarise(copied)
    assert "plan" in kinds(verify_run(copied, tasks=tasks))
    assert number < 0 or number == 10**15 or verify_run(copied, tasks=tasks).asked == 32 + 4 * number


def test_a_sample_left_out_makes_the_run_incomplete(copied, tasks):
    write_lines(copied, lines_of(copied)[1:])
    resummarise(copied)
    found = verify_run(copied, tasks=tasks)
    assert found.ok and any("39 of 40" in note for note in found.notes)
    edit(copied / "summary.json", complete=True)
    assert kinds(verify_run(copied, tasks=tasks)) == {"summary"}


# Pictures


def picture(blobs):
    return sorted((blobs / "images").iterdir())[0]


def test_pictures_are_decoded(blobs):
    path = picture(blobs)
    good = path.read_bytes()
    for content in (b"", good[: len(good) // 2], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        path.write_bytes(content)
        assert kinds(verify_run(blobs)) == {"image"}
    PilImage.new("RGB", (96, 96), "red").save(path)
    found = verify_run(blobs)
    assert kinds(found) == {"image"} and "another picture" in found.problems[0].what
    path.unlink()
    assert "is not there" in verify_run(blobs).problems[0].what
    path.symlink_to("/etc/passwd")
    assert "is a link" in verify_run(blobs).problems[0].what
    path.unlink()
    path.write_bytes(good)
    (blobs / "images" / ".DS_Store").write_bytes(b"x")
    assert verify_run(blobs).ok
    (blobs / "images" / "readme.png").write_bytes(good)
    assert kinds(verify_run(blobs)) == {"image"}


def test_a_run_may_come_without_its_pictures(blobs):
    shutil.rmtree(blobs / "images")
    found = verify_run(blobs)
    assert found.ok and any("pictures" in note for note in found.notes)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "a" * 64 + ".png", "."])
def test_picture_names_lead_nowhere(blobs, name):
    lines = lines_of(blobs)
    lines[0]["images"]["img_0"]["file"] = name
    write_lines(blobs, lines)
    assert "image" in kinds(verify_run(blobs))


# Hostile files


@pytest.mark.parametrize("name", ["run.json", "episodes.jsonl", "summary.json", "images"])
def test_links_are_not_followed(blobs, tmp_path, name):
    (blobs / name).rename(tmp_path / "elsewhere")
    (blobs / name).symlink_to(tmp_path / "elsewhere")
    found = verify_run(blobs)
    assert any("is a link" in p.what for p in found.problems)


@pytest.mark.parametrize("name", ["run.json", "episodes.jsonl", "summary.json"])
def test_what_is_no_file_is_not_opened(blobs, name):
    (blobs / name).unlink()
    os.mkfifo(blobs / name)
    assert not verify_run(blobs).ok
    (blobs / name).unlink()
    (blobs / name).mkdir()
    assert not verify_run(blobs).ok


BAD_JSON = [
    "",
    "null",
    "[]",
    "{}",
    "nan",
    "[" * 100_000,
    '{"a":' * 5000,
    "9" * 5000,
    '{"rows": 3}',
    '{"rows": [1]}',
    "\ud800",
]


@pytest.mark.parametrize("content", BAD_JSON, ids=range(len(BAD_JSON)))
@pytest.mark.parametrize("name", ["run.json", "summary.json"])
def test_other_json_is_a_problem(blobs, name, content):
    (blobs / name).write_bytes(content.encode("utf-8", "surrogatepass"))
    found = verify_run(blobs)
    assert not found.ok and kinds(found) & {"settings", "summary"}
    json.dumps(found.to_dict())


def test_a_missing_summary_is_a_problem(blobs):
    (blobs / "summary.json").unlink()
    found = verify_run(blobs)
    assert [str(p) for p in found.problems] == ["summary.json: is not there."]


@pytest.mark.parametrize("path", ["run.json", "nothing"])
def test_no_run_directory(blobs, path):
    with pytest.raises(BadValueError, match="no run directory"):
        verify_run(blobs / path)
    with pytest.raises(BadValueError, match="no run directory"):
        verify_run(blobs / "images")


def test_one_key_twice_is_found(blobs):
    text = (blobs / "episodes.jsonl").read_text("ascii").replace('"score":', '"score":0.0,"score":', 1)
    (blobs / "episodes.jsonl").write_text(text, "ascii")
    edit(blobs / "summary.json", records_sha256=digest_of(blobs))
    assert kinds(verify_run(blobs)) == {"form"}


def leaves(value, path=()):
    """Every place in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from leaves(one, (*path, key))


POISON = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=8),
    st.sampled_from([10**400, 1e308, "9" * 5000, [], {}, [[]] * 3, {"size": [2**31, 2**31], "counts": "0"}, "../x"]),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2), max_leaves=8),
)  # fmt: skip


@pytest.fixture(scope="module")
def places(played):
    """Every record, and every place in it."""
    return [(line, [path for path in leaves(line) if path]) for line in lines_of(played)]


@given(data=st.data())
@hypothesis_settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_in_a_record_crashes(played, places, tasks, tmp_path, data):
    run = shutil.copytree(played, tmp_path / "run", dirs_exist_ok=True)
    line, paths = data.draw(st.sampled_from(places))
    line = inner = json.loads(json.dumps(line))
    path = data.draw(st.sampled_from(paths))
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = data.draw(POISON)
    write_lines(run, [line])
    found = verify_run(run, tasks=tasks)
    json.dumps(found.to_dict())
    assert all(str(p).isprintable() for p in found.problems) and len(found.verdict) < 300


@given(line=st.binary(max_size=200) | st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass")))
@hypothesis_settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_line_crashes(blobs, line):
    whole = (blobs / "episodes.jsonl").read_bytes()
    try:
        (blobs / "episodes.jsonl").write_bytes(whole + line.replace(b"\n", b"") + b"\n")
        found = verify_run(blobs)
        assert {"form", "summary"} <= kinds(found) and found.rescored == 16
        assert all(str(p).isprintable() for p in found.problems)
    finally:
        (blobs / "episodes.jsonl").write_bytes(whole)


@pytest.mark.parametrize(
    "answer", [{"boxes_xyxy": [[0, 0, 1, 1]] * 30_000}, {"masks": [{"size": [2**14, 2**14], "counts": "PPPPP8"}]}]
)
def test_answers_too_large_are_not_scored(blobs, answer):
    lines = lines_of(blobs)
    number = next(i for i, line in enumerate(lines) if line["answer"] and line["agent"] == "blob-finder")
    lines[number]["answer"] |= answer
    write_lines(blobs, lines)
    assert {"answer", "form"} & kinds(verify_run(blobs))


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "b", "c"]])
@pytest.mark.parametrize("with_task", [True, False])
def test_labels_that_do_not_fit_the_boxes_are_a_problem(blobs, fakes, labels, with_task):
    class Later(fakes.Blobs):
        version = "0.2.0"

    lines = lines_of(blobs)
    number = next(i for i, line in enumerate(lines) if line["answer"] and line["agent"] == "blob-finder")
    box = [0.0, 0.0, 9.0, 9.0]
    lines[number]["answer"] |= {"boxes_xyxy": [box, box], "labels": labels}
    write_lines(blobs, lines)
    found = verify_run(blobs, tasks={} if with_task else {"Blobs": Later()})
    said = [str(p) for p in found.problems]
    if labels:
        assert any(p.startswith(f"line {number + 1}, ") and "`answer` is" in p for p in said) and not found.ok
    else:  # none at all is a form of its own, found by scoring it again
        assert not any("`answer` is" in p for p in said) and found.ok is not with_task


def test_problems_are_kept_up_to_a_number(blobs):
    (blobs / "episodes.jsonl").write_bytes(b"x\n" * 3000)
    found = verify_run(blobs)
    assert found.num_problems >= 3000 and len(found.problems) == 1000


def test_more_names_than_anybody_has_are_refused(blobs):
    edit(blobs / "run.json", agents=[{"name": str(i), "privileged": False} for i in range(2000)])
    assert "more than 1000" in verify_run(blobs).problems[0].what


def test_names_are_never_specs(blobs):
    info = json.loads((blobs / "run.json").read_text())
    info["tasks"][0]["name"] = "Blobs:root=/etc"
    edit(blobs / "run.json", tasks=info["tasks"])
    assert "not installed" in verify_run(blobs).tasks[0].reason


# The command


def test_the_command(visenv, blobs):
    code, out, err = visenv("verify", blobs)
    assert code == 0 and err == ""
    assert out.splitlines() == [
        "Blobs, val, level 1: 16 re-scored, all equal",
        "Verified: 16 records re-scored, all equal; the summary follows from them.",
    ]
    code, out, _ = visenv("verify", blobs, "--json")
    assert code == 0
    found = json.loads(out)
    assert (
        found["ok"] and found["rescored"] == 16 and found["problems"] == [] and found["tasks"][0]["version"] == "0.1.0"
    )


def test_the_command_finds_a_change(visenv, blobs):
    change(blobs, 0, score=0.123)
    code, out, _ = visenv("verify", blobs)
    assert code == 1 and "1 DIFFERENT" in out and "Problem: line 1, " in out
    assert out.splitlines()[-1].startswith("NOT equal")
    code, out, _ = visenv("verify", blobs, "--json")
    found = json.loads(out)
    assert code == 1 and not found["ok"] and found["problems"][0]["kind"] in ("row", "state")


def test_the_command_prints_only_some_problems(visenv, blobs):
    (blobs / "episodes.jsonl").write_bytes(b"\x1b[31m\n" * 100)
    code, out, _ = visenv("verify", blobs)
    assert code == 1 and out.count("Problem: ") == 20 and "more problems" in out and "\x1b" not in out


def test_the_command_without_a_run(visenv, tmp_path):
    code, out, err = visenv("verify", tmp_path)
    assert code == 2 and out == "" and "no run directory" in err


def test_long_runs_show_progress(visenv, blobs, monkeypatch):
    monkeypatch.setattr("visenv.leaderboard.checking_commands.QUIET", 1)
    _, out, err = visenv("verify", blobs)
    assert err.splitlines()[-1] == "16/16 records" and "\r" not in err and "records\n" not in out
