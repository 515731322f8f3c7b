"""Drawn scenes for the tests of the experts."""

from __future__ import annotations

import pytest
from visenv.leaderboard.expert_quality import View
from visenv.leaderboard.experts_eval import val_views
from visenv.tasks.emojiworld import EmojiRef


@pytest.fixture(scope="session")
def drawn() -> dict[int, list[View]]:
    """Six 512-px scenes of each level."""
    return {level: val_views(EmojiRef(), level, 6) for level in (1, 2, 3)}
