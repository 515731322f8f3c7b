"""Disks that are full or may not be written to: a clear error, nothing lost, and the same command goes on afterwards."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys

import pytest
from visenv.leaderboard import read_records, run_bench
from visenv.leaderboard.rundir import EpisodeLog

from visenv.errors import BadValueError

NUM_EPISODES = 60


def command(run, *, workers=1):
    return [
        sys.executable, "-m", "visenv.cli", "bench", "--agent", "blob-finder", "--task", "Blobs", "--experts", "blobs",
        "--split", "train", "--limit", str(NUM_EPISODES), "--keep-images", "0", "--workers", str(workers), "--out", str(run),
    ]  # fmt: skip


def mounted(disk, options, *then):
    """Run a command in a mount namespace of its own, with something mounted on ``disk``."""
    script = f'mount {options} "$0" && "$@"; code=$?; cp -r "$0/." "$0.after" 2>/dev/null; exit $code'
    return ["unshare", "--mount", "--map-root-user", "sh", "-c", script, str(disk), *map(str, then)]


@pytest.fixture
def may_mount(tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    (tmp_path / "try").mkdir()
    tried = subprocess.run(
        mounted(tmp_path / "try", "-t tmpfs tmpfs", "true"), capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"this system does not let tests mount file systems: {tried.stderr.strip()}")


def check_what_was_said(done, run):
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr and done.stderr.count("visenv:") == 1
    kept = len(read_records(run)) if run.exists() else 0
    assert f"{kept} of {NUM_EPISODES} episodes are recorded" in done.stderr and "safe" in done.stderr
    assert done.stderr.strip().splitlines()[-1].strip().startswith("visenv bench --agent blob-finder")
    return kept


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_may_not_grow(settings, records, outside, tmp_path, workers):
    run = tmp_path / "run"
    done = subprocess.run(
        command(run, workers=workers), env=outside, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )  # fmt: skip
    assert "File too large" in done.stderr
    kept = check_what_was_said(done, run)
    assert 0 < kept < NUM_EPISODES and (run / "episodes.jsonl").read_bytes().endswith(b"\n"), "no torn record"
    before = (run / "episodes.jsonl").read_bytes()
    again = subprocess.run(command(run, workers=workers), env=outside, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and f"{kept} of them done already" in again.stderr
    assert (run / "episodes.jsonl").read_bytes().startswith(before), "what was written stays"
    run_bench(settings(split="train", limit=NUM_EPISODES, keep_images=0), tmp_path / "calm")
    assert records(run) == records(tmp_path / "calm") and len(read_records(run)) == NUM_EPISODES


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk(may_mount, records, outside, tmp_path, workers):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        mounted(disk, "-t tmpfs -o size=64k tmpfs", *command(disk / "run", workers=workers)),
        env=outside, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "No space left on device" in done.stderr
    after = tmp_path / "disk.after" / "run"
    said = done.stderr.replace(str(disk / "run"), str(after))
    done.stderr = said
    kept = check_what_was_said(done, after)
    assert 0 < kept < NUM_EPISODES and (after / "episodes.jsonl").read_bytes().endswith(b"\n")
    again = subprocess.run(command(after), env=outside, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and len(read_records(after)) == NUM_EPISODES


def test_a_full_disk_for_pictures(may_mount, outside, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    words = [w if w != "0" else "60" for w in command(disk / "run")]
    done = subprocess.run(
        mounted(disk, "-t tmpfs -o size=64k tmpfs", *words), env=outside, capture_output=True, text=True, check=False
    )
    assert "No space left on device" in done.stderr
    check_what_was_said(done, tmp_path / "disk.after" / "run")
    assert not [p for p in (tmp_path / "disk.after/run/images").iterdir() if p.name.startswith(".")], "no half pictures"


def test_a_disk_that_may_not_be_written_to(may_mount, settings, outside, tmp_path):
    disk = tmp_path / "disk"
    run = disk / "run"
    shown = settings(split="train", limit=NUM_EPISODES, keep_images=0)
    run_bench(shown, run)
    lines = (run / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (run / "episodes.jsonl").write_bytes(b"".join(lines[:7]))
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    options = f'--bind "{disk}" "{disk}" && mount -o remount,ro,bind'
    for where in (run, disk / "new"):
        done = subprocess.run(
            mounted(disk, options, *command(where)), env=outside, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1 and "Read-only file system" in done.stderr and "Traceback" not in done.stderr
        assert str(where) in done.stderr and done.stderr.count("visenv:") == 1
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before
    assert not (disk / "new").exists()


def test_a_log_that_cannot_be_written_stays_as_it_was(settings, tmp_path, monkeypatch):
    run_bench(settings(limit=2), tmp_path / "run")
    before = (tmp_path / "run/episodes.jsonl").read_bytes()
    record = read_records(tmp_path / "run")[0]

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            if len(data) < 500:
                raise OSError(28, "No space left on device")
            return self.file.write(data[: len(data) // 2])

        def __getattr__(self, name):
            return getattr(self.file, name)

    with EpisodeLog(tmp_path / "run") as log:
        log._file = Full(log._file)
        with pytest.raises(OSError, match="No space"):
            log.append(record)
    assert (tmp_path / "run/episodes.jsonl").read_bytes() == before


def test_a_file_in_the_place_of_a_directory(settings, tmp_path):
    (tmp_path / "run").write_text("not a run")
    with pytest.raises(BadValueError, match="out"):
        run_bench(settings(), tmp_path / "run")
    assert (tmp_path / "run").read_text() == "not a run"
