"""Miniatures of every benchmark, in their authors' layouts, where the registry-wide tests look for data."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import write_all


@pytest.fixture(scope="session", autouse=True)
def miniatures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("data")
    before = os.environ.get("VISENV_DATA")
    os.environ["VISENV_DATA"] = str(root)
    try:
        assert not write_all(root)
        yield root
    finally:
        os.environ.pop("VISENV_DATA") if before is None else os.environ.__setitem__("VISENV_DATA", before)
