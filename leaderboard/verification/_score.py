"""Whether a record's score is that of its answer, for the sample that it says it is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.errors import short
from visenv.specs import name_of
from visenv.task import Profile

from ..records import EpisodeRecord, plain
from ._findings import Flaw, json_text
from ._plan import TaskPlan, Truth
from ._replay import check_rewards, check_submission
from ._settings import RunRules

__all__ = ["check_identity", "check_prompt", "check_row", "check_score"]

SCORE_TOLERANCE = 1e-12
MAX_SUBMITTED = 20_000
"""Most objects of an answer that are scored."""


def check_identity(r: EpisodeRecord, truth: Truth) -> Iterator[Flaw]:
    """Check that the record is of this sample. One that failed before it began knows less."""
    unborn = r.failed and not r.images
    own = f"{name_of(r.task)}/{r.split}/{r.level}/{r.index}"
    for name, given, true in (
        ("sample id", r.sample_id, truth.id), ("cluster", r.cluster, truth.cluster),
        ("target", r.target, truth.fingerprint),
    ):  # fmt: skip
        if given != true and not (unborn and given in ("", own)):
            yield "target", f"{name} {short(given)}; the task's is {short(true)}"
    originals = [(i.hash, i.size_wh) for i in r.images.values() if not i.parent]
    if not unborn and originals != list(truth.images):
        yield "target", "the images are not those of the task's sample"


def check_prompt(r: EpisodeRecord, prompt_hash: str | None) -> Iterator[Flaw]:
    """Check what a language model was told about the tools; an episode that failed before it began has no prompt."""
    if prompt_hash is not None and r.prompt != prompt_hash and (r.prompt or not r.failed):
        yield "state", f"prompt {short(r.prompt)}; in this installation it is {short(prompt_hash)}"


def check_score(r: EpisodeRecord, truth: Truth, profiles: Sequence[Profile], rules: RunRules) -> Iterator[Flaw]:
    """Score the answer again by each of the task's profiles, the first being its own, and with it what led to it."""
    profile, *beside = profiles
    yield from _check_names(r, beside)
    if r.profile != profile.name:
        yield "row", f"profile {short(r.profile)}; the task's is {profile.name}"
    answer = None if r.answer is None else Answer.from_json(r.answer)
    unfit = None if answer is None else _why_unfit(answer, r.answer or {}, truth.target)
    if unfit is not None:
        yield "answer", unfit
        return
    row = profile.row(truth.target, answer)
    score = float(profile.primary(row))
    if json_text(row) != json_text(r.row):
        yield "row", f"row {short(r.row, 200)}; scored again {short(plain(row), 200)}"
    for other in beside:
        given, made = r.also.get(other.name), other.row(truth.target, answer)
        if given is not None and json_text(given) != json_text(made):
            yield "row", f"row by {other.name} {short(given, 200)}; scored again {short(plain(made), 200)}"
    if r.score is not None and not abs(r.score - score) <= SCORE_TOLERANCE:
        yield "row", f"score {r.score}; scored again {score}"
    yield from check_submission(r, truth, answer, rules.toolset)
    yield from check_rewards(r, truth, answer=answer, score=score, profile=profile, reward=rules.reward)


def check_row(r: EpisodeRecord, plan: TaskPlan) -> Iterator[Flaw]:
    """Check, without the truth, that the answer has its form and that the score follows from the recorded row.

    Rows by further profiles must be by the same ones throughout: of chosen records alone their metrics would mislead.
    """
    yield from _check_names(r, plan.beside or ())
    for other in plan.beside or ():
        if other.name in r.also and other.name not in plan.unknown:
            other.primary(r.also[other.name])  # raises where it is no row of this profile
    if r.answer is not None:
        Answer.from_json(r.answer)
    if r.profile != plan.aggregating.name:
        yield "row", f"profile {short(r.profile)}; other records have {plan.aggregating.name}"
    if plan.profile is None or r.row is None or r.score is None:
        return
    score = float(plan.profile.primary(r.row))
    if not abs(r.score - score) <= SCORE_TOLERANCE:
        yield "row", f"score {r.score}; its row gives {score}"


def _check_names(r: EpisodeRecord, beside: Sequence[Profile]) -> Iterator[Flaw]:
    wanted = sorted(profile.name for profile in beside)
    if sorted(r.also) != wanted:
        yield "row", f"further rows by {short(sorted(r.also))}; expected by {short(wanted)}"


def _why_unfit(answer: Answer, recorded: Mapping[str, Any], target: Target) -> str | None:
    """Say why an answer cannot be scored."""
    if json_text(answer.to_json()) != json_text(recorded):
        return "the answer is not as visenv writes it"
    if max(len(answer.masks), len(answer.boxes_xyxy), len(answer.labels)) > MAX_SUBMITTED:
        return f"more than {MAX_SUBMITTED} objects"
    for mask in answer.masks:
        if mask.size_hw != target.size_hw:
            return f"a mask of {mask.size_hw}; the picture has {target.size_hw}"
    return None
