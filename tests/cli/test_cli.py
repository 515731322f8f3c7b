"""The command line as a person and a script use it."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from visenv import plugins
from visenv.cli import main

PLUGIN = Path(__file__).parents[1] / "leaderboard" / "plugin"
BENCH = ["bench", "--agent", "blob-finder", "--task", "blobs", "--experts", "blobs", "--limit", "3"]


OPTIONS = {
    "ask": "--answer --option --agent --toolset --experts --memory --max-turns --seed --out --json",
    "bench": "--agent --task --out --split --level --toolset --memory --experts --limit --sample --seed --workers "
    "--max-turns --keep-images --dry-run",
    "compare": "--agent --task --json",
    "data": "",
    "data check": "--root --split --json",
    "data sample": "--out --root --split --level --limit --seed",
    "data status": "--root --json",
    "demo": "--out",
    "doctor": "--experts --json",
    "experts": "",
    "experts eval": "--experts --level --scenes --absent --json",
    "experts serve": "--host --port --token-env --max-body-mib --pictures-mib --concurrency --ray --replicas --gpus",
    "list": "--json",
    "parity": "--json",
    "play": "--split --level --index --toolset --experts --out",
    "report": "--out --trust-options --json",
    "score": "",
    "verify": "--trust-options --json",
}
"""What other people's scripts may rely on: an option is added here on purpose, and never taken away by accident."""
VERBS = sorted(verb for verb in OPTIONS if " " not in verb)


