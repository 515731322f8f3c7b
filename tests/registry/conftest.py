"""Miniatures of every benchmark, in their authors' layouts, where the registry-wide tests look for data."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def miniatures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("data")
    before = os.environ.get("VISENV_DATA")
    os.environ["VISENV_DATA"] = str(root)
    sys.path.insert(0, str(TESTS))
    try:
        for path in sorted((TESTS / "fixtures").glob("[a-z]*.py")):
            importlib.import_module(f"fixtures.{path.stem}").write(root)
        yield root
    finally:
        sys.path.remove(str(TESTS))
        os.environ.pop("VISENV_DATA") if before is None else os.environ.__setitem__("VISENV_DATA", before)
