"""Runs that are cut off: kill -9, Ctrl-C, and a worker that dies, each continued to the same records."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from visenv.leaderboard import read_records, run_bench

from visenv.errors import UnsuitedError, VisenvError

SLOW = ("blob-finder:slow=0.01", "blob-guesser")


def start(run, outside, *, workers, limit=30):
    command = [
        sys.executable, "-m", "visenv.cli", "bench", "--agent", ",".join(SLOW), "--task", "Blobs", "--experts", "blobs",
        "--split", "train", "--limit", str(limit), "--workers", str(workers), "--out", str(run),
    ]  # fmt: skip
    return subprocess.Popen(
        command, env=outside, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip


def hear_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where these tests run in the background of a shell


def wait_for_lines(run, number, process):
    path, deadline = run / "episodes.jsonl", time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def kill_at_random(run, outside, records, *, workers, kills, limit, rng):
    """Kill a run again and again: in the middle of episodes, of writing, of starting; with its workers or without."""
    seen: dict = {}
    for number in range(kills):
        process = start(run, outside, workers=workers, limit=limit)
        if number % 4 != 3:  # else also while it starts
            wait_for_lines(run, len(seen) + 1, process)
        time.sleep(rng.uniform(0, 0.4))
        if number % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()  # the parent alone: its workers must notice
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
        now = records(run) if run.exists() else {}
        assert all(now[key] == record for key, record in seen.items()), "what was recorded stays"
        seen = now
    assert len(seen) < 2 * limit
    return seen


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("kills", "limit"), [(3, 100), pytest.param(20, 800, marks=pytest.mark.acceptance)], ids=["3 kills", "20 kills"]
)
def test_kills_lose_nothing(settings, records, outside, tmp_path, workers, kills, limit):
    run = tmp_path / "run"
    kill_at_random(run, outside, records, workers=workers, kills=kills, limit=limit, rng=random.Random(workers))
    with (run / "episodes.jsonl").open("ab") as file:
        file.write(b'{"agent": "blob-fin')  # as a cut of the power leaves it
    (run / "images").mkdir(exist_ok=True)
    half = run / "images" / f".{'a' * 64}.png.4711.visenv-partial"
    half.write_bytes(b"half")
    process = start(run, outside, workers=workers, limit=limit)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert "done already" in err and "blob-finder" in out and not half.exists()
    run_bench(settings(*SLOW, split="train", limit=limit), tmp_path / "calm")
    assert records(run) == records(tmp_path / "calm")
    assert len(read_records(run)) == 2 * limit, "nothing was played twice"
    assert {p.name for p in (run / "images").iterdir()} == {p.name for p in (tmp_path / "calm/images").iterdir()}
    deadline = time.monotonic() + 20
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(process.pid)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_says_how_to_go_on(records, outside, tmp_path, workers):
    run = tmp_path / "run"
    process = start(run, outside, workers=workers)
    wait_for_lines(run, 4, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to the whole group
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err and "Interrupted." in err
    command = err.strip().splitlines()[-1].strip()
    assert command.startswith("visenv bench --agent") and f"--out {run}" in command
    count = len(records(run))
    assert f"{count} of 60 episodes are recorded" in err
    again = subprocess.run(
        [sys.executable, "-m", "visenv.cli", *command.split()[1:]],
        env=outside,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0 and f"{count} of them done already" in again.stderr
    assert len(read_records(run)) == 60


def test_a_finished_run_is_not_played_again(settings, tmp_path):
    run_bench(settings(), tmp_path / "run")
    before = (tmp_path / "run/episodes.jsonl").read_bytes()
    summary = run_bench(settings(), tmp_path / "run", workers=2)
    assert (tmp_path / "run/episodes.jsonl").read_bytes() == before and summary.complete


def workers_of(process):
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return [int(pid) for pid in found if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_ctrl_c_while_the_workers_start_is_as_quiet(outside, tmp_path):
    process = start(tmp_path / "run", outside, workers=2)
    while len(workers_of(process)) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    time.sleep(0.3)  # they import
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err and "Interrupted. 0 of 60" in err


def test_a_worker_that_dies_is_replaced(settings, records, outside, tmp_path):
    run = tmp_path / "run"
    process = start(run, outside, workers=2)
    wait_for_lines(run, 4, process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    run_bench(settings(*SLOW, split="train", limit=30), tmp_path / "calm")
    assert records(run) == records(tmp_path / "calm") and len(read_records(run)) == 60
    assert max(r.attempts for r in records(run).values()) <= 2, "what it was playing was played once more"


def test_an_episode_that_kills_its_process_is_found(settings, records, tmp_path, monkeypatch, outside):
    monkeypatch.setenv("PYTHONPATH", outside["PYTHONPATH"])
    summary = run_bench(settings("blob-finder", "blob-killer", limit=4), tmp_path / "run", workers=2)
    finder, killer = summary.rows
    assert (finder.n, killer.n, killer.failures) == (4, 2, 2) and not summary.complete
    for record in records(tmp_path / "run").values():
        assert record.failed == (record.agent == "blob-killer" and record.seed % 4 == 2)
        if record.failed:
            assert record.attempts == 3 and "worker process ended by itself (exit code -9)" in record.failure


def test_workers_that_cannot_begin_end_the_run(settings, tmp_path, monkeypatch, outside):
    monkeypatch.setenv("PYTHONPATH", outside["PYTHONPATH"])
    monkeypatch.setenv("BLOBS_FATAL", str(os.getpid()))
    with pytest.raises(VisenvError, match="before they could begin"):
        run_bench(settings(), tmp_path / "run", workers=2)


def test_troubles_of_a_worker_arrive_whatever_they_were():
    import urllib.error

    from visenv.leaderboard.rundir import StorageError
    from visenv.leaderboard.workers import _Trouble

    class OddError(UnsuitedError):
        def __init__(self, a, b):
            super().__init__(f"{a} {b}")

    for error, kind in (
        (OddError("not", "this"), UnsuitedError),
        (StorageError("full"), StorageError),
        (urllib.error.HTTPError("http://x", 404, "gone", None, None), VisenvError),
        (SystemExit(3), VisenvError),
    ):
        again = pickle.loads(pickle.dumps(_Trouble.of(error))).to_error()
        assert type(again) is kind and str(error).split(":")[0] in str(again)
