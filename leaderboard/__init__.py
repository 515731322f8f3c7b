"""Runner, records, statistics and the command line's verbs."""

from .cast import RunSettings
from .records import EpisodeRecord, RunInfo, latest, read_records
from .runner import plan, play_episodes, run_bench
from .summary import Summary, SummaryRow, summarise

__all__ = [
    "EpisodeRecord",
    "RunInfo",
    "RunSettings",
    "Summary",
    "SummaryRow",
    "latest",
    "plan",
    "play_episodes",
    "read_records",
    "run_bench",
    "summarise",
]
