"""The way through a run: its settings, each record, the stored pictures, the summary."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from visenv.errors import BadValueError, UnknownNameError, short
from visenv.specs import name_of
from visenv.task import Task

from ..records import EpisodeRecord, Key, RunInfo
from ..safe_files import printable
from ..shelf import TaskShelf
from ._calls import check_calls
from ._files import check_pictures, read_info, record_lines
from ._findings import Findings
from ._plan import TaskPlan, Truth, make_plan
from ._record import check_costs, check_end, check_references, check_size, check_turns
from ._replay import check_views
from ._result import Verification
from ._score import check_identity, check_prompt, check_row, check_score
from ._settings import check_settings, make_rules
from ._summary import check_summary

__all__ = ["verify_run"]

Progress = Callable[[int, int], None]
"""Is told how many of how many records are checked."""


def verify_run(
    run: str | Path,
    *,
    tasks: Mapping[str, Task] | None = None,
    trust_options: bool = False,
    progress: Progress | None = None,
) -> Verification:
    """Score a run again and compare all that it states with what follows from its records.

    Every answer is scored against the target that the task makes anew; no agent and no expert runs. Where a task is not
    installed, has another version or lacks its data, its recorded rows are only aggregated again, and the result says it.

    Args:
        run: The run directory.
        tasks: Tasks to use, by name, before those that are installed.
        trust_options: The run is one's own: make its tasks with whatever options they have, places outside of the data
            folder included (:class:`~visenv.leaderboard.shelf.TaskShelf`).
        progress: Called after every record.

    Raises:
        BadValueError: There is no run directory.
    """
    run = Path(run)
    found = Findings()
    info = read_info(run, found)
    if info is None:
        return found.verification(run)
    return _Check(run, info, TaskShelf(tasks, trust_options=trust_options), found).result(progress)


class _Check:
    """The work on one run."""

    def __init__(self, run: Path, info: RunInfo, shelf: TaskShelf, found: Findings) -> None:
        self.run, self.info, self.found = run, info, found
        self.rules = make_rules(info, found)
        self.plans = {t.name: make_plan(t, info, shelf, found) for t in info.tasks}
        self.scored: set[Key] = set()
        self.kept: list[EpisodeRecord] = []
        self.picture_sizes_wh: dict[str, tuple[int, int]] = {}

    def result(self, progress: Progress | None) -> Verification:
        check_settings(self.info, self.found)
        asked = len(self.info.agents) * sum(max(0, t.num_samples) for t in self.info.tasks)
        digest = hashlib.sha256()
        number = 0
        for number, line in enumerate(record_lines(self.run, self.found), 1):
            digest.update(line)
            self._line(f"line {number}", line)
            if progress is not None:
                progress(number, max(asked, number))
        if not number:
            self.found.add("form", "episodes.jsonl", "holds no record: nothing was played, or nothing is left of it")
        check_pictures(self.run / "images", self.picture_sizes_wh, self.found)
        complete = len(self.scored) == asked
        summary = self.run / "summary.json"
        self.found.add_all(
            summary.name,
            check_summary(summary, self.info, self.kept, self.plans, digest=digest.hexdigest(), complete=complete),
        )
        if not complete:
            self.found.note(f"Incomplete: {len(self.scored)} of {asked} episodes have a score.")
        checks = [plan.check for plan in self.plans.values()]
        return self.found.verification(self.run, tasks=checks, records=number, asked=asked)

    def _line(self, where: str, line: bytes) -> None:
        """Check one line; whatever it holds, the next one is checked too."""
        before = self.found.num_problems
        plan = None
        try:
            text = line.decode("utf-8").rstrip("\n")
            record = EpisodeRecord.from_json(text)
            where = f"{where}, {printable(record.agent)} on {printable(record.sample_id)}"
            if record.task != name_of(record.task):  # samples have the same ids whatever the options
                where += f" of {printable(record.task)}"
            if record.to_json() != text:
                wrong = "not as visenv writes it (a key given twice, a number of another type, other spaces)"
                self.found.add("form", where, wrong)
            plan = self._plan(where, record)
            if plan is not None:
                self._keep(plan, record)
                flaws = list(check_size(record))
                self.found.add_all(where, flaws)
                if not flaws:  # else following it could take any time
                    self._record(where, record, plan)
                    self._score(where, record, plan)
        except Exception as error:  # the boundary to other people's files: what cannot be checked is not verified
            why = str(error) if isinstance(error, BadValueError) else f"{type(error).__name__}: {error}"
            self.found.add("form", where, f"cannot be checked: {printable(why, 400)}")
        if plan is not None:
            plan.different += self.found.num_problems > before

    def _plan(self, where: str, record: EpisodeRecord) -> TaskPlan | None:
        """Return the plan of the record's task, if the run asks for this episode."""
        plan = self.plans.get(record.task)
        if record.agent not in self.rules.privileged or plan is None:
            what = f"task {short(record.task)}" if plan is None else f"agent {short(record.agent)}"
            self.found.add("plan", where, f"{what} is not in run.json")
            return None
        asked = (plan.info.version, plan.info.split, plan.info.level)
        if (record.task_version, record.split, record.level) != asked:
            given = f"version {printable(record.task_version)}, {printable(record.split)}, level {record.level}"
            self.found.add("plan", where, f"is of {given}; run.json asks {asked[0]}, {asked[1]}, level {asked[2]}")
            return None
        if plan.asked is not None and plan.asked.place(record.index) is None:
            self.found.add("plan", where, f"index {short(record.index)} is none of the samples that the run asks")
            return None
        if not record.failed and record.key in self.scored:
            self.found.add("plan", where, "a second record with a score of one episode: only one may be")
        return plan

    def _keep(self, plan: TaskPlan, record: EpisodeRecord) -> None:
        """Keep what the summary and the pictures need."""
        plan.name_profile(record.profile, self.found)
        if not record.failed:
            plan.name_beside(record.also, self.found)
            self.scored.add(record.key)
        row = record.row if plan.profile is not None or record.row is None else {"score": record.score}
        self.kept.append(replace(record, answer=None, row=row, transcript=(), objects=(), images={}))
        self.picture_sizes_wh |= {i.file: i.size_wh for i in record.images.values() if i.file is not None}

    def _record(self, where: str, record: EpisodeRecord, plan: TaskPlan) -> None:
        """Check the record against itself and the rules of the run."""
        rules, info = self.rules, self.info
        limit = self._limit(plan)
        self.found.add_all(where, check_end(record, run_seed=info.seed))
        self.found.add_all(where, check_turns(record, limit=limit))
        self.found.add_all(where, check_costs(record))
        vision, privileged = rules.visions[record.agent], rules.privileged[record.agent]
        self.found.add_all(where, check_views(record, rules.policy, vision, privileged=privileged))
        order = None if plan.asked is None else plan.asked.place(record.index)
        stored = order is not None and order < info.keep_images
        self.found.add_all(where, check_references(record, stored=stored))

    def _limit(self, plan: TaskPlan) -> int | None:
        """Return the limit of turns, if it is known."""
        toolset = self.rules.toolset
        if self.info.max_turns is None and plan.task is not None and toolset is not None:
            return min(plan.task.max_turns, toolset.max_turns or plan.task.max_turns)
        return self.info.max_turns  # a toolset of another package may allow fewer turns than the task

    def _score(self, where: str, record: EpisodeRecord, plan: TaskPlan) -> None:
        """Score the answer again, or, without a truth, the recorded row."""
        truth = self._truth(where, record.index, plan)
        pictures = None if truth is None else plan.pictures(record.index)
        if truth is not None:
            self.found.add_all(where, check_identity(record, truth))
            self.found.add_all(where, check_prompt(record, self.rules.prompt_hash(record.agent, truth.target.kind)))
        if self.rules.toolset is not None and record.images:
            limit = self._limit(plan)
            kind = None if truth is None else truth.target.kind
            flaws = check_calls(
                record, self.rules.toolset, kind=kind, pictures=pictures, limit=limit,
                privileged=self.rules.privileged[record.agent], grammar=self.rules.grammars[record.agent],
                coordinates=self.rules.coordinates(record.agent),
            )  # fmt: skip
            self.found.add_all(where, flaws)
        if record.failed:
            plan.failed += 1
        elif truth is None or plan.task is None:
            plan.reaggregated += 1
            self.found.add_all(where, check_row(record, plan))
        else:
            plan.rescored += 1
            plan.derived += self.rules.toolset is not None
            self.found.add_all(where, check_score(record, truth, plan.profiles, self.rules))

    def _truth(self, where: str, index: int, plan: TaskPlan) -> Truth | None:
        if plan.task is None:
            return None
        try:
            return plan.truth(index)
        except UnknownNameError as error:
            self.found.add("plan", where, str(error))
        except Exception as error:  # a task's code or data: whatever is wrong there, this record cannot be scored
            plan.reason = (
                plan.reason or f"a sample cannot be made: {printable(f'{type(error).__name__}: {error}', 300)}"
            )
        return None
