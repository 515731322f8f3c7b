"""A key is planted in the environment and in an option: it is in no file, no page and no line that anybody sees."""

from __future__ import annotations

import subprocess
import sys

import pytest

KEY = "sk-planted-4f9a0c77d1"
OPTION = "opt-planted-81be5530"


def visenv(*words, env):
    done = subprocess.run(
        [sys.executable, "-m", "visenv.cli", *map(str, words)], env=env, capture_output=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def clean(*places):
    for place in places:
        found = [place] if isinstance(place, bytes) else [p.read_bytes() for p in place.rglob("*") if p.is_file()]
        assert found
        for content in found:
            assert KEY.encode() not in content and OPTION.encode() not in content


@pytest.mark.parametrize(("how", "workers"), [("says", 2), ("cannot-start", 1), ("is-refused", 1)])
def test_no_key_gets_out(how, workers, outside, tmp_path):
    env = outside | {"BLOBS_API_KEY": KEY}
    run, site = tmp_path / "run", tmp_path / "site"
    agent = f"blob-leaky:how={how},api_key={OPTION}"
    words = ["bench", "--agent", agent, "--task", "Blobs", "--experts", "blobs", "--limit", 2, "--out", run]
    code, said = visenv(*words, "--workers", workers, env=env)
    assert code == (how == "is-refused") and b"***" in said
    assert b"***" in (run / "episodes.jsonl").read_bytes() and b"api_key=***" in (run / "run.json").read_bytes()
    clean(said, run)
    for command in (["report", run, "--out", site], ["verify", run], ["compare", run, run], ["list"], ["doctor"]):
        clean(visenv(*command, env=env)[1])
    clean(site)


@pytest.mark.parametrize("flags", [[], ["--debug"]], ids=["", "debug"])
def test_errors_and_tracebacks_hide_it_too(flags, outside, tmp_path):
    env = outside | {"BLOBS_API_KEY": KEY}
    agent = f"blob-leaky:how=is-unsuited,api_key={OPTION}"
    words = ["bench", "--agent", agent, "--task", "Blobs", "--experts", "blobs", "--out", tmp_path / "run", *flags]
    code, said = visenv(*words, env=env)
    assert code == 2 and b"is-unsuited" in said and b"***" in said
    clean(said)
    code, said = visenv(
        "bench", "--agent", f"blob-leaky:pass={OPTION}", "--task", f"Blobs-{KEY}", "--out", "x", env=env
    )
    assert code == 2
    clean(said)
