"""Installing other people's distributions into a folder of their own, and running visenv with them as a user would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Install a distribution from its source folder; return the folder that holds it."""

    def run(source: Path) -> Path:
        work = tmp_path_factory.mktemp("install")
        shutil.copytree(source, work / "source", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--no-compile"]  # fmt: skip
        pip += ["--disable-pip-version-check", "--target", str(work / "site"), str(work / "source")]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return work / "site"

    return run


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run Python in an empty folder, with these distributions installed; it must exit with 0."""

    def run(*words: str, installed: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([*map(str, installed), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path_factory.mktemp("cwd"),
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def visenv(python: Run) -> Run:
    """Run the command line."""
    return lambda *words, installed=(): python("-m", "visenv.cli", *words, installed=installed)
