"""Runner, records, statistics and the command line's verbs."""

from .cast import RunSettings
from .lanes import Patience, play_episodes
from .records import EpisodeRecord, RunInfo
from .rundir import latest, read_records
from .runner import Plan, plan_bench, run_bench
from .summary import Summary, SummaryRow, summarise

__all__ = [
    "EpisodeRecord",
    "Patience",
    "Plan",
    "RunInfo",
    "RunSettings",
    "Summary",
    "SummaryRow",
    "latest",
    "plan_bench",
    "play_episodes",
    "read_records",
    "run_bench",
    "summarise",
]
