"""One episode as the replay reads it: the record, with pictures by file and images and objects by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from visenv.errors import VisenvError
from visenv.memory import make_policy

from ..records import EpisodeRecord, ImageRecord
from .folder import SiteFolder
from .gathering import Run
from .pictures import put_picture
from .samples import Rebuilt

__all__ = ["episode_data"]

CUT_PX = 2048
"""Longest side of a source up to which its picture in the site is fine enough to cut views from."""
NOT_DRAWN = "what was drawn on it was not recorded"


def episode_data(folder: SiteFolder, run: Run, record: EpisodeRecord, rebuilt: Rebuilt) -> dict[str, Any]:
    """Return one episode's data, its pictures written."""
    names = list(record.images)
    at = {name: i for i, name in enumerate(names)}
    born = _births(record, names)
    images: list[dict[str, Any]] = []
    for name, image in record.images.items():
        original = image.source == name
        live = image.overlay and _drawable(record, name, born[at[name]])
        file, why = None, ""
        source = at.get(image.source, len(images))
        cut = source < len(images) and images[source]["file"] is not None and _is_cut(record, image)
        if not live and not cut and (image.file is not None or original):
            file, why = put_picture(folder, image, run.path, rebuilt if original else None)
        elif image.overlay and not live:
            why = NOT_DRAWN
        images.append(
            {
                "name": name, "size": image.size_wh, "source": at.get(image.source), "to_source": image.to_source,
                "origin": image.origin, "parent": at.get(image.parent), "overlay": image.overlay, "live": live,
                "file": file, "stored": image.file is not None, "why": why, "born": born[at[name]],
            }
        )  # fmt: skip
    return {
        "agent": record.agent, "sample": record.sample_id,
        "seed": str(record.seed),  # more digits than a number in JavaScript has
        "reason": record.reason,
        "failed": record.failed, "failure": record.failure, "answer": record.answer, "profile": record.profile,
        "row": record.row, "score": record.score, "reward": record.reward, "attempts": record.attempts,
        "costs": {
            "turns": record.costs.turns, "tool_calls": record.costs.tool_calls,
            "invalid_calls": record.costs.invalid_calls, "visual_tokens": record.costs.visual_tokens,
            "max_visual_tokens": record.costs.max_visual_tokens,
        },
        "measured": dict(record.measured), "images": images, "start": _start(run, record, at),
        "objects": [
            {
                "id": o.id, "image": at.get(o.image), "label": o.label, "score": o.score, "box": o.box_xyxy,
                "mask": o.mask, "points": o.points,
            }
            for o in record.objects
        ],
        "turns": [
            {
                "reply": t.reply, "call": t.call, "error": t.error, "feedback": t.feedback,
                "shown": [at[n] for n in t.shown if n in at], "visible": [at[n] for n in t.visible if n in at],
                "objects": t.objects, "reward": t.reward, "terms": list(t.terms.items()), "tokens": t.visual_tokens,
            }
            for t in record.transcript
        ],
    }  # fmt: skip


def _births(record: EpisodeRecord, names: Sequence[str]) -> list[int]:
    """Return the turn in which each image came to be, 0 for the start.

    Images are recorded in the order in which they were made, so one that was never in view is no younger than the next one that was.
    """
    seen: dict[str, int] = {n: 0 for n, i in record.images.items() if i.source == n}
    for number, turn in enumerate(record.transcript, 1):
        for name in (*turn.shown, *turn.visible):
            seen.setdefault(name, number)
    born, next_born = [0] * len(names), len(record.transcript)
    for i in range(len(names) - 1, -1, -1):
        next_born = min(next_born, seen.get(names[i], next_born))
        born[i] = next_born
    return born


def _is_cut(record: EpisodeRecord, image: ImageRecord) -> bool:
    """Whether a view is a piece of its source, pixel by pixel, so that the site need not carry it again."""
    source = record.images.get(image.source)
    if source is None or image is source or image.overlay or max(source.size_wh) > CUT_PX:
        return False
    a, b, c, d, e, f = image.to_source
    return (a, b, d, e) == (1, 0, 0, 1) and c.is_integer() and f.is_integer()


def _drawable(record: EpisodeRecord, name: str, born: int) -> bool:
    """Whether a picture of results can be drawn from what is recorded: objects that changed then, or patches."""
    image = record.images[name]
    if any(i.parent == image.parent and not i.overlay for n, i in record.images.items() if n != name) and (
        image.origin.startswith("patches of ")
    ):
        return True
    if not 1 <= born <= len(record.transcript):
        return False
    before = record.transcript[born - 2].objects if born > 1 else ()
    changed = set(record.transcript[born - 1].objects) - set(before)
    return any(record.objects[o].image == image.source for o in changed if 0 <= o < len(record.objects))


def _start(run: Run, record: EpisodeRecord, at: dict[str, int]) -> list[int]:
    """Return which images were in view before the first turn."""
    originals = [name for name, image in record.images.items() if image.source == name]
    try:
        places = make_policy(run.info.memory).select([originals])
    except (VisenvError, ValueError):  # a policy that is not installed here
        return [at[name] for name in originals]
    return [at[originals[place]] for _, place in places]
