"""``verify``: every change that alters a score or a stated number is found, and no file can hurt whoever checks it."""

from __future__ import annotations

import functools
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tracemalloc
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
from visenv.leaderboard.verification._calls import object_of

from visenv import AnswerKind, plugins
from visenv.agent import Manner
from visenv.answers import Answer
from visenv.cli import main
from visenv.env import make_task
from visenv.errors import BadValueError
from visenv.experts import ExpertSet, Segmentation
from visenv.grammars import GRAMMARS, make_grammar
from visenv.masks import Mask
from visenv.memory import make_policy
from visenv.objects import describe_objects
from visenv.task import profiles_of
from visenv.tools import express_call
from visenv.vision import ESTIMATE, make_vision

TASKS = ("EmojiReason", "EmojiRef", "EmojiCount")
PLAYERS = ("random", "prior", "scripted", "oracle")
DENSE = ("EmojiDense", "EmojiMulti")
PLUGIN = Path(__file__).parent / "plugin"


ROVED = ("EmojiRef", "EmojiMulti")
TOOLSETS = ("full", "imagent", "none", "rsagent", "sam3agent", "visharness", "zoom")


def call(name, **arguments):
    return {"name": name, "arguments": arguments}


def box(name, image, x1, y1, x2, y2, **more):
    return call(name, image=image, x1=x1, y1=y1, x2=x2, y2=y2, **more)


def rove_full(now):
    yield call("detect", images=["img_0"], phrase="object")
    yield box("segment_box", "img_0", 200, 200, 600, 600)
    yield call("segment", objects=[o["id"] for o in now["objects"]][:3])
    newest = now["objects"][-1]["id"]
    yield call("refine", object=newest, image="img_0", x=300, y=500, sign="positive")
    yield box("crop", "img_0", 100, 100, 800, 700)
    yield call("upscale", image="crop_5", factor=2)
    yield call("segment_point", image="crop_5_x2", x=400, y=1000)
    yield box("draw_box", "crop_5", 0, 0, 400, 300, label="odd: 1 object")
    yield call("drop", objects=[now["objects"][0]["id"]])
    yield call("undo")
    yield call("split", images=["img_0"], patch_size=300)
    yield call("view", images=["img_0", "crop_5"])
    yield call("keep", objects=[now["objects"][-1]["id"]])


def rove_visharness(now):
    yield call("PhraseToBoxMask", images=["img_0"], phrase="object")
    yield call("SplitImageIntoPatches", images=["img_0"], patch_size=300)
    yield call("SuperResolution", images=["img_0_r1_c1"])
    yield call("PhraseToPoint", images=["img_0"], phrase="object")
    yield call("PointToBoxMask", images=["img_0"], mode="area")
    yield call("PhraseToBoxMask", images=["img_0_r1_c1", "img_0"], phrase="object")
    yield call("MergeBoxMask", images=["img_0"])
    yield call("Answer", final_answer="A")


def rove_rsagent(now):
    yield box("prompt_box", "img_0", 200, 200, 600, 600)
    yield box("crop", "img_0", 100, 100, 800, 700)
    yield call("prompt_point", image="crop_2", x=500, y=1000, sign="positive")
    yield call("prompt_point", image="img_0", x=250, y=250, sign="negative")
    yield call("view", images=["img_0"])
    yield box("prompt_box", "crop_2", 100, 100, 900, 900)


def rove_sam3agent(now):
    yield call("segment_phrase", phrase="object")
    yield call("examine_each_mask")
    yield call("segment_phrase", phrase="Object ")
    yield call("segment_phrase", phrase="nothing of that kind")
    yield call("segment_phrase", phrase="thing")
    yield call(
        "segment_phrase", phrase="object", image=next(n["name"] for n in now["archive"] if "around" in n["name"])
    )
    if now["objects"] and "submit_choice" not in now["tools"]:
        yield call("select_masks_and_return", masks=[now["objects"][0]["id"]])


def rove_imagent(now):
    yield box("confirm", "img_0", 200, 200, 600, 600, claim="it is: 1 object")
    yield call("review", image="img_0")
    yield box("draw_box", "part_1", 200, 200, 600, 600)
    yield box("confirm", "part_1", 300, 300, 900, 600, claim="it is there")


def rove_zoom(now):
    yield box("zoom", "img_0", 200, 200, 800, 600)
    yield call("rotate", image="zoom_1", angle="90")
    yield box("zoom", "turned_2", 100, 0, 700, 900)
    yield box("draw_box", "zoom_3", 200, 200, 600, 700)
    yield call("rotate", image="img_0", angle="270")
    yield box("draw_box", "turned_5", 0, 100, 300, 1000)
    yield call("view", images=["img_0", "view_4"])


def rove_none(now):
    yield box("draw_box", "img_0", 200, 200, 600, 600)


