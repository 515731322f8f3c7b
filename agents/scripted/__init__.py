"""An honest heuristic: reads the instruction by rules, looks with the experts, compares, submits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from visenv import AnswerKind, EpisodeSpec, ToolCall
from visenv.errors import UnsuitedError

from .looking import Found, choose
from .reading import Question, read_instruction, read_question

__all__ = ["Scripted"]

PATCH_PX = 512
"""Scenes larger than this are cut into patches where many small objects are asked for."""
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


class Scripted:
    """Plays the ``full`` toolset by rules, from pixels and text alone; no model, no privilege, nothing learnt."""

    name = "scripted"

    def start(self, spec: EpisodeSpec) -> _ScriptedPlayer:
        """Return a player for one episode.

        Raises:
            UnsuitedError: The toolset lacks what the rules need.
        """
        missing = {"detect", "segment", "keep", "split"} - set(spec.toolset.names)
        if missing:
            raise UnsuitedError(
                f"`scripted` needs the tools {', '.join(sorted(missing))}. Play it with --toolset full."
            )
        return _ScriptedPlayer(spec)


class _ScriptedPlayer:
    """Runs one plan as a coroutine: it yields calls and is sent observations."""

    def __init__(self, spec: EpisodeSpec) -> None:
        self._spec = spec
        self._plan: Iterator[ToolCall] | None = None
        self._now: dict[str, Any] = {}

    def act(self, observation: dict[str, Any]) -> ToolCall:
        """Return the next call of the plan."""
        self._now = observation
        if self._plan is None:
            plans = {
                AnswerKind.BOXES: self._box_all, AnswerKind.CHOICE: self._choose_option,
                AnswerKind.COUNT: self._find, AnswerKind.MASK: self._find,
            }  # fmt: skip
            self._plan = plans[self._spec.kind]()
        return next(self._plan, _call("submit_none"))

    def _find(self) -> Iterator[ToolCall]:
        """Masks and counts: find the kind of thing, find the anchor, compare, submit what fits."""
        reading = read_instruction(self._now["instruction"])
        pixels = self._now["images"][0]
        found: list[Found] = []
        if reading.noun:
            yield _call("detect", images=["img_0"], phrase=reading.noun[:200])
            found = self._touched()
        guessing = not reading.noun and not (reading.look or reading.extreme or reading.relation)
        if not reading.noun:
            yield _call("detect", images=["img_0"], phrase="object")
            found = self._touched()
        anchor = None
        if reading.anchor:
            yield _call("detect", images=["img_0"], phrase=reading.anchor[:200])
            anchors = self._touched()
            anchor = max(anchors, key=lambda o: float(o["score"][0]), default=None)
        if guessing:  # a description without a name means nothing to the detector: take the most prominent thing
            chosen = sorted(found, key=lambda o: -o["area"])[:1]
        else:
            chosen = choose(found, reading, anchor, pixels) if found else []
        if not chosen:
            yield _call("submit_none")
        ids = [o["id"] for o in chosen]
        if len(ids) < len(self._now["objects"]):
            yield _call("keep", objects=ids)
        if self._spec.kind is AnswerKind.MASK:
            yield _call("segment", objects=ids)
        yield _call("submit")

    def _box_all(self) -> Iterator[ToolCall]:
        """Dense boxes: cut into patches, detect in each, drop the fragments that patch borders leave."""
        phrase = read_instruction(self._now["instruction"]).noun[:200]
        names = ["img_0"]
        if max(self._now["images"][0].shape[:2]) > PATCH_PX:
            yield _call("split", images=["img_0"], patch_size=PATCH_PX)
            names = [i["name"] for i in self._now["archive"] if re.fullmatch(r"img_0_r\d+_c\d+", i["name"])]
        yield _call("detect", images=names, phrase=phrase)
        fragments = _fragments(self._now["objects"])
        if fragments and len(fragments) < len(self._now["objects"]):
            yield _call("drop", objects=fragments[:1000])
        yield _call("submit" if self._now["objects"] else "submit_none")

    def _choose_option(self) -> Iterator[ToolCall]:
        """Questions about several images: find things in all of them, compare by image, take the option that fits best."""
        question = read_question(self._now["instruction"])
        images = list(self._now["image_names"])
        named = question.kind in ("most", "fewest", "only", "total")
        yield _call("detect", images=images, phrase=question.noun[:200] if named else "object")
        objects = self._touched()
        counts = [Counter(o["label"] for o in objects if o["image"] == name) for name in images]
        yield _call("submit_choice", choice=_best_option(question, counts))

    def _touched(self) -> list[Found]:
        """The objects that the last feedback lists."""
        ids = {int(i) for i in re.findall(r"^#(\d+) ", self._now["feedback"], re.MULTILINE)}
        more = re.search(r"^… and \d+ more, #(\d+) to #(\d+)", self._now["feedback"], re.MULTILINE)
        if more:
            ids |= set(range(int(more[1]), int(more[2]) + 1))
        return [o for o in self._now["objects"] if o["id"] in ids]


def _call(name: str, **arguments: Any) -> ToolCall:
    return {"name": name, "arguments": arguments}


def _fragments(objects: list[Found]) -> list[int]:
    """Ids of objects that lie mostly inside a larger one."""
    gone = []
    boxes = sorted(((float(o["area"]), o["id"], [float(v) for v in o["box"]]) for o in objects), reverse=True)
    for k, (area, number, box) in enumerate(boxes):
        for _, _, other in boxes[:k]:
            wide = min(box[2], other[2]) - max(box[0], other[0])
            high = min(box[3], other[3]) - max(box[1], other[1])
            if wide > 0 and high > 0 and wide * high > 0.7 * area:
                gone.append(number)
                break
    return gone


def _best_option(question: Question, counts: list[Counter[str]]) -> str:
    """Return the letter of the option that the counts support best."""
    totals = [sum(c.values()) for c in counts]
    kinds = [set(c) for c in counts]
    scores = {}
    for letter, text in question.options:
        number = re.search(r"\d+", text)
        image = next((i for i, word in enumerate(ORDINALS) if word in text.lower()), 0)
        at = min(image, len(counts) - 1)
        name = text.lower().rstrip(".")
        for article in ("a ", "an ", "the "):
            name = name.removeprefix(article)
        scores[letter] = {
            "total": -abs(sum(totals) - int(number[0])) if number else -99,
            "most": totals[at],
            "only": totals[at],
            "fewest": -totals[at],
            "odd": len(kinds[at] - set().union(*(k for i, k in enumerate(kinds) if i != at))),
            "lacks": sum(
                name_ not in kinds[at] and all(name_ in k for i, k in enumerate(kinds) if i != at)
                for name_ in set().union(*kinds)
            ),
            "common": sum(name in k for k in kinds),
            "removed": (name in kinds[0]) - (name in kinds[-1]),
            "added": (name in kinds[-1]) - (name in kinds[0]),
        }[question.kind]
    return max(scores, key=lambda letter: scores[letter], default="A")
