"""What memory saves: the visual tokens of the same episodes under two policies, as ``visenv report`` prints them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from visenv.leaderboard import RunSettings, run_bench

from visenv.cli import make_app

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures._endpoint import Said, chat_body, serving

PHRASES = ("dog", "red car", "cat", "boat")


def look(body: dict[str, Any], number: int) -> Said:
    """Look for one thing after the other, which shows a picture of what was found each time; answer in the twelfth turn."""
    turn = sum(message["role"] == "assistant" for message in body["messages"])
    call = {"name": "PhraseToBoxMask", "arguments": {"images": ["img_0"], "phrase": PHRASES[turn % 4]}}
    if turn == 11:
        call = {"name": "Answer", "arguments": {"final_answer": "Done."}}
    pictures = sum(
        p["type"] == "image_url" for m in body["messages"] if isinstance(m["content"], list) for p in m["content"]
    )
    return Said(body=chat_body(f"<tool_call>{json.dumps(call)}</tool_call>", usage=(100 + 324 * pictures, 20)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = []
    for memory in ("append", "archive"):
        made.append(tmp_path_factory.mktemp("runs") / memory)
        with serving(look) as endpoint:
            agent = f"zero-shot:model=m,url={endpoint.url},vision=qwen2.5-vl,input_price=3"
            settings = RunSettings(
                agents=[agent], tasks=["EmojiRef"], toolset="visharness", memory=memory, limit=3, max_turns=12, keep_images=0
            )  # fmt: skip
            run_bench(settings, made[-1])
    return made


def test_archived_memory_sends_at_most_a_quarter_of_the_visual_tokens(runs: list[Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(make_app(), ["report", *map(str, runs), "--out", str(tmp_path / "site")])
    assert result.exit_code == 0, result.output
    lines = {
        line.split()[0]: re.split(r"  +", line)
        for line in result.stdout.splitlines()
        if line.startswith(("append", "archive"))
    }
    headings = re.split(r"  +", next(line for line in result.stdout.splitlines() if line.startswith("run ")))
    costs = {
        run: dict(zip(headings, (float(c.replace(",", "")) if c[0].isdigit() else c for c in cells), strict=True))
        for run, cells in lines.items()
    }
    append, archive = costs["append"], costs["archive"]
    assert append["turns"] == archive["turns"] == 12
    assert archive["visual tokens"] <= append["visual tokens"] / 4
    assert archive["prompt tokens"] < append["prompt tokens"] and archive["US$"] < append["US$"]
    assert archive["largest prompt"] * 8 <= append["largest prompt"]


def test_the_rows_say_it_too(runs: list[Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(make_app(), ["report", *map(str, runs), "--out", str(tmp_path / "site"), "--json"])
    rows = json.loads(result.stdout)["rows"]
    assert [(row["memory"], row["toolset"]) for row in sorted(rows, key=lambda r: r["memory"])] == [
        ("append", "visharness"), ("archive", "visharness"),
    ]  # fmt: skip
    assert all(row["measured"]["prompt_tokens"] > 0 and row["visual_tokens"] > 0 for row in rows)


def test_the_terminal_says_why_episodes_failed(tmp_path: Path) -> None:
    """A wrong key or model fails every episode: whoever started the run must not have to search for it."""
    with serving(lambda *_: Said(status=401, body=b'{"error": {"message": "no such key"}}')) as endpoint:
        agent = f"zero-shot:model=m,url={endpoint.url}"
        arguments = ["bench", "--agent", agent, "--task", "EmojiRef", "--limit", "2", "--out", str(tmp_path / "run")]
        result = CliRunner().invoke(make_app(), arguments)
    said = result.stderr
    assert (
        result.exit_code == 1
        and "2 episodes have no score" in said
        and "Most often: CompletionError:" in said
        and "no such key" in said
    )
