"""The page on data: its table is that of the classes, its layouts are those of the miniatures, its commands print what it shows."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

import pytest
from visenv.leaderboard.data_status import State
from visenv.tasks.benchmark import Benchmark

from visenv import make_task, plugins
from visenv.cli import main

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import write_all

ROOT = Path(__file__).parents[2]

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = [re.sub(r"(?m)^    ", "", block) for block in re.findall(r"(?m)^    .*(?:\n    .*)*", PAGE)]
SHOWN = [block for block in BLOCKS if block.startswith("$ ")]
TREES = [block for block in BLOCKS if re.match(r"\S+/\n", block)]
NOT_READ = ("ReasonSeg/explanatory/*", "BLINK/*/test-*")
"""What the archives have and the page says is not needed."""


@pytest.fixture(scope="module")
def miniatures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("docs") / "mini"
    assert not write_all(root)
    return root


def test_the_table_says_what_the_classes_say() -> None:
    tasks = [task for task in map(make_task, plugins.names("tasks")) if isinstance(task, Benchmark)]
    for task in tasks:
        sizes = ", ".join(f"{split} {size:,}" for split, size in task.sizes.items()) or "–"
        row = f"| `{task.name}` | `{task.folder}/` | {sizes} | {task.licence} | {task.published} |"
        assert row in PAGE.splitlines(), row
    assert len(re.findall(r"(?m)^\| `\w+` \| `[^`]+/` \|", PAGE)) == len(tasks)


def test_the_words_of_the_two_tables_are_those_that_are_used() -> None:
    words = re.findall(r"(?m)^\| `([a-z ]+)` \| [^|]+ \|$", PAGE)
    assert words == [*get_args(State), "size", "missing", "unreadable", "outside", "empty", "form"]
    used = set()
    for folder in ("tasks", "leaderboard"):
        for path in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r'Finding\([^()]*kind="(\w+)"', path.read_text(encoding="utf-8")))
    assert {"size", "unreadable", "outside", "empty", "form"} <= used <= set(words), used


def expanded(name: str) -> list[str]:
    """Expand ``{a,b}``, and make a pattern of the words that stand for any name."""
    parts = re.split(r"\{([^}]*)\}", re.sub("NAME|NUMBER|SOURCE|TASK", "*", name))
    return ["".join(one) for one in itertools.product(*(part.split(",") for part in parts))]


def paths(tree: str) -> Iterator[str]:
    """Yield the files of a tree, as patterns."""
    above: list[list[str]] = []
    for line in tree.splitlines():
        entry = line.strip().split("  ")[0]
        depth = (len(line) - len(line.lstrip())) // 2
        above[depth:] = [expanded(entry)]
        if not entry.endswith("/"):
            yield from map("".join, itertools.product(*above))


def test_the_layouts_are_those_of_the_miniatures(miniatures: Path) -> None:
    files = [path.relative_to(miniatures).as_posix() for path in miniatures.rglob("*") if path.is_file()]
    patterns = [pattern for tree in TREES for pattern in paths(tree)]
    assert len(TREES) == 12 and len(patterns) > 30
    for pattern in patterns:
        assert any(fnmatchcase(file.lower(), pattern.lower()) for file in files), pattern
    for file in files:
        assert any(fnmatchcase(file.lower(), p.lower()) for p in (*patterns, *NOT_READ)), f"{file} is on no tree"


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: block.split()[3])
def test_the_commands_print_what_is_shown(
    block: str, miniatures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(miniatures, tmp_path / "mini")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VISENV_DATA", raising=False)
    command, _, shown = block.partition("\n")
    with pytest.raises(SystemExit):
        main(shlex.split(command)[2:])
    said = capsys.readouterr().out.rstrip("\n")
    heights = re.compile(r" \d+ px")  # of text in this machine's font
    assert heights.sub("", said) == heights.sub("", shown)