class Rover:
    """Calls every tool of a toolset, one on what another made, then submits; in words of its own, if it has a grammar."""

    name = "rover"

    def __init__(self, grammar=None, vision=None):
        self.grammar = None if grammar is None else make_grammar(grammar)
        self.manner = Manner(grammar=grammar, vision=vision)
        self.vision = make_vision(vision or "estimate")

    def start(self, spec):
        now = {"tools": spec.toolset.names}
        plan = self.plan(spec, now)

        def act(observation):
            now.update(observation)
            action = next(plan)
            if self.grammar is None:
                return action
            sizes_wh = {
                n: p.shape[1::-1] for n, p in zip(observation["image_names"], observation["images"], strict=True)
            }
            sizes_wh |= {i["name"]: (i["width"], i["height"]) for i in observation["archive"]}
            coordinates = self.grammar.coordinates.seen_by(self.vision)
            written = express_call(spec.toolset, action, coordinates=coordinates, sizes_wh=sizes_wh)
            return self.grammar.render(written, spec.toolset, "Hm.")

        return SimpleNamespace(act=act)

    def plan(self, spec, now):
        for action in globals()[f"rove_{spec.toolset.name}"](now):
            if action["name"] in spec.toolset:
                yield action
        if spec.kind is AnswerKind.CHOICE:
            yield call("submit_choice", choice="B")
        yield call("submit" if "submit" in spec.toolset else "report_no_mask")


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
def rovers(tmp_path_factory, tasks):
    """Runs of agents that call every tool of a toolset, by the toolset's name. Tests copy them."""

    @functools.cache
    def run(toolset, **changes):
        out = tmp_path_factory.mktemp(f"rovers-{toolset}") / "run"
        wanted = tuple(tasks[name] for name in ROVED)
        base = {
            "agents": (Rover(), "random"),
            "tasks": wanted,
            "toolset": toolset,
            "limit": 2,
            "keep_images": 0,
            "max_turns": 16,
        }
        run_bench(RunSettings(**(base | changes)), out)
        return out

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
    made = summarise(info, read_records(run), {n: profiles_of(t) for n, t in profiles.items()}, digest=digest_of(run))
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


@pytest.mark.parametrize("toolset", TOOLSETS)
def test_answers_follow_whatever_the_tools(tmp_path, tasks, toolset):
    wanted = tuple(tasks[name] for name in TASKS)
    chosen = {"agents": ("random",), "tasks": wanted, "toolset": toolset, "limit": 4, "seed": 5, "keep_images": 0}
    run_bench(RunSettings(**chosen), tmp_path / "run")
    assert verify_run(tmp_path / "run", tasks=tasks).verified


@pytest.mark.parametrize("toolset", TOOLSETS)
def test_what_every_tool_gives_follows(rovers, tasks, toolset):
    run = rovers(toolset)
    found = verify_run(run, tasks=tasks)
    assert found.problems == () and found.verified and found.derived == 8
    records = read_records(run)
    called = {t.call["name"] for r in records if r.agent == "rover" for t in r.transcript if t.call}
    final = {"submit", "submit_none", "submit_count", "submit_choice", "report_no_mask", "point", "read", "describe"}
    assert called >= set(plugins.load("toolsets", toolset).names) - final
    assert {r.reason for r in records if r.agent == "rover"} == {"submitted"}


@pytest.mark.parametrize("grammar", ["hermes:coordinates=pixels", "qwen-xml:coordinates=fractions"])
@pytest.mark.parametrize("toolset", ["full", "rsagent", "zoom"])
def test_what_was_told_is_read_in_the_coordinates_in_which_it_was_told(rovers, tasks, tmp_path, toolset, grammar):
    run = shutil.copytree(rovers(toolset, agents=(Rover(grammar, "qwen2.5-vl"),)), tmp_path / "run")
    found = verify_run(run, tasks=tasks)
    assert found.problems == () and found.verified
    records = read_records(run)
    assert all(t.reply for r in records for t in r.transcript), "it spoke for itself"
    (agent,) = json.loads((run / "run.json").read_text())["agents"]
    assert agent["grammar"] == grammar and agent["vision"] == "qwen2.5-vl"
    edit(run / "run.json", agents=[agent | {"grammar": grammar.partition(":")[0]}])
    assert "state" in kinds(verify_run(run, tasks=tasks))
    edit(run / "run.json", agents=[agent | {"grammar": "no-such-grammar"}])
    assert "settings" in kinds(verify_run(run, tasks=tasks))


def test_words_are_the_call_that_they_are_said_to_be(rovers, tasks, tmp_path):
    run = shutil.copytree(
        rovers("zoom", agents=(Rover("qwen-xml:coordinates=fractions", "qwen2.5-vl"),)), tmp_path / "run"
    )
    whole = lines_of(run)
    for change in (
        lambda reply: reply.replace("rotate", "zoom"), lambda reply: reply.replace("0.", "0.0"), lambda reply: "I do not know.",
        lambda reply: reply + reply, lambda reply: reply.replace("270", "90"),
    ):  # fmt: skip
        lines = json.loads(json.dumps(whole))
        turn = next(t for line in lines for t in line["transcript"] if change(t["reply"]) != t["reply"])
        turn["reply"] = change(turn["reply"])
        write_lines(run, lines)
        assert any("reply" in p.what for p in verify_run(run, tasks=tasks).problems)
    for line in whole:
        for turn in line["transcript"]:
            turn["reply"] = turn["reply"].replace("Hm.", "Well, let me see.")
    write_lines(run, whole)
    assert verify_run(run, tasks=tasks).ok, "its thoughts are its own"


