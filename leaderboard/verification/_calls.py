"""Every call of a record made again: what it put in view, what it changed, what it said.

Tools that ask no expert run as in the episode, on the sample's own pictures. Where an expert was asked, its finds are
the recorded objects; they must be the ones that the recorded feedback lists and that the recorded overlays show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from visenv.answers import AnswerKind
from visenv.context import ToolContext
from visenv.coordinates import Coordinates
from visenv.episode import EndReason
from visenv.errors import short
from visenv.grammars import Grammar, ParseError
from visenv.images import Image, Pixels
from visenv.masks import Mask
from visenv.memory import NamedImage
from visenv.objects import DetectedObject
from visenv.tools import CallError, NewImage, ToolCall, ToolResult, Toolset, check_call

from ..recording import MAX_TEXT, cut
from ..records import EpisodeRecord, ObjectRecord, TurnRecord
from ..safe_files import printable
from ._derived import DERIVED
from ._findings import Flaw, json_text
from ._finds import FindsError
from ._rerun import run_again

__all__ = ["check_calls", "object_of"]

MAX_PIXELS = 2**31
"""Most pixels of all images of an episode that are made again."""
MAX_IMAGE = 2**28
"""Most pixels of one of them."""
IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
MATRIX_TOLERANCE = 1e-6
HIDDEN = "***"
"""Stands in records for a secret."""
PLAIN = re.compile(r"""[\[(]|\{(?!")|(None|True|False|a \w+|nan|-?inf|-?[\d.e+-]+)\Z""")
"""How Python writes an action that is no text; a model's words may begin so too."""
LEFT = re.compile(r"\n(\d+) turns? left; submit in time\.\Z")


class ReplayError(Exception):
    """What a record says is not what its calls give."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


class Blank:
    """A picture of which only the size is known."""

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.size_wh = size_wh

    @property
    def pixels(self) -> Pixels:
        """Black, without memory of its own."""
        return np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (self.size_wh[1], self.size_wh[0], 3))


def check_calls(
    r: EpisodeRecord,
    toolset: Toolset,
    *,
    kind: AnswerKind | None,
    pictures: Sequence[Image] | None,
    limit: int | None,
    privileged: bool,
    grammar: Grammar | None,
    coordinates: Coordinates,
) -> Iterator[Flaw]:
    """Make every call again and compare; stop at the first that differs.

    Args:
        r: The record, of sound form.
        toolset: The tools that were played with.
        kind: Of answer; ``None`` when the task is not known.
        pictures: The sample's; ``None`` when it cannot be made, and only sizes are followed.
        limit: Of turns, if it is known.
        privileged: The objects may be there before the first call.
        grammar: In which the agent wrote what it wrote in words; ``None`` when nobody can tell.
        coordinates: How places were written in that, and in what the agent was told.
    """
    turns = r.transcript[: len(r.transcript) - r.failed]  # the turn that failed may be anything
    number = 0
    try:
        replay = _Replay(r, toolset, kind, pictures, limit, grammar, coordinates)
        if privileged and turns:
            replay.register(turns[0])
        for number, turn in enumerate(turns, 1):
            replay.follow(number, turn)
        replay.end()
    except ReplayError as wrong:
        yield wrong.kind, f"turn {number}: {wrong}" if number else str(wrong)
    except CallError as error:
        yield "state", f"turn {number}: the call cannot be made: {printable(str(error), 200)}"
    except FindsError as wrong:
        yield "state", f"turn {number}: {wrong}"


def object_of(o: ObjectRecord) -> DetectedObject:
    """Return a recorded object as tools see it; the box that its mask was asked with is not recorded."""
    return DetectedObject(
        id=o.id, image=o.image, label=o.label, score=o.score, box_xyxy=o.box_xyxy,
        mask=None if o.mask is None else Mask.from_json(o.mask),
        points_xy=tuple((x, y) for x, y, _ in o.points), points_positive=tuple(positive for _, _, positive in o.points),
    )  # fmt: skip


class _Replay:
    """The state of an episode, as :class:`visenv.episode.Episode` has it."""

    def __init__(
        self,
        r: EpisodeRecord,
        toolset: Toolset,
        kind: AnswerKind | None,
        pictures: Sequence[Image] | None,
        limit: int | None,
        grammar: Grammar | None,
        coordinates: Coordinates,
    ) -> None:
        self.r, self.limit, self.grammar, self.coordinates = r, limit, grammar, coordinates
        self.kind = kind or AnswerKind.COUNT
        self.knows_tools = kind is not None
        self.tools = toolset if kind is None else toolset.for_answers(kind)
        self.images: dict[str, NamedImage] = {}
        self.objects: tuple[DetectedObject, ...] = ()
        self.history: list[tuple[DetectedObject, ...]] = []
        self.state: Any = {}
        self.next_id = 0
        self._area = 0
        self._objects: dict[int, DetectedObject] = {}
        self._places: tuple[int, ...] = ()
        originals = [name for name, image in r.images.items() if not image.parent]
        if originals != [f"img_{i}" for i in range(len(originals))]:
            raise ReplayError("image", f"the original images are {short(originals)}")
        if pictures is not None and originals and len(pictures) != len(originals):
            raise ReplayError("image", f"{len(originals)} original images; the sample has {len(pictures)}")
        for place, name in enumerate(originals):
            image = Blank(r.images[name].size_wh) if pictures is None else pictures[place]
            named = NamedImage(name=name, image=cast(Any, image), source=name, to_source=IDENTITY, origin="given")
            self._keep(named, known=pictures is not None)
        self.sources = tuple(originals)

    def register(self, turn: TurnRecord) -> None:
        """Take over what was in the table before the first call: that of a turn that changes nothing."""
        name = (turn.call or {}).get("name")
        if turn.call is None or (name in self.tools and self.tools[str(name)].answers is not None):
            self.objects, self._places = self._table(turn), tuple(turn.objects)
            self.next_id = len(self.objects)
            for number, o in enumerate(self.objects):
                if (o.id, o.score, o.image, o.points_xy) != (number, 1.0, self.sources[0], ()):
                    raise ReplayError("state", f"object {o.id} is not as the truth is registered")

    def follow(self, number: int, turn: TurnRecord) -> None:
        """Make one turn again.

        Raises:
            ReplayError: It is not what was recorded.
            FindsError: So are objects.
            CallError: The call cannot be made.
        """
        text, suffix = self._told(number, turn)
        if turn.call is None:
            self._mistake(number, turn, text)
            return
        call = check_call(self.tools, turn.call)
        if json_text(call) != json_text(turn.call):
            raise ReplayError("state", f"the call {short(turn.call)} is not in canonical form")
        self._check_reply(turn, call)
        context = self._context(number)
        table = self._table(turn)
        if call["name"] in DERIVED:
            made = DERIVED[call["name"]](context, call["arguments"], table, text, self._shown(turn))
            result, said, drawn = made.result, True, made.drawn
        else:
            result, said, drawn = run_again(self.tools[call["name"]].body(context, **call["arguments"]), turn)
        long = len(turn.feedback) > MAX_TEXT and result.text == turn.feedback  # read as it was cut
        if said and not long and cut(result.text + suffix) != turn.feedback:
            raise ReplayError("state", f"the agent was told {short(turn.feedback)}; the call says {short(result.text)}")
        changed = (
            tuple(turn.objects) != self._places
        )  # also in what no record holds: the box that a mask was asked with
        self._places = tuple(turn.objects)
        shown = self._apply(result, number, drawn=drawn, changed=changed)
        if shown != turn.shown:
            raise ReplayError("image", f"{short(turn.shown)} were shown; the call shows {short(shown)}")
        if self.objects != table:
            raise ReplayError("state", f"objects changed otherwise than {call['name']} changes them")

    def end(self) -> None:
        """Check that there is no image that no call made.

        Raises:
            ReplayError: There is one.
        """
        recorded = list(self.r.images)
        if recorded[: len(self.images)] != list(self.images) or (
            len(recorded) > len(self.images) and not self.r.failed
        ):
            raise ReplayError("image", f"the images are {short(recorded)}; the calls make {short(list(self.images))}")

    def _context(self, number: int) -> ToolContext:
        return ToolContext(
            turn=number, kind=self.kind, images=self.images, sources=self.sources, objects=self.objects,
            next_object_id=self.next_id, history=tuple(self.history), state=self.state,
            coordinates=self.coordinates,
        )  # fmt: skip

    def _mistake(self, number: int, turn: TurnRecord, text: str) -> None:
        """Check a turn without a valid call, which changes nothing."""
        if not text.startswith(f"Error ({turn.error}): "):
            raise ReplayError(
                "state", f"the mistake {short(turn.error)}, but the agent was told {short(turn.feedback)}"
            )
        if turn.reply is None:
            raise ReplayError("state", f"the mistake {short(turn.error)}, but nothing that the agent said")
        if self.grammar is not None and self.knows_tools and _is_whole(turn.reply) and _is_whole(turn.feedback):
            made = self._mistake_in(turn.reply, number, turn)
            if made is None:
                raise ReplayError("state", f"the mistake {short(turn.error)}, but the reply is a valid call")
            if made != text and not PLAIN.match(turn.reply):
                raise ReplayError("state", f"the agent was told {short(text)}; its reply gives {short(made)}")
        if turn.shown:
            raise ReplayError("image", "a mistake that shows images")
        if self._table(turn) != self.objects:
            raise ReplayError("state", "objects changed without a call that changes them")

    def _mistake_in(self, reply: str, number: int, turn: TurnRecord) -> str | None:
        """Make a mistake again: return what the agent is told of it, ``None`` when its words are a valid call."""
        try:
            call = self._read(reply)
            body = self.tools[call["name"]].body(self._context(number), **call["arguments"])
            if call["name"] in DERIVED:
                next(body, None)  # these refuse nothing after they have asked
            else:
                run_again(body, turn)
        except (ParseError, CallError) as mistake:
            return f"Error ({mistake.code}): {mistake}"
        return None

    def _check_reply(self, turn: TurnRecord, call: ToolCall) -> None:
        """Check that what the agent wrote in words, where it did, is the call."""
        if self.grammar is None or turn.reply is None or not _is_whole(turn.reply):
            return
        try:
            written = self._read(turn.reply)
        except (ParseError, CallError) as error:
            raise ReplayError("state", f"the reply is not the call: {printable(str(error), 200)}") from None
        if json_text(written) != json_text(call):
            raise ReplayError("state", f"the call is {short(call)}; the reply says {short(written)}")

    def _read(self, reply: str) -> ToolCall:
        """Return the call that an agent wrote in words, of a grammar that is known."""
        assert self.grammar is not None
        sizes_wh = {name: image.size_wh for name, image in self.images.items()}
        call = self.grammar.parse(reply, self.tools).call
        return check_call(self.tools, call, coordinates=self.coordinates, sizes_wh=sizes_wh)

    def _told(self, number: int, turn: TurnRecord) -> tuple[str, str]:
        """Return what the tool said, and what the episode adds to it."""
        r = self.r
        whole = len(turn.feedback) > MAX_TEXT  # cut: the end is not recorded
        suffix = ""
        ended = r.reason in (EndReason.SUBMITTED, EndReason.TURN_LIMIT) or (
            r.reason == EndReason.AGENT_ERROR and r.failure is None
        )
        if number == len(r.transcript) and ended:
            suffix = "" if r.reason == EndReason.SUBMITTED else f"\nThe episode is over: {r.reason}."
        else:
            if self.limit is None and (found := LEFT.search(turn.feedback)) and len(found[1]) < 10:
                self.limit = int(found[1]) + number  # of a task that is not here; from now on it is known
            left = 3 if self.limit is None else self.limit - number
            suffix = f"\n{left} turn{'s' if left != 1 else ''} left; submit in time." if left <= 2 else ""
        if whole:
            return turn.feedback, suffix
        if not turn.feedback.endswith(suffix):
            raise ReplayError(
                "state", f"the agent was told {short(turn.feedback[-80:])}; expected {short(suffix)} at the end"
            )
        text = turn.feedback.removesuffix(suffix)
        if not suffix and LEFT.search(text):
            raise ReplayError("state", f"the agent was told {short(text[-60:])}, too early")
        return text, suffix

    def _shown(self, turn: TurnRecord) -> dict[str, tuple[DetectedObject, ...] | None]:
        drawn = {name: self.r.images[name].objects for name in turn.shown}
        return {name: None if places is None else self._held(places) for name, places in drawn.items()}

    def _table(self, turn: TurnRecord) -> tuple[DetectedObject, ...]:
        return self._held(turn.objects)

    def _held(self, places: Sequence[int]) -> tuple[DetectedObject, ...]:
        for place in places:
            if place not in self._objects:
                self._objects[place] = object_of(self.r.objects[place])
        return tuple(self._objects[place] for place in places)

    def _apply(self, result: ToolResult, number: int, *, drawn: bool, changed: bool) -> tuple[str, ...]:
        renamed: dict[str, str] = {}
        for new in result.new_images:
            renamed[new.name] = self._make(new, number, drawn=drawn)
        if result.undo:
            self.objects = self.history.pop()
        elif result.objects is not None and (changed or result.objects != self.objects):
            self.history.append(self.objects)
            self.objects = result.objects
            self.next_id = max([self.next_id, *(o.id + 1 for o in self.objects)])
        if result.state is not None:
            self.state = result.state
        return tuple(renamed.get(name, name) for name in result.show)

    def _make(self, new: NewImage, number: int, *, drawn: bool) -> str:
        parent = self.images[new.parent]
        matrix = parent.to_source
        if new.to_parent is not None:
            matrix = parent.to_source @ np.vstack([new.to_parent, [0.0, 0.0, 1.0]])
        known = drawn and isinstance(parent.image, Image)
        named = NamedImage(
            name=new.name if new.to_parent is not None else f"{new.name}_{number}", image=new.image,
            source=parent.source, to_source=matrix, origin=new.origin, parent=new.parent, depth=parent.depth + 1,
            is_overlay=new.to_parent is None,
        )  # fmt: skip
        self._keep(named, known=known)
        recorded = self.r.images[named.name].objects
        held = None if recorded is None else self._held(recorded)
        if drawn and held != (new.objects if named.is_overlay else None):
            raise ReplayError("image", f"image {short(named.name)} shows other objects than the call draws")
        return named.name

    def _keep(self, named: NamedImage, *, known: bool) -> None:
        """Compare an image with what is recorded of it, and keep it."""
        width, height = named.size_wh
        self._area += width * height
        if self._area > MAX_PIXELS or width * height > MAX_IMAGE:
            raise ReplayError("image", f"image {short(named.name)} is too large")
        recorded = self.r.images.get(named.name)
        if recorded is None or named.name in self.images:
            raise ReplayError(
                "image", f"the image {short(named.name)} that the call makes is not recorded, or there already"
            )
        for what, given, true in (
            ("size", recorded.size_wh, named.size_wh), ("source", recorded.source, named.source),
            ("parent", recorded.parent, named.parent), ("overlay", recorded.overlay, named.is_overlay),
        ):  # fmt: skip
            if given != true:
                raise ReplayError(
                    "image", f"image {short(named.name)} has {what} {short(given)}; the call gives {true}"
                )
        if not np.allclose(np.reshape(recorded.to_source, (2, 3)), named.to_source, rtol=1e-9, atol=MATRIX_TOLERANCE):
            raise ReplayError("image", f"image {short(named.name)} lies elsewhere in its source than the call puts it")
        if known and named.image.hash != recorded.hash:
            raise ReplayError("image", f"image {short(named.name)} is another picture than the calls and objects give")
        if not known or named.is_overlay:  # an overlay is nobody's input
            named = replace(named, image=cast(Any, Blank(named.size_wh)))
        self.images[named.name] = named


def _is_whole(text: str) -> bool:
    """Whether a text is recorded as it was: neither cut, nor with a secret left out."""
    return len(text) <= MAX_TEXT and HIDDEN not in text
