"""Plugging in from outside: other people's distributions, really installed, run as their users run them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
AGENTS = HERE.parents[1] / "agents"
PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "0.1"

[project.entry-points]
{entry_points}
"""


@pytest.fixture(scope="module")
def orchard(install):
    return (install(HERE / "package"),)


def rows(out: Path) -> dict[str, dict]:
    """The rows of a run's summary by agent."""
    return {row["agent"]: row for row in json.loads((out / "summary.json").read_text())["rows"]}


def test_what_is_installed_is_listed(visenv, orchard):
    found = json.loads(visenv("list", "--json", installed=orchard).stdout)
    assert "visenv/Orchard-v0" in found["envs"] and "Orchard" in found["tasks"]
    assert "orchard" in found["toolsets"] and "orchard" in found["experts"] and "orchard-agent" in found["agents"]
    assert (
        "orchard/count" in found["profiles"] and found["splits"]["Orchard"] == ["train", "val"] and not found["broken"]
    )
    listed = visenv("list", installed=orchard).stdout
    assert "Count the ripe apples on a lawn." in listed and "Picks the ripe apples" in listed
    assert "Orchard" not in visenv("list", "--json").stdout


def test_its_agent_scores_on_its_task(visenv, orchard, tmp_path):
    out = tmp_path / "run"
    visenv(
        "bench", "--agent", "orchard-agent,prior", "--task", "orchard", "--toolset", "orchard", "--experts", "orchard",
        "--level", "2", "--limit", "5", "--out", str(out), installed=orchard,
    )  # fmt: skip
    found = rows(out)
    assert found["orchard-agent"]["profile"] == "orchard/count" and found["orchard-agent"]["n"] == 5
    assert found["orchard-agent"]["primary"] == 1.0 > found["prior"]["primary"], "what it draws it can find"


def test_its_parts_go_with_shipped_ones(visenv, orchard, tmp_path):
    """Its expert in one role, its task with shipped tools and agents, in two worker processes."""
    out = tmp_path / "run"
    visenv(
        "bench", "--agent", "scripted,one-shot", "--task", "Orchard,EmojiCount", "--experts", "detector=orchard:least_px=60",
        "--limit", "2", "--workers", "2", "--out", str(out), installed=orchard,
    )  # fmt: skip
    assert {(r["agent"], r["task"], r["n"]) for r in json.loads((out / "summary.json").read_text())["rows"]} == {
        (a, t, 2) for a in ("scripted", "one-shot") for t in ("Orchard", "EmojiCount")
    }


USED = """
import gymnasium as gym, visenv
from visenv.testing import check_agent, check_expert, check_task, check_tool, check_toolset
check_task("Orchard", num_samples=2)
check_tool("orchard/pick_ripe", kind="count")
check_toolset("orchard", experts="orchard", kinds=["count"])
check_expert("orchard:least_px=30")
check_agent("orchard-agent", tasks=["Orchard"], toolsets=["orchard"], experts="orchard")
env = gym.make("visenv/Orchard-v0", toolset="orchard", experts="orchard", level=2)
observation, _ = env.reset(seed=0)
env.step({"name": "pick_ripe", "arguments": {"image": "img_0"}})
observation, reward, terminated, truncated, info = env.step({"name": "submit", "arguments": {}})
assert (reward, terminated, info["reason"]) == (1.0, True, "submitted"), info
vector = gym.make_vec("visenv/Orchard-v0", num_envs=2, toolset="orchard", experts="orchard")
vector.reset(seed=0)
print("fine")
"""


def test_it_passes_the_checks_and_makes_environments(python, orchard):
    assert python("-W", "error", "-c", USED, installed=orchard).stdout == "fine\n"


def test_it_uses_public_names_only():
    text = "".join(p.read_text() for p in sorted((HERE / "package" / "src").rglob("*.py")))
    assert "from visenv" in text and "._" not in text and "import _" not in text


