"""Shared by the measurements: a place to put figures, printed at the end of the run."""

from __future__ import annotations

import pytest

LINES: list[str] = []


@pytest.fixture
def report():
    """Append a line of figures."""
    return LINES.append


def pytest_terminal_summary(terminalreporter):
    for line in LINES:
        terminalreporter.write_line(line)
