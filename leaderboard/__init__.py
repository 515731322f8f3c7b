"""Runner, records, statistics and the command line's verbs."""

from .asked_files import save_answer
from .cast import RunSettings
from .compare import Comparison, compare_runs
from .lanes import Patience, play_episodes
from .records import EpisodeRecord, RunInfo
from .rundir import latest, read_records
from .runner import Plan, plan_bench, run_bench
from .summary import Summary, SummaryRow, summarise
from .verification import Verification, verify_run

__all__ = [
    "Comparison",
    "EpisodeRecord",
    "Patience",
    "Plan",
    "RunInfo",
    "RunSettings",
    "Summary",
    "SummaryRow",
    "Verification",
    "compare_runs",
    "latest",
    "plan_bench",
    "play_episodes",
    "read_records",
    "run_bench",
    "save_answer",
    "summarise",
    "verify_run",
]
