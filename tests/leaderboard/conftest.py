"""A plugin package beside the tests, installed for their time: a small task, experts, and agents of every temper."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from visenv.leaderboard import EpisodeRecord, RunSettings, latest, read_records

from visenv import plugins

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(PLUGIN))
    plugins.plugins.cache_clear()
    yield importlib.import_module("board_fakes")
    plugins.plugins.cache_clear()


@pytest.fixture
def settings(fakes: ModuleType) -> Callable[..., RunSettings]:
    def make(*agents: Any, **changes: Any) -> RunSettings:
        base = {"agents": agents or ("blob-finder",), "tasks": ("Blobs",), "experts": "blobs", "limit": 6}
        return RunSettings(**(base | changes))

    return make


@pytest.fixture
def records() -> Callable[[Path], dict[Any, EpisodeRecord]]:
    return lambda run: latest(read_records(run))