@pytest.mark.parametrize(("folder", "name"), [("scripted", "scripted"), ("one_shot", "one-shot"), ("prior", "prior")])
def test_a_copied_agent_scores_as_the_shipped_one(install, visenv, tmp_path, folder, name):
    """Copy a folder of ``agents/``, rename package and agent, add ten lines: that is how one starts one's own.

    ``random`` is left out: its draws are seeded with the agent's name.
    """
    mine = tmp_path / "mine"
    shutil.copytree(AGENTS / folder, mine / "src" / f"my_{folder}", ignore=shutil.ignore_patterns("__pycache__"))
    module = mine / "src" / f"my_{folder}" / "__init__.py"
    text = module.read_text()
    assert text.count(f'name = "{name}"') == 1
    module.write_text(text.replace(f'name = "{name}"', f'name = "my-{name}"'))
    (class_name,) = [line.split()[1].rstrip(":") for line in text.splitlines() if line.startswith("class ") and not line.startswith("class _")]  # fmt: skip
    entry_points = f'"visenv.agents" = {{ my-{name} = "my_{folder}:{class_name}" }}'
    (mine / "pyproject.toml").write_text(PYPROJECT.format(name=f"my-{name}", entry_points=entry_points))
    out = tmp_path / "run"
    visenv(
        "bench", "--agent", f"{name},my-{name}", "--task", "EmojiRef,EmojiMulti", "--limit", "3", "--out", str(out),
        installed=(install(mine),),
    )  # fmt: skip
    found = json.loads((out / "summary.json").read_text())["rows"]
    for task in ("EmojiRef", "EmojiMulti"):
        first, second = (r for r in found if r["task"] == task)
        assert {first.pop("agent"), second.pop("agent")} == {name, f"my-{name}"}
        assert (first["primary"], first["metrics"], first["turns"], first["n"]) == (second["primary"], second["metrics"], second["turns"], 3)  # fmt: skip


BROKEN = {
    "visenv.tasks": ("Ruin-v0", "ruin_import:Task", "No module named 'nothing_like_this'"),
    "visenv.agents": ("ruin-agent", "ruin_syntax:Agent", "SyntaxError"),
    "visenv.toolsets": ("ruin-tools", "ruin_empty:TOOLS", "no attribute 'TOOLS'"),
    "visenv.experts": ("ruin-expert", "ruin_raise:Expert", "RuntimeError: no driver"),
    "visenv.commands": ("ruin", "ruin_gone:main", "No module named 'ruin_gone'"),
}
MODULES = {
    "ruin_import": "import nothing_like_this",
    "ruin_syntax": "def (:",
    "ruin_empty": "",
    "ruin_raise": "raise RuntimeError('no driver')",
}


def test_broken_plugins_are_named_and_hurt_nobody(install, visenv, tmp_path):
    source = tmp_path / "ruin"
    source.mkdir()
    for name, text in MODULES.items():
        (source / f"{name}.py").write_text(text + "\n")
    entry_points = "\n".join(f'"{group}" = {{ {name} = "{value}" }}' for group, (name, value, _) in BROKEN.items())
    modules = f"\n[tool.setuptools]\npy-modules = {sorted(MODULES)}\n"
    (source / "pyproject.toml").write_text(PYPROJECT.format(name="ruin", entry_points=entry_points) + modules)
    ruin = (install(source),)

    listed = json.loads(visenv("list", "--json", installed=ruin).stdout)
    clean = json.loads(visenv("list", "--json").stdout)
    assert {b["group"] for b in listed["broken"]} == {g.removeprefix("visenv.") for g in BROKEN}
    for group, (name, value, reason) in BROKEN.items():
        (found,) = [b["reason"] for b in listed["broken"] if b["group"] == group.removeprefix("visenv.")]
        assert name.removesuffix("-v0") in found and value in found and reason in found
    assert {k: v for k, v in listed.items() if k != "broken"} == {k: v for k, v in clean.items() if k != "broken"}
    assert "ruin-agent" in visenv("list", installed=ruin).stdout.split("broken:")[1]

    bench = ("bench", "--agent", "one-shot", "--task", "EmojiRef", "--limit", "3", "--out")
    visenv(*bench, str(tmp_path / "with"), installed=ruin)
    visenv(*bench, str(tmp_path / "without"))
    first, second = rows(tmp_path / "with")["one-shot"], rows(tmp_path / "without")["one-shot"]
    first.pop("measured"), second.pop("measured")  # time and memory
    assert first == second and first["n"] == 3
