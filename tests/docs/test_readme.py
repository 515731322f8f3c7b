"""The README does what it says: its Python runs, its commands exist, its second command is what CI runs, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from visenv import EpisodeSpec, VisenvEnv, env_ids, plugins

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [code.strip() for language, code in BLOCKS if language == "bash"]


def test_the_first_example_runs_as_pasted(capsys):
    exec(compile(PYTHON[0], "README", "exec"), {})  # our own text
    lines = capsys.readouterr().out.splitlines()
    said = re.search(r'print\(observation\["instruction"\]\)  # (.+)', PYTHON[0])
    assert lines[0] == said[1]
    score, reason = lines[-1].split()
    assert float(score) > 0.8 and reason == "submitted"


def test_the_example_agent_plays():
    names: dict[str, type] = {}
    exec(compile(PYTHON[1], "README", "exec"), names)
    env = VisenvEnv("EmojiRef", experts="embedded:threads=1")
    observation, _ = env.reset(seed=0)
    spec = EpisodeSpec(
        task="EmojiRef", split="val", level=1, kind=env.task.kind, toolset=env.episode.toolset, max_turns=12, seed=0
    )
    player = names["Clicker"]().start(spec)
    for _ in range(3):
        observation, _, ended, _, info = env.step(player.act(observation))
        if ended:
            break
    assert info["reason"] == "submitted"


def test_ci_runs_the_second_command():
    assert "visenv demo" in SHELL[0]
    assert any(line == f"{SHELL[1]} || exit 1" for line in (ROOT / ".ci/run").read_text().splitlines())


def test_what_is_named_exists():
    assert set(re.findall(r"visenv/\w+-v\d+", README)) == set(env_ids())
    for word in re.findall(r"`visenv (\w+)[^`]*`", README) + re.findall(r"&& visenv (\w+)", README):
        assert word in plugins.names("commands"), word


@pytest.mark.parametrize(
    "page", sorted(p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
)
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target
