"""Contracts of the house: who may import whom, public names, everything shipped, examples that run."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"visenv": ROOT / "visenv", "visenv.tasks": ROOT / "tasks", "visenv.agents": ROOT / "agents", "visenv.leaderboard": ROOT / "leaderboard"}  # fmt: skip


def _module_name(room: str, path: Path) -> str:
    parts = path.relative_to(ROOMS[room]).with_suffix("").parts
    return ".".join([room, *(p for p in parts if p != "__init__")])


FILES = {_module_name(room, p): (room, p) for room, folder in ROOMS.items() for p in sorted(folder.rglob("*.py"))}


def _imports(path: Path, package: str) -> set[str]:
    """Absolute names of everything a file imports, wherever in it; relative ones with their dots."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found |= {base} | {f"{base}{'' if base.endswith('.') else '.'}{a.name}" for a in node.names}
    return found


@pytest.mark.parametrize("module", FILES)
def test_imports_go_one_way(module):
    room, path = FILES[module]
    for name in _imports(path, module):
        if room == "visenv":
            assert not name.startswith(("visenv.tasks", "visenv.agents", "visenv.leaderboard")), (
                "the core imports no other room"
            )
            assert not name.startswith("visenv"), f"inside a room imports are relative: {name}"
        else:
            assert not name.startswith(room), f"inside a room imports are relative: {name}"
            depth = len(path.relative_to(ROOMS[room]).parts)
            assert len(name) - len(name.lstrip(".")) <= depth, f"a relative import leaves the room: {name}"
        if room == "visenv.agents":
            assert not name.startswith(("visenv.tasks", "visenv.leaderboard")), "agents see the public core only"


@pytest.mark.parametrize("module", FILES)
def test_only_the_generator_knows_the_facts(module):
    _, path = FILES[module]
    if module.startswith("visenv.tasks.emojiworld"):
        return
    text = path.read_text(encoding="utf-8")
    assert "facts.json" not in text and "templates.json" not in text
    assert not any("emojiworld.queries" in name for name in _imports(path, module))


@pytest.mark.parametrize("module", FILES)
def test_every_module_says_what_it_is_and_lists_its_names(module):
    found = importlib.import_module(module)
    assert found.__doc__ and found.__doc__.strip()
    names = getattr(found, "__all__", None)
    if names is not None:
        assert len(set(names)) == len(names) and all(hasattr(found, n) for n in names)
    tree = ast.parse(FILES[module][1].read_text(encoding="utf-8"))
    public = [n for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and not n.name.startswith("_")]
    if public:
        assert names is not None or module.endswith("__main__"), f"{module} defines public names without __all__"


@pytest.mark.parametrize("module", FILES)
def test_examples_in_docstrings_run(module):
    failures, _ = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failures == 0


def test_importing_visenv_is_light():
    code = "import sys, visenv; print(*sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    heavy = ["torch", "transformers", "onnxruntime", "ultralytics", "scipy", "typer", "rich", "pydantic"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.split() == []


def test_the_wheel_holds_every_module_and_data_file(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    wanted = set()
    for room, folder in ROOMS.items():
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                wanted.add("/".join([*room.split("."), *path.relative_to(folder).parts]))
    assert wanted <= held, sorted(wanted - held)


def test_a_bare_folder_says_what_to_do(tmp_path):
    package = tmp_path / "visenv"
    package.symlink_to(ROOT / "visenv")
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import visenv"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "pip install -e ." in done.stderr.splitlines()[-1]


def test_packages_are_declared():
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = {m for m, (_, p) in FILES.items() if p.name == "__init__.py"}
    assert declared == present
