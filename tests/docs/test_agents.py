"""The page about agents: its functions play, its package is built, installed and run as a user would; the papers' page names what there is."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from visenv.leaderboard import read_records

from visenv import plugins
from visenv.completions import BACKENDS
from visenv.env import make_task
from visenv.experts import ExpertsSpec
from visenv.grammars import GRAMMARS, make_grammar
from visenv.memory import make_policy
from visenv.specs import parse_spec, split_specs
from visenv.vision import make_vision

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/agents.md").read_text(encoding="utf-8")
PUBLISHED = (ROOT / "docs/published.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- ([\w./]+\.(?:py|toml)) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
BLOCKS = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if code not in FILES.values()]
COMMANDS = [
    shlex.split(line.replace("\\\n", " "))
    for line in re.findall(r"^ {4,6}(visenv bench (?:.*\\\n)*.*)$", PAGE + PUBLISHED, re.MULTILINE)
]


def option(words: list[str], name: str, default: str) -> str:
    return words[words.index(name) + 1] if name in words else default


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The page's package, installed into a folder of its own."""
    work = tmp_path_factory.mktemp("package")
    for name, text in FILES.items():
        path = work / "my-agents" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (path.parent / "__init__.py").touch()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--no-compile"]  # fmt: skip
    subprocess.run([*pip, "--target", str(work / "site"), str(work / "my-agents")], check=True, capture_output=True)
    return work / "site"


@pytest.fixture
def run(package, tmp_path):
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def records_of(folder: Path, agent: str) -> list:
    return [r for r in read_records(folder) if r.agent == agent]


def test_the_pages_python_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("inspect_ai", reason="needs the extra `inspect`")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for code in BLOCKS:
        exec(compile(code, "docs/agents.md", "exec"), names)  # our own text
    assert re.match(r"last_word 5 0\.\d+\none-shot 5 0\.\d+\n3 \w", capsys.readouterr().out)
    assert {r.reason for r in records_of(tmp_path / "runs/mine", "last_word")} == {"submitted"}


def test_its_package_plays_with_its_commands(run, tmp_path):
    own = [words for words in COMMANDS if option(words, "--agent", "").startswith(("sweeper", "talker"))]
    assert len(own) == 2
    for words in own:
        run("-m", "visenv.cli", *words[1:])
    sweeps = [records_of(tmp_path / "runs/sweeper", name) for name in ("sweeper:letters=6", "sweeper")]
    assert all(len(r) == 6 and {x.reason for x in r} == {"submitted"} for r in sweeps)
    assert sum(r.costs.tool_calls for r in sweeps[0]) < sum(r.costs.tool_calls for r in sweeps[1])
    talks = records_of(tmp_path / "runs/talker", "talker")
    assert [r.measured["replies"] for r in talks] == [1.0] * 3
    (info,) = json.loads((tmp_path / "runs/talker/run.json").read_text())["agents"]
    assert (info["grammar"], info["vision"]) == ("hermes", "qwen3-vl")


def test_its_package_passes_the_check_and_says_whose_failure_it_is(run, tmp_path):
    words = ("-m", "visenv.cli", "bench", "--task", "EmojiRef", "--limit", "1", "--agent")
    run(
        "-c",
        "from visenv.testing import check_agent\nfor name in ('sweeper:letters=6', 'talker'): check_agent(name, num_episodes=1)",
    )
    run(*words, "talker:tokens=10", "--out", "full")
    assert [r.reason for r in read_records(tmp_path / "full")] == ["token_limit"]
    broken = "import my_agents.talker as t\nasync def complete(*a):\n  raise ConnectionError('down')\nt.complete = complete\n"
    broken += (
        "from visenv.leaderboard import Patience, RunSettings, run_bench\n"
        "run_bench(RunSettings(agents=[t.Talker()], tasks=['EmojiRef'], limit=1), 'down', patience=Patience(retries=0))"
    )
    run("-c", broken)
    (record,) = read_records(tmp_path / "down")
    assert record.failed and record.score is None and "cannot be reached" in record.failure


def test_every_agent_grammar_and_backend_is_named():
    listed = dict(re.findall(r"^\| \[`([\w-]+)`\]\(\.\./agents/([\w/.]+)\)", PAGE, re.MULTILINE))
    assert set(plugins.names("agents")) <= set(listed)
    for place in listed.values():
        assert (ROOT / "agents" / place).is_file()
    for name in (*GRAMMARS, *BACKENDS):
        assert f"`{name}`" in PAGE


def test_every_option_of_zero_shot_is_in_the_table_and_no_other():
    import inspect

    from visenv.completions._openai import OpenAICompleter
    from visenv.completions._transformers import TransformersCompleter
    from visenv.completions._vllm import VLLMCompleter

    table = PAGE.partition("Both take the same options")[2].partition("### Endpoints")[0]
    listed = set(
        re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|")))
    )
    made = (plugins.load("agents", "zero-shot"), OpenAICompleter, TransformersCompleter, VLLMCompleter)
    fixed = inspect.Parameter.VAR_KEYWORD
    has = {p.name for m in made for p in inspect.signature(m).parameters.values() if p.kind is not fixed}
    assert listed == has


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: option(words, "--out", ""))
def test_what_commands_name_is_there(words):
    for task in split_specs(option(words, "--task", "")):
        assert option(words, "--split", make_task(task).splits[0]) in make_task(task).splits
    for agent in split_specs(option(words, "--agent", "")):
        name, options = parse_spec(agent)
        if name in ("sweeper", "talker"):
            continue
        make_grammar(f"{options.get('grammar', 'hermes')}:coordinates={options.get('coordinates', 'thousandths')}")
        make_vision(str(options.get("vision", "estimate")))
        plugins.check("agents", agent)
    plugins.load("toolsets", option(words, "--toolset", "full"))
    make_policy(option(words, "--memory", "archive"))
    spec = ExpertsSpec.parse(option(words, "--experts", "embedded"))
    for one in spec.specs:
        plugins.check("experts", one)


@pytest.mark.parametrize("page", ["docs/agents.md", "docs/published.md"])
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target, anchor in re.findall(r"\]\(((?!https?:)[^)#]*)(#[^)]*)?\)", path.read_text(encoding="utf-8")):
        there = (path.parent / target) if target else path
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor[1:] in {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}, anchor
