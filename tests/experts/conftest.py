"""Drawn scenes for the tests of the embedded experts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from quality import scenes
from visenv.tasks.emojiworld.scene import Scene


@pytest.fixture(scope="session")
def drawn() -> dict[int, list[Scene]]:
    """Six 512-px scenes of each level."""
    return {level: scenes(level, 6) for level in (1, 2, 3)}