@pytest.fixture(autouse=True)
def fakes(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.chdir(tmp_path)
    plugins.plugins.cache_clear()
    yield importlib.import_module("board_fakes")
    plugins.plugins.cache_clear()


@pytest.fixture
def visenv(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            main(list(words))
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


def test_bare_prints_the_map_and_the_first_command(visenv):
    code, out, _ = visenv()
    assert code == 0 and "visenv demo" in out
    for verb in VERBS:
        assert f"visenv {verb} " in out


@pytest.mark.parametrize("verb", sorted(OPTIONS))
def test_help_ends_with_examples(visenv, verb):
    code, out, _ = visenv(*verb.split(), "--help")
    assert code == 0 and "Options:" in out
    assert out.split("Examples:")[1].strip().splitlines()[-1].strip().find("visenv") >= 0


def test_the_verbs_are_frozen():
    assert plugins.names("commands") == VERBS


@pytest.mark.parametrize("verb", OPTIONS)
def test_the_options_are_frozen(visenv, verb):
    _, out, _ = visenv(*verb.split(), "--help")
    options = re.findall(r"^  (?:-\w, )?(--[\w-]+)", out, re.MULTILINE)
    assert " ".join(o for o in options if o != "--help") == OPTIONS[verb]
    assert len(options) <= 16, "at most 15 options a command, and --help"


def test_bench_from_a_pipe_is_plain(visenv):
    code, out, err = visenv(*BENCH, "--out", "runs/a")
    assert code == 0 and "\x1b" not in out + err and "\r" not in out + err
    assert "3 episodes" in err
    assert "3/3 episodes" in err and "blobs/iou" in out and "Run directory: runs/a" in out
    assert "Next: visenv report runs/a --out runs/a-site" in out
    assert json.loads(Path("runs/a/summary.json").read_text())["rows"][0]["n"] == 3


def test_names_are_taken_in_any_case(visenv):
    code, _, _ = visenv(
        "bench", "--agent", "BLOB-Finder", "--task", "BLOBS", "--experts", "Blobs", "--toolset", "FULL", "--memory",
        "Archive", "--split", "VAL", "--limit", "1", "--out", "a",
    )  # fmt: skip
    assert code == 0
    code, _, err = visenv(*BENCH[:-1], "1", "--out", "a")
    assert code == 0 and "1 of them done already" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--agent", "blob-findr"], 2, "Did you mean 'blob-finder'"),
        (["--task", "Blob"], 2, "Did you mean 'Blobs'"),
        (["--task", "Blobs:shft=1"], 2, "options that it has (shift, words, api_key)"),
        (["--task", "Blobs:shift=1,shift=2"], 2, "each key once"),
        (["--task", "Blobs:words"], 2, "words=TEXT"),
        (["--task", "Blobs,blobs:shift=0"], 2, "each task once"),
        (["--task", "COCO:root=/tmp"], 2, "set VISENV_DATA"),
        (["--task", "COCO:mode=paint"], 2, "Unknown mode 'paint'"),
        (["--task", "COCO:annotations=../x.json"], 2, "inside the benchmark's folder"),
        (["--split", "vel"], 2, "Unknown split"),
        (["--level", "2", "--agent", "blob-finder:x=1"], 2, "options that it has"),
        (["--level", "4"], 2, "--level"),
        (["--limit", "0"], 2, "--limit"),
        (["--limit", "many"], 2, "--limit"),
        (["--memory", "archive:deep=1"], 2, "memory"),
        (["--agent", ","], 2, "at least one"),
        (["--agent", "broken-agent"], 1, "cannot be imported"),
        (["--out", "/proc/nowhere/run"], 1, "nowhere"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_errors_are_one_line_on_standard_error(visenv, words, code, said):
    got, out, err = visenv(*BENCH, "--out", "a", *words)
    assert got == code and said in err and out == "" and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1 or err.startswith("Usage:")
    assert not Path("a").exists()


@pytest.mark.parametrize("words", [["fly"], ["bench"], ["bench", "--wings"], ["play"], ["--wings"]])
def test_wrong_usage_is_2(visenv, words):
    code, out, err = visenv(*words)
    assert code == 2 and "Usage:" in err and out == ""


@pytest.mark.parametrize("where", [0, -1])
def test_debug_shows_the_traceback(visenv, where):
    words = ["bench", "--agent", "x", "--task", "Blobs", "--out", "a"]
    words.insert(len(words) if where else 0, "--debug")
    code, _, err = visenv(*words)
    assert code == 2 and "Traceback" in err and "Unknown agent 'x'" in err.splitlines()[-1]


def test_a_bug_shows_its_traceback_and_asks_for_a_report(visenv, monkeypatch):
    monkeypatch.setattr("visenv.leaderboard.commands.plan_bench", lambda *_: 1 // 0)
    code, out, err = visenv(*BENCH, "--out", "a", "--dry-run")
    assert code == 1 and out == "" and "ZeroDivisionError" in err and "visenv doctor" in err


def test_a_missing_file_of_an_agent_is_no_disk_error(visenv):
    code, _, err = visenv("bench", "--agent", "blob-weightless", *BENCH[3:], "--out", "a")
    assert code == 1 and "weights.pt" in err and "No run can be written" not in err and not Path("a").exists()


def test_an_interrupt_anywhere_is_130(visenv, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("visenv.leaderboard.commands.catalogue", interrupt)
    code, _, err = visenv("list")
    assert code == 130 and "Traceback" not in err


def test_a_dry_run_says_what_would_be_done(visenv):
    code, out, err = visenv(*BENCH, "--out", "a", "--dry-run")
    assert code == 0 and out == "Dry run: 3 episodes would be played, 12 turns at most. Nothing was done.\n"
    assert "blob-finder" in err and "3 episodes" in err and not Path("a").exists()
    assert visenv(*BENCH, "--out", "a")[0] == 0
    assert visenv(*BENCH, "--out", "a", "--dry-run")[1].startswith("Dry run: 0 episodes")
    code, _, err = visenv(*BENCH, "--out", "a", "--seed", "3", "--dry-run")
    assert code == 2 and "seed: 0 -> 3" in err


def test_chosen_samples(visenv):
    words = [*BENCH[:-2], "--sample", "5, Blobs/val/1/2", "--out", "a"]
    assert visenv(*words)[0] == 0
    found = [json.loads(line)["index"] for line in Path("a/episodes.jsonl").read_text().splitlines()]
    assert sorted(found) == [2, 5]
    code, _, err = visenv(*BENCH[:-2], "--sample", "fifth", "--out", "b")
    assert code == 2 and "fifth" in err and "Blobs/val/1/7" in err
    assert visenv(*BENCH, "--sample", "5", "--out", "b")[0] == 2, "a limit beside chosen samples"


def test_doctor_says_what_a_report_needs(visenv, monkeypatch, tmp_path):
    (tmp_path / "data" / "ReasonSeg").mkdir(parents=True)
    monkeypatch.setenv("VISENV_DATA", str(tmp_path / "data"))
    code, out, err = visenv("doctor", "--json")
    found = json.loads(out)
    assert code == 0 and err == ""
    assert {"python", "visenv", "numpy", "opencv-python-headless"} <= set(found["versions"])
    assert found["extras"]["dev"]["pytest"] and found["machine"]["cpus"] >= 1
    assert all("visenv" not in packages for packages in found["extras"].values())
    assert found["data"]["folders"] == ["ReasonSeg"] and str(tmp_path) not in out
    assert [b["name"] for b in found["broken"]] == ["broken-agent"]
    code, out, _ = visenv("doctor")
    assert code == 0 and "problem: agents broken-agent is broken" in out and "visenv 0" in out


def test_doctor_asks_experts_whether_they_can_answer(visenv, fakes, monkeypatch):
    code, out, _ = visenv("doctor", "--experts", "blobs")
    assert code == 0 and "detect: blobs@1: loaded" in out and "segment: blobs@1: loaded" in out
    found = json.loads(visenv("doctor", "--experts", "blobz", "--json")[1])
    assert found["expert_health"] == {} and any("Did you mean 'blobs'" in p for p in found["problems"])

    def fail(self):
        raise ConnectionError("refused api_key=sk-12345678")

    monkeypatch.setattr(fakes.BlobExpert, "health", fail, raising=False)
    found = json.loads(visenv("doctor", "--experts", "blobs", "--json")[1])
    assert found["expert_health"]["detect"] == {
        "identity": "blobs@1",
        "health": "blobs@1 failed: ConnectionError: refused api_key=***",
    }
    assert sum("cannot answer" in p for p in found["problems"]) == 2


def test_other_settings_are_refused(visenv):
    assert visenv(*BENCH, "--out", "a")[0] == 0
    code, _, err = visenv(*BENCH, "--seed", "5", "--out", "a")
    assert code == 2 and "seed: 0 -> 5" in err


def test_failed_episodes_are_1_and_the_same_command_repairs_them(visenv, monkeypatch):
    command = [*BENCH, "--experts", "flaky", "--limit", "12", "--out", "a"]
    monkeypatch.setenv("BLOBS_DOWN", "1")
    code, out, err = visenv(*command)
    assert code == 1 and "Incomplete" in out and "visenv bench" in err.splitlines()[-1]
    monkeypatch.delenv("BLOBS_DOWN")
    assert visenv(*command)[0] == 0


def test_list_says_what_there_is_and_what_is_broken(visenv):
    code, listed, _ = visenv("list")
    assert code == 0 and "EmojiRef" in listed and "broken-agent" in listed and "board_fakes_missing" in listed
    code, out, err = visenv("list", "--json")
    found = json.loads(out)
    assert code == 0 and err == ""
    for key in ("envs", "tasks", "splits", "options", "toolsets", "agents", "experts", "profiles"):
        assert key in found
    assert "visenv/Blobs-v0" in found["envs"] and "Blobs" in found["tasks"]
    assert found["splits"]["Blobs"] == ["train", "val", "test"] and "blobs/iou" in found["profiles"]
    assert found["options"]["COCO"] == ["annotations", "images", "mode"] and found["options"]["EmojiRef"] == []
    assert "options annotations, images, mode" in listed
    assert "broken-agent" not in found["agents"]
    assert [b["name"] for b in found["broken"]] == ["broken-agent"]


@pytest.fixture
def typed(visenv, monkeypatch):
    import io

    def run(text, *words, env="visenv/Blobs-v0"):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return visenv("play", env, "--experts", "blobs", "--out", "pictures", *words)

    return run


def test_play_from_a_pipe(typed, fakes):
    colour = fakes.Blobs().sample("val", 1, 3).instruction.split()[1]
    code, out, _ = typed(
        f'help\n\ndetect images=img_0 phrase="{colour} thing"\n'
        '{"name": "segment", "arguments": {"objects": [0]}}\nsubmit\n',
        "--index", "3",
    )  # fmt: skip
    assert code == 0 and "The end: submitted. Score 0.840 (by blobs/iou)." in out
    assert "segment_box image=" in out and "Find every object" in out
    for turn in range(4):
        assert Path(f"pictures/turn_{turn:02d}.png").is_file() and f"turn_{turn:02d}.png" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('detect phrase="open', "Not played"),
        ("detect phrase", "Not played"),
        ('{"name": ', "Not played"),
        ("hammer", "unknown_tool"),
        ("segment objects=x", "wrong_type"),
        ("detect images=img_9 phrase=a", "img_9"),
    ],
)
def test_play_forgives(typed, line, said):
    code, out, _ = typed(f"{line}\nsubmit_none\n")
    assert code == 0 and said in out and "The end: submitted" in out


@pytest.mark.parametrize("env", ["Blobs", "blobs-v0", "visenv/Blobs-v0"])
def test_play_with_options(typed, env):
    code, out, _ = typed("quit\n", env=f"{env}:words=a/b-v0,shift=2")
    assert code == 0 and "<a/b-v0>" in out and out.startswith("Blobs/val/1/0\n")


def test_leaving_has_no_score(typed):
    for text in ("", "quit\n", "view images=img_0\n"):
        code, out, _ = typed(text)
        assert code == 0 and "no score" in out


def test_play_reads_lists_and_numbers(typed):
    _, out, _ = typed(
        "draw_box image=img_0 x1=0 y1=0 x2=500 y2=500\n"
        "draw_box image=img_0 x1=500 y1=500 x2=999 y2=999\nkeep objects=[0,1]\nsubmit\n"
    )
    assert "Error" not in out and "The end: submitted" in out


def test_play_names_what_it_does_not_know(visenv):
    assert visenv("play", "Nothing")[0] == 2
    assert visenv("play", "Blobs", "--experts", "blobs", "--index", "99")[0] == 2
    assert visenv("play", "Blobs", "--experts", "blobs", "--level", "3")[0] == 2


def test_as_a_process():
    path = os.pathsep.join([str(PLUGIN), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "visenv.cli", *BENCH, "--workers", "2", "--out", "a"],
        env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    command = f"{sys.executable} -m visenv.cli list | head -1"
    listed = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert listed.stderr == "" and listed.stdout
