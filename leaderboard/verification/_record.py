"""Whether a record agrees with itself: how it ended, what it cost, what it was rewarded, what it refers to."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Iterator

from visenv.episode import EndReason, Rules
from visenv.errors import short

from ..recording import costs_of
from ..records import EpisodeRecord
from ..safe_files import PICTURE_NAME, printable
from ..sampling import player_seed
from ._findings import Flaw

__all__ = ["REWARD_TOLERANCE", "check_costs", "check_end", "check_references", "check_size", "check_turns"]

REWARD_TOLERANCE = 1e-9
MAX_TURNS = 2000
"""Most turns that are followed one by one."""
MAX_OBJECTS = 10_000
"""Most objects of an episode: ids have four digits."""
MAX_INVALID_CALLS: int = inspect.signature(Rules).parameters["max_invalid_calls"].default


def check_size(r: EpisodeRecord) -> Iterator[Flaw]:
    """Check what all the rest relies on: so many turns and objects as there can be, each object once in a turn."""
    if len(r.transcript) > MAX_TURNS:
        yield "state", f"{len(r.transcript)} turns, more than {MAX_TURNS}"
    for number, turn in enumerate(r.transcript, 1):
        if len(turn.objects) > MAX_OBJECTS or len(set(turn.objects)) < len(turn.objects):
            yield "state", f"turn {number} has an object twice, or more than {MAX_OBJECTS}"
        elif not all(0 <= place < len(r.objects) for place in turn.objects):
            yield "state", f"turn {number} has objects that are not recorded"
        elif len({r.objects[place].id for place in turn.objects}) < len(turn.objects):
            yield "state", f"turn {number} has two objects of one number"
        elif not {*turn.shown, *turn.visible} <= r.images.keys():
            yield "image", f"turn {number} shows images that are not recorded"
        else:
            continue
        return
    for name, image in r.images.items():
        drawn = image.objects or ()
        if len(set(drawn)) < len(drawn) or not all(0 <= place < len(r.objects) for place in drawn):
            yield "state", f"image {short(name)} draws objects twice, or such that are not recorded"
            return
    held = {
        *(p for turn in r.transcript for p in turn.objects),
        *(p for i in r.images.values() for p in i.objects or ()),
    }
    if len(held) < len(r.objects):
        yield "state", f"{len(r.objects) - len(held)} objects that no turn and no image holds"


def check_end(r: EpisodeRecord, *, run_seed: int) -> Iterator[Flaw]:
    """Check that reason, answer, score and failure go together, and the numbers of the episode as a whole."""
    failed = r.reason == EndReason.INFRASTRUCTURE_ERROR
    if r.reason not in set(EndReason):
        yield "state", f"reason {short(r.reason)} is none"
    if not failed == r.failed == (r.score is None) == (r.row is None):
        yield "state", f"reason {printable(r.reason)}, failed {r.failed}, row {short(r.row)}, score {r.score}"
    if r.failed and r.also:
        yield "state", f"failed, but with rows by {short(list(r.also))}"
    if r.answer is not None and r.reason not in (EndReason.SUBMITTED, EndReason.TURN_LIMIT):
        yield "state", f"an answer, but the episode ended with {printable(r.reason)}"
    if r.answer is None and r.reason == EndReason.SUBMITTED:
        yield "state", "submitted, but no answer"
    if (r.failure is not None) > (failed or r.reason == EndReason.AGENT_ERROR) or (failed and r.failure is None):
        yield "state", f"ended with {printable(r.reason)}, failure {short(r.failure)}"
    if r.seed != player_seed(run_seed, r.sample_id, r.agent):
        yield "state", f"seed {short(r.seed)} is not the one of this episode"
    if not math.isfinite(r.reward) or r.attempts < 1:
        yield "state", f"attempts {r.attempts}"
    if not all(math.isfinite(v) and v >= 0 for v in r.measured.values()):
        yield "state", f"measured {short(r.measured)}"


def check_turns(r: EpisodeRecord, *, limit: int | None) -> Iterator[Flaw]:
    """Check that the transcript can have ended for its reason."""
    turns = len(r.transcript)
    if limit is not None and (turns > limit or (r.reason == EndReason.TURN_LIMIT and turns != limit)):
        yield "state", f"{turns} turns, ended with {printable(r.reason)}; the limit is {limit}"
    whole = turns - (r.reason == EndReason.INFRASTRUCTURE_ERROR)  # the turn that failed may be anything
    if any((turn.call is None) == (turn.error is None) for turn in r.transcript[:whole]):
        yield "state", "a turn that is neither a call nor a mistake"
    if r.reason == EndReason.SUBMITTED and (not r.transcript or r.transcript[-1].call is None):
        yield "state", "submitted, but the last turn holds no call"
    if r.reason == EndReason.AGENT_ERROR and r.failure is None and r.costs.invalid_calls < MAX_INVALID_CALLS:
        yield "state", f"ended for invalid calls after {r.costs.invalid_calls}"


def check_costs(r: EpisodeRecord) -> Iterator[Flaw]:
    """Compute costs and reward from the transcript."""
    costs = costs_of(r.transcript, r.reason)
    if costs != r.costs:
        names = [f.name for f in dataclasses.fields(costs) if getattr(costs, f.name) != getattr(r.costs, f.name)]
        yield "costs", ", ".join(f"{n} {getattr(r.costs, n)} (transcript: {getattr(costs, n)})" for n in names)
    total = math.fsum(t.reward for t in r.transcript)
    if not abs(total - r.reward) <= REWARD_TOLERANCE:
        yield "reward", f"reward {r.reward}, but the turns' sum is {total}"
    for number, turn in enumerate(r.transcript, 1):
        if not abs(turn.reward - math.fsum(turn.terms.values())) <= REWARD_TOLERANCE:
            yield "reward", f"turn {number}: reward {turn.reward}, but its terms are {turn.terms}"
            return


def check_references(r: EpisodeRecord, *, stored: bool) -> Iterator[Flaw]:
    """Check that images and objects refer to what is there; ``stored``: and that every picture has a file."""
    for name, image in r.images.items():
        if not re.fullmatch(r"[0-9a-f]{64}", image.hash) or min(image.size_wh) < 1 or image.source not in r.images:
            yield "image", f"image {short(name)} has no valid hash, size or source"
        elif image.file is None:
            if stored:
                yield "image", f"image {short(name)} has no file, but the run stores every picture of this sample"
        elif not ((named := PICTURE_NAME.fullmatch(image.file)) and named[1] == image.hash):
            yield "image", f"image {short(name)} names the file {short(image.file)}, not its hash"
    for obj in r.objects:
        width, height = r.images[obj.image].size_wh if obj.image in r.images else (0, 0)
        if not width or (obj.mask is not None and obj.mask.get("size") != [height, width]):
            yield "state", f"object {obj.id} does not fit an image {short(obj.image)}"
            return