class Blunderer:
    """Makes mistakes of every kind: in words, or with actions that are no text."""

    def __init__(self, grammar, *, plain):
        self.name = "plain" if plain else "wordy"
        self.manner = Manner(grammar=grammar)
        self.plan = self.plainly if plain else functools.partial(self.in_words, make_grammar(grammar))

    def start(self, spec):
        plan = self.plan(spec.toolset)
        return SimpleNamespace(act=lambda observation: next(plan))

    def in_words(self, grammar, toolset):
        yield "I do not know."
        yield grammar.render(call("examine_each_mask"), toolset)
        yield grammar.render(call("segment_phrase", phrase="object", image="img_7"), toolset)
        yield grammar.render(call("segment_phrase", phrase="object"), toolset)
        yield grammar.render(call("segment_phrase", phrase=" object "), toolset)
        yield grammar.render(call("report_no_mask"), toolset)

    def plainly(self, toolset):
        yield call("segment_phrase", phrase=None, zoom=2, around=object())
        yield {"tool_calls": {}, "content": {1, 2}}
        yield [call("report_no_mask")]
        yield float("-inf")
        yield {"tool_calls": []}


LIE = "Error (no_masks): psst, the target is the mask #0, box (10, 20, 30, 40)"


@pytest.mark.parametrize("grammar", sorted(GRAMMARS))
def test_mistakes_are_what_was_written(rovers, tasks, tmp_path, grammar):
    agents = Blunderer(grammar, plain=False), Blunderer(grammar, plain=True)
    run = shutil.copytree(rovers("sam3agent", agents=agents, tasks=(tasks["EmojiRef"],), limit=1), tmp_path / "run")
    assert verify_run(run, tasks=tasks).problems == ()
    wordy, plain = sorted(lines_of(run), key=lambda line: line["reason"], reverse=True)
    assert [bool(t["error"]) for t in wordy["transcript"]] == [True, True, True, False, True, False]
    assert plain["costs"]["invalid_calls"] == len(plain["transcript"]) == 5

    def problems(line, number, **changes):
        line = json.loads(json.dumps(line))
        line["transcript"][number] |= changes
        write_lines(run, [line, plain if line["agent"] == "wordy" else wordy])
        return "; ".join(p.what for p in verify_run(run, tasks=tasks).problems)

    lie = {"feedback": LIE, "error": "no_masks"}
    for number in (0, 1, 2):
        assert "the agent was told 'Error (no_masks): psst" in problems(wordy, number, **lie)
        assert "its reply gives" in problems(wordy, number, **lie, reply="lies")
        assert "nothing that the agent said" in problems(wordy, number, reply=None)
    assert "the reply is a valid call" in problems(wordy, 3, **lie, call=None, shown=[])
    assert "its reply gives" in problems(plain, 0, reply="lies")
    assert problems(plain, 0, **lie) == "", "what was no text cannot be read again"


def test_fewer_turns_of_a_toolset_are_followed(settings, fakes, tmp_path):
    class Looker:
        name = "looker"

        def start(self, spec):
            return SimpleNamespace(act=lambda observation: fakes.call("view", images=["img_0"]))

    class Long(fakes.Blobs):
        max_turns = 12

    run = tmp_path / "run"
    run_bench(settings(Looker(), toolset="rsagent", tasks=(Long(),), limit=2), run)
    assert {(r.reason, len(r.transcript)) for r in read_records(run)} == {("turn_limit", 8)}
    assert verify_run(run, tasks={"Blobs": Long()}).verified
    edit(run / "run.json", max_turns=12)
    assert kinds(verify_run(run, tasks={"Blobs": Long()})) == {"state"}


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

UNSEEN = {"reply", "failure", "feedback", "origin", "hash", "file"}
"""Leaves that alter no score and no stated number; what is checked of them has tests of its own."""
ASKING = {"detect", "point", "read", "segment", "segment_box", "segment_point", "refine", "upscale"}
"""Tools whose arguments went to an expert: what it found is what counts."""


UNTOLD = {"segment_phrase", "PhraseToBoxMask", "PhraseToPoint"}
"""Tools that never tell how sure an expert was of an object, nor submit it; of their finds only the number is told."""


def random_mask(rng, size):
    height, width = size
    dense = np.zeros((height, width), np.uint8)
    y, x = rng.randrange(height - 1), rng.randrange(width - 1)
    dense[y : y + rng.randrange(2, 200), x : x + rng.randrange(2, 200)] = 1
    return Mask.from_dense(dense).to_json()


def counting_leaves(line):
    """Every place of a record that can alter a score or a stated number."""
    for path in leaves(line):
        if not path or UNSEEN & set(path):
            continue
        inside_call = len(path) > 3 and path[2] == "call" and path[3] == "arguments"
        if inside_call and line["transcript"][path[1]]["call"]["name"] in ASKING:
            continue
        yield path


