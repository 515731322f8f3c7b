"""The static site of one or several runs: tables, plots, and a replay of every episode, opened straight from disk."""

from .build import build_site
from .command import report

__all__ = ["build_site", "report"]