def other_value(rng, value):
    """Return another value of the same kind, far enough to matter; a mask is replaced whole."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice([-7, -1, 1, 2, 100])
    if isinstance(value, float):
        return value + rng.choice([-1, 1]) * rng.choice([0.02, 0.5, 40.0])
    if isinstance(value, str):
        return rng.choice([value + "x", "", "submit", "turn_limit"])
    if isinstance(value, list) and value:
        changed = list(value)
        where = rng.randrange(len(changed))
        rng.choice([lambda: changed.pop(where), lambda: changed.insert(where, changed[where])])()
        return changed
    if isinstance(value, dict) and set(value) == {"size", "counts"}:
        return random_mask(rng, value["size"])
    return rng.choice([0, 1.5, "x"]) if value is None else value


def change_leaf(rng, line):
    path = rng.choice(list(counting_leaves(line)))
    if path[-1] in ("size", "counts"):
        path = path[:-1]
    if "size" in path:
        return None
    inner = line
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = other_value(rng, inner[path[-1]])
    return path


def change_answer(rng, line):
    """Change the answer alone, weighted more than its share of all leaves."""
    if line["answer"] is None:
        return None
    inside = {"answer": line["answer"]}
    return change_leaf(rng, inside) if rng.random() < 0.8 else (line.update(answer=None) or ("answer",))


def change_summary(rng, summary):
    row = rng.choice(summary["rows"])
    names = [n for n, v in row.items() if isinstance(v, (int, float)) or n in ("metrics", "reasons", "measured")]
    name = rng.choice(names)
    inner = row
    if isinstance(row[name], dict):
        inner = row[name]
        name = rng.choice(sorted(inner))
    if inner[name] is None:
        return None
    value = inner[name]
    if isinstance(value, bool):
        inner[name] = not value
    else:
        step = 1 if isinstance(value, int) else rng.choice([1e-6, 0.05, 3]) * max(1.0, abs(value))
        inner[name] = value + rng.choice([-1, 1]) * step
    return (name,)


def change_run(rng, info):
    """Change a setting under which the records were played."""
    name, values = rng.choice(
        [
            ("toolset", ["none", "visharness", "nobody's"]), ("memory", ["append", "window:k=1", "prune:k=2"]),
            ("reward", ["visharness", "rsagent", "imagent:tool_bonus=0.5", "primary:turn_cost=0.1"]),
            ("limit", [1, 3, None]), ("seed", [1, 7]), ("max_turns", [1, 3]), ("agents", [0, 1, 2, 3]), ("tasks", [0, 1, 2]),
            ("manner", ["grammar:json", "grammar:qwen-xml:coordinates=pixels", "vision:qwen2.5-vl"]),
        ]
    )  # fmt: skip
    value = rng.choice(values)
    if name == "agents":
        info["agents"][value % len(info["agents"])]["privileged"] ^= True
    elif name == "manner":
        key, _, value = value.partition(":")
        rng.choice(info["agents"])[key] = value
    elif name == "tasks":
        key = rng.choice(["num_samples", "level", "version", "split"])
        task = info["tasks"][value % len(info["tasks"])]
        task[key] = other_value(rng, task[key])
    else:
        info[name] = value
    return (name,)


CHANGES = (change_leaf, change_leaf, change_leaf, change_answer, change_summary, change_run)


def stated(line, tasks):
    """What a record says that counts: the score of its answer, made independently of the code under test."""
    task = tasks[line["task"]]
    target = task.sample(line["split"], line["level"], line["index"]).target
    answer = None if line["answer"] is None else Answer.from_json(line["answer"])
    row = task.profile.row(target, answer)
    return json.dumps(plain(row), sort_keys=True), task.profile.primary(row)


def alters_nothing(path, before, line, tasks):
    """Whether a change is of what no score and no stated number depends on: a label, or pixels never submitted."""
    if path[0] == "answer":
        try:
            return stated(before, tasks) == stated(line, tasks)
        except (ValueError, TypeError, IndexError):
            return False
    if path == ("measured", "peak_memory_mib"):  # only the largest of a row is stated
        return True
    if path[-1] in ("patch_size", "x1", "y1", "x2", "y2"):  # rounds to the same pixels, or it would have been found
        return True
    called = {turn["call"]["name"] for turn in before["transcript"] if turn["call"]}
    if path[0] == "objects" and path[-1] == "score" and called & UNTOLD:
        return True
    if path[-1] == "final_answer":  # words
        return True
    submitted = before["transcript"][-1]["objects"] if before["transcript"] else ()
    return path[0] == "objects" and len(path) > 1 and path[1] not in submitted


def run_changes(played, tasks, tmp_path, *, number, seed):
    texts = (played / "episodes.jsonl").read_text("ascii").splitlines()
    summary, info = ((played / name).read_text() for name in ("summary.json", "run.json"))
    run = shutil.copytree(played, tmp_path / "run")
    rng = random.Random(seed)
    missed, done = [], dict.fromkeys(CHANGES, 0)
    while sum(done.values()) < number:
        how = rng.choice(CHANGES)
        place = rng.randrange(len(texts))
        before, line, stating, asking = (json.loads(t) for t in (texts[place], texts[place], summary, info))
        path = how(rng, {change_summary: stating, change_run: asking}.get(how, line))
        if path is None or (line, stating, asking) == (before, json.loads(summary), json.loads(info)):
            continue
        changed = [*texts[:place], json.dumps(line, separators=(",", ":")), *texts[place + 1 :]]
        (run / "episodes.jsonl").write_text("\n".join(changed) + "\n", "ascii")
        (run / "run.json").write_text(json.dumps(asking))
        (run / "summary.json").write_text(json.dumps(stating | {"records_sha256": digest_of(run)}))
        found = verify_run(run, tasks=tasks)
        if found.ok and how in (change_leaf, change_answer) and alters_nothing(path, before, line, tasks):
            continue
        done[how] += 1
        if found.ok:
            missed.append((how.__name__, place, path, before["transcript"] and before["agent"]))
    assert not missed, "\n".join(map(str, missed))
    assert all(done.values())


@pytest.mark.parametrize("toolset", TOOLSETS)
def test_random_changes_are_found_whatever_the_tools(rovers, tasks, tmp_path, toolset):
    run_changes(rovers(toolset), tasks, tmp_path, number=16, seed=2)


@pytest.mark.acceptance
@pytest.mark.parametrize("toolset", TOOLSETS)
def test_hundreds_of_random_changes_are_found_whatever_the_tools(rovers, tasks, tmp_path, toolset):
    run_changes(rovers(toolset), tasks, tmp_path, number=400, seed=3)


def test_random_changes_are_found(played, tasks, tmp_path):
    run_changes(played, tasks, tmp_path, number=40, seed=0)


@pytest.mark.acceptance
def test_a_thousand_random_changes_are_found(played, tasks, tmp_path):
    run_changes(played, tasks, tmp_path, number=1000, seed=1)


# Forgeries: everything that follows is made to follow


def truth_as_answer(target):
    if target.choice is not None:
        return Answer(choice=target.choice)
    return Answer(
        masks=target.masks, boxes_xyxy=target.boxes_xyxy or tuple(tuple(map(float, m.box_xyxy)) for m in target.masks),
        labels=target.labels or ("x",) * len(target.masks), no_target=target.no_target,
    )  # fmt: skip


def scored(record, profile, target, answer):
    """Return the record with another answer, and with it row, score and reward; or ``None`` if nothing changes."""
    row = plain(profile.row(target, answer))
    if record.row is None or row == record.row or not record.transcript:
        return None
    score = float(profile.primary(row))
    turns = [*record.transcript[:-1], replace(record.transcript[-1], reward=score, terms={"final": score})]
    return replace(
        record, answer=None if answer is None else plain(answer.to_json()), row=row, score=score,
        transcript=tuple(turns), reward=math.fsum(t.reward for t in turns),
    )  # fmt: skip


def followed(record, policy):
    """Return the record with views, visual tokens and costs as they follow from its transcript and images."""
    shown = [tuple(n for n, i in record.images.items() if not i.parent)]
    turns = []
    for turn in record.transcript:
        before, kept = (tuple(shown[i][k] for i, k in policy.select(shown)) for _ in range(2))
        if turn.error is None:
            shown.append(turn.shown)
            kept = tuple(shown[i][k] for i, k in policy.select(shown))
        tokens = sum(ESTIMATE.tokens(record.images[n].size_wh) for n in before)
        turns.append(replace(turn, visible=kept, visual_tokens=tokens))
    return replace(
        record, transcript=tuple(turns), costs=costs_of(tuple(turns), record.reason),
        reward=math.fsum(t.reward for t in turns),
    )  # fmt: skip


def forge_row(rng, record, task, target, policy):
    """A better or a worse score than that of the answer."""
    for answer in (truth_as_answer(target), None):
        if (made := scored(record, task.profile, target, answer)) is not None:
            return replace(made, answer=record.answer)
    return None


def forge_answer(rng, record, task, target, policy):
    """An answer that the agent did not give."""
    return scored(record, task.profile, target, truth_as_answer(target)) if record.reason == "submitted" else None


def forge_objects(rng, record, task, target, policy):
    """Objects that nobody found, submitted as played; half of the time the agent was told of them too."""
    last = record.transcript[-1] if record.transcript else None
    if record.reason != "submitted" or last.call["name"] not in SUBMITTING or not target.masks:
        return None
    chosen = last.call["arguments"].get("masks")
    places = [p for p in last.objects if chosen is None or record.objects[p].id in chosen]
    best = [target.masks[i % len(target.masks)] for i in range(len(places))]
    by_id = {record.objects[place].id: mask for place, mask in zip(places, best, strict=True)}
    objects = tuple(
        o if o.id not in by_id else replace(
            o, mask=by_id[o.id].to_json() if o.mask or len(record.transcript) == 1 else None,
            box_xyxy=tuple(map(float, by_id[o.id].box_xyxy)),
        )
        for o in record.objects
    )  # fmt: skip
    here = [objects[place] for place in places]
    masks = tuple(best) if task.kind == "mask" else ()
    boxes, labels = tuple(o.box_xyxy for o in here), tuple(o.label for o in here)
    made = scored(record, task.profile, target, Answer(masks=masks, boxes_xyxy=boxes, labels=labels))
    if made is None:
        return None
    if rng.random() < 0.5:
        sizes = {n: i.size_wh for n, i in record.images.items()}
        made = replace(made, transcript=tuple(retold(t, record.objects, objects, sizes) for t in made.transcript))
    return replace(made, objects=objects)


def retold(turn, before, after, sizes):
    feedback = turn.feedback
    for place in turn.objects:
        old, new = (describe_objects([object_of(o[place])], sizes) for o in (before, after))
        feedback = feedback.replace(old, new)
    return replace(turn, feedback=feedback)


def forge_views(rng, record, task, target, policy):
    """Smaller views, which cost less."""
    images = {
        n: replace(i, size_wh=(32, 32), overlay=rng.random() < 0.5) if i.parent else i for n, i in record.images.items()
    }
    made = followed(replace(record, images=images), policy)
    return made if made.costs != record.costs else None


def forge_turns(rng, record, task, target, policy):
    """Fewer turns: one is left out, before one whose number is in a name."""
    numbered = [n for n, t in enumerate(record.transcript) if any(s.endswith(f"_{n + 1}") for s in t.shown)]
    if not numbered or numbered[-1] == 0:
        return None
    gone = rng.randrange(numbered[-1])
    names = set(record.transcript[gone].shown) - {"img_0"}
    turns = [
        replace(t, shown=tuple(n for n in t.shown if n not in names))
        for n, t in enumerate(record.transcript)
        if n != gone
    ]
    images = {n: i for n, i in record.images.items() if n not in names and i.parent not in names}
    if not {n for t in turns for n in t.shown} <= images.keys():
        return None
    return followed(replace(record, transcript=tuple(turns), images=images), policy)


def forge_mistake(rng, record, task, target, policy):
    """A mistake that was none, or none where there was one."""
    turn = rng.randrange(len(record.transcript)) if record.transcript else None
    if turn is None:
        return None
    turns = list(record.transcript)
    turns[turn] = replace(turns[turn], error=None if turns[turn].error else "bad_value", call=None)
    return followed(replace(record, transcript=tuple(turns)), policy)


SUBMITTING = ("submit", "select_masks_and_return", "Answer")
FORGERIES = (forge_row, forge_answer, forge_objects, forge_views, forge_turns, forge_mistake)


def run_forgeries(played, tasks, tmp_path, *, number, seed):
    records, rng = read_records(played), random.Random(seed)
    policy = make_policy(RunInfo.read(played).memory)
    run = tmp_path / "run"
    shutil.copytree(played, run)
    missed, done = [], dict.fromkeys(FORGERIES, 0)
    while sum(done.values()) < number:
        forged = list(records)
        how = FORGERIES[sum(done.values()) % len(FORGERIES)]
        places = []
        for place in rng.sample(range(len(forged)), len(forged)):
            r = forged[place]
            made = how(rng, r, tasks[r.task], tasks[r.task].sample(r.split, r.level, r.index).target, policy)
            if made is not None and made != r:
                forged[place] = made
                places.append(place)
            if len(places) == 1 + done[how] % 3:
                break
        assert places
        (run / "episodes.jsonl").write_text("".join(r.to_json() + "\n" for r in forged), "ascii")
        resummarise(run, tasks)
        found = verify_run(run, tasks=tasks)
        done[how] += 1
        if found.ok:
            missed.append((how.__name__, places))
            continue
        assert "summary" not in kinds(found) and found.verdict.startswith("NOT equal")
    assert not missed, missed
    assert all(done.values())


@pytest.mark.parametrize("toolset", TOOLSETS)
def test_consistent_forgeries_are_found_whatever_the_tools(rovers, tasks, tmp_path, toolset):
    run_forgeries(rovers(toolset), tasks, tmp_path, number=6, seed=2)


@pytest.mark.acceptance
@pytest.mark.parametrize("toolset", TOOLSETS)
def test_hundreds_of_consistent_forgeries_are_found_whatever_the_tools(rovers, tasks, tmp_path, toolset):
    run_forgeries(rovers(toolset), tasks, tmp_path, number=120, seed=3)


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
    st.recursive(
        st.none(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=8,
    ),
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
    (agent, *_) = json.loads((blobs / "run.json").read_text())["agents"]
    edit(blobs / "run.json", agents=[dict(agent, name=str(i)) for i in range(2000)])
    assert "more than 1000" in verify_run(blobs).problems[0].what


# What a hostile review found


def rewrite(run, change, tasks=None):
    """Let ``change`` make each record anew, and state what follows from them."""
    made = [change(r) for r in read_records(run)]
    (run / "episodes.jsonl").write_text("".join(r.to_json() + "\n" for r in made), "ascii")
    resummarise(run, tasks)


def perfect(tasks):
    def change(r):
        task = tasks[r.task]
        target = task.sample(r.split, r.level, r.index).target
        return scored(r, task.profile, target, truth_as_answer(target)) or r

    return change


def test_an_unknown_toolset_switches_nothing_off(copied, tasks):
    edit(copied / "run.json", toolset="no-such-toolset")
    rewrite(copied, perfect(tasks), tasks)
    found = verify_run(copied, tasks=tasks)
    assert kinds(found) == {"settings"} and "not installed" in found.problems[0].what


def test_tools_of_other_packages_are_never_called_verified(copied, tasks, monkeypatch, visenv):
    monkeypatch.setattr(
        "visenv.leaderboard.verification._settings.ANSWERING", ("none",)
    )  # as if full came from elsewhere
    found = verify_run(copied, tasks=tasks)
    assert found.ok and not found.verified and found.derived == 0 and found.rescored == 40
    assert "WAS NOT CHECKED" in found.verdict and any("not derived from the calls" in note for note in found.notes)


def test_other_masks_in_the_same_boxes_are_found(copied, tasks):
    """Nobody is told of pixels; the pictures of them are drawn again."""

    def hollow(r):
        at = next((i for i, o in enumerate(r.objects) if o.mask and r.agent == "scripted"), None)
        if at is None or r.reason != "submitted" or at not in r.transcript[-1].objects:
            return r
        dense = Mask.from_json(r.objects[at].mask).to_dense()
        ys, xs = np.nonzero(dense)
        inner = dense.copy()
        inner[(ys.min() + ys.max()) // 2, (xs.min() + xs.max()) // 2] ^= True
        objects = list(r.objects)
        objects[at] = replace(objects[at], mask=Mask.from_dense(inner).to_json())
        task = tasks[r.task]
        sample = task.sample(r.split, r.level, r.index)
        here = [object_of(objects[place]) for place in r.transcript[-1].objects]
        masks = tuple(o.mask for o in here) if task.kind == "mask" else ()
        answer = Answer(masks=masks, boxes_xyxy=tuple(o.box_xyxy for o in here), labels=tuple(o.label for o in here))
        return replace(scored(r, task.profile, sample.target, answer) or r, objects=tuple(objects))

    before = (copied / "episodes.jsonl").read_bytes()
    rewrite(copied, hollow, tasks)
    assert (copied / "episodes.jsonl").read_bytes() != before
    found = verify_run(copied, tasks=tasks)
    assert "image" in kinds(found) and any("another picture" in p.what for p in found.problems)


@pytest.mark.parametrize("name", ["crop", "view", "split", "submit"])
def test_only_some_tools_change_objects(settings, tmp_path, fakes, name):
    calls = {
        "crop": fakes.call("crop", image="img_0", x1=0, y1=0, x2=500, y2=500),
        "view": fakes.call("view", images=["img_0"]), "split": fakes.call("split", images=["img_0"], patch_size=64),
    }  # fmt: skip
    box = fakes.call("draw_box", image="img_0", x1=0, y1=0, x2=500, y2=500)

    class Player:
        name = "player"

        def start(self, spec):
            turns = [box, *([calls[name_of]] if name_of in calls else []), fakes.call("submit")]
            return SimpleNamespace(act=lambda observation: turns[observation["turn"]])

    name_of = name
    run = tmp_path / "run"
    run_bench(settings(Player(), limit=2), run)
    assert verify_run(run).verified
    turn = -1 if name == "submit" else 1
    lines = lines_of(run)
    for line in lines:
        made = dict(line["objects"][0], label="another")
        line["objects"].append(made)
        for one in line["transcript"][turn:] if turn > 0 else line["transcript"][-1:]:
            one["objects"] = [len(line["objects"]) - 1]
    write_lines(run, lines)
    assert "state" in kinds(verify_run(run))


def test_stored_pictures_are_asked_for(blobs):
    lines = lines_of(blobs)
    for image in lines[0]["images"].values():
        image["file"] = None
    write_lines(blobs, lines)
    assert any("has no file" in p.what for p in verify_run(blobs).problems)


def test_reward_terms_have_names(copied, tasks):
    def other(r):
        turns = [replace(t, terms={"honesty": t.reward + 5, "luck": -5.0}) for t in r.transcript]
        return replace(r, transcript=tuple(turns))

    rewrite(copied, other, tasks)
    assert kinds(verify_run(copied, tasks=tasks)) == {"reward"}


def test_the_turns_that_are_left_are_checked(settings, tmp_path):
    run = tmp_path / "run"
    run_bench(settings(limit=2), run)
    lines = lines_of(run)
    turn = next(t for line in lines for t in line["transcript"] if "turns left" in t["feedback"])
    turn["feedback"] = turn["feedback"].replace("2 turns left", "9 turns left")
    write_lines(run, lines)
    assert kinds(verify_run(run)) == {"state"}


def test_a_change_that_no_record_shows_is_taken_back_like_any_other(settings, fakes, tmp_path):
    class Fixed(fakes.BlobExpert):
        """Gives one mask, whatever the box: asked again, an object changes only in the box that it was asked with."""

        name = "fixed"

        def run(self, requests):
            sizes = [r.image.size_wh for r in requests]
            return [Segmentation(mask=Mask.from_box((4, 4, 20, 20), (h, w)), score=0.5) for w, h in sizes]

    class Player:
        name = "player"

        def start(self, spec):
            box = fakes.call("segment_box", image="img_0", x1=0, y1=0, x2=1000, y2=1000)
            turns = [box, fakes.call("segment", objects=[0]), fakes.call("undo"), fakes.call("undo")]
            return SimpleNamespace(act=lambda observation: turns[observation["turn"]])

    run_bench(settings(Player(), experts=ExpertSet({"segment": Fixed()}), limit=2), tmp_path / "run")
    records = read_records(tmp_path / "run")
    assert {tuple(len(t.objects) for t in r.transcript) for r in records} == {(1, 1, 1, 0)}
    assert verify_run(tmp_path / "run").verified


def test_a_call_that_cannot_be_made_is_found(copied, tasks):
    lines = lines_of(copied)
    turn = next(t for line in lines for t in line["transcript"] if t["call"] and t["call"]["arguments"])
    turn["call"]["arguments"]["sharp"] = True
    write_lines(copied, lines)
    assert "state" in kinds(verify_run(copied, tasks=tasks))


def test_long_names_of_objects_are_equal(settings, fakes, tmp_path, monkeypatch):
    class Wordy(fakes.BlobExpert):
        name = "wordy"

        def detect(self, request):
            found = super().detect(request)
            return replace(found, labels=tuple("x" * 1005 for _ in found.labels))

    run_bench(settings(experts=ExpertSet(dict.fromkeys(("detect", "segment"), Wordy())), limit=2), tmp_path / "run")
    assert {len(o.label) for r in read_records(tmp_path / "run") for o in r.objects} == {1005}
    assert verify_run(tmp_path / "run").verified


def test_one_object_many_times_costs_no_time(blobs):
    edit(blobs / "run.json", reward="rsagent", max_turns=2000)
    lines = lines_of(blobs)
    line = next(line for line in lines if line["agent"] == "blob-finder")
    line["transcript"][:0] = [dict(line["transcript"][0], objects=[0] * 4000) for _ in range(20)]
    write_lines(blobs, lines)
    began = time.monotonic()
    assert any("an object twice" in p.what for p in verify_run(blobs).problems)
    assert time.monotonic() - began < 20


def test_enormous_plans_cost_no_memory(blobs):
    def task(i):
        return {"name": f"t{i}", "version": "1", "split": "s", "level": 1, "num_samples": 1_000_000}

    edit(blobs / "run.json", tasks=[task(i) for i in range(900)], limit=None)
    tracemalloc.start()
    assert not verify_run(blobs).ok
    edit(blobs / "run.json", tasks=[task(i) for i in range(50)], samples=["0"] * 50_000)
    assert any("chosen samples" in p.what for p in verify_run(blobs).problems)
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


@pytest.mark.parametrize("score", [1.5, -0.25, 7.0])
def test_scores_beyond_their_range_are_a_problem(blobs, fakes, score):
    class Later(fakes.Blobs):
        version = "0.2.0"

    line = next(i for i, one in enumerate(lines_of(blobs)) if one["score"] is not None)
    change(blobs, line, score=score)
    assert "form" in kinds(verify_run(blobs, tasks={"Blobs": Later()}))


@pytest.mark.parametrize("what", ["agents", "tasks"])
def test_one_name_twice_is_a_problem(blobs, what):
    info = json.loads((blobs / "run.json").read_text())
    edit(blobs / "run.json", **{what: [*info[what], info[what][0]]})
    assert kinds(verify_run(blobs)) == {"settings"}
    with pytest.raises(BadValueError, match="2 times"):
        RunInfo.read(blobs)


def test_verified_means_all_of_it(copied, tasks):
    assert verify_run(copied, tasks=tasks).verified
    write_lines(copied, lines_of(copied)[1:])
    resummarise(copied)
    found = verify_run(copied, tasks=tasks)
    assert found.ok and not found.verified and "INCOMPLETE: 39 of 40" in found.verdict
    write_lines(copied, [])
    resummarise(copied)
    found = verify_run(copied, tasks=tasks)
    assert not found.ok and "holds no record" in found.problems[0].what


def test_without_the_task_nothing_is_called_verified(blobs, fakes, visenv):
    class Later(fakes.Blobs):
        version = "0.2.0"

    found = verify_run(blobs, tasks={"Blobs": Later()})
    assert found.ok and not found.verified and not found.verdict.startswith("Verified")
    assert json.loads(visenv("verify", blobs, "--json")[1])["verified"] is True


def test_a_run_of_failures_is_not_called_verified(blobs):
    def fail(r):
        return replace(
            r, reason="infrastructure_error", failed=True, failure="CUDA error", answer=None, row=None, score=None,
            costs=costs_of(r.transcript, "infrastructure_error"),
        )  # fmt: skip

    rewrite(blobs, fail)
    found = verify_run(blobs)
    assert not found.verified and found.rescored == 0 and not found.verdict.startswith("Verified")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(blobs, number):
    text = (blobs / "episodes.jsonl").read_text("ascii")
    text = re.sub(r'"reward":[-0-9.e]+,"transcript"', f'"reward":{number},"transcript"', text, count=1)
    (blobs / "episodes.jsonl").write_text(text, "ascii")
    assert "form" in kinds(verify_run(blobs))
    with pytest.raises(BadValueError, match="episode record"):
        read_records(blobs)
    (blobs / "run.json").write_text((blobs / "run.json").read_text().replace('"seed": 0', f'"seed": {number}'))
    with pytest.raises(BadValueError, match="not readable"):
        RunInfo.read(blobs)


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
