"""One episode as the replay reads it: the record, with pictures by file and images and objects by number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visenv.answers import Answer
from visenv.errors import VisenvError
from visenv.memory import make_policy

from ..records import EpisodeRecord, ImageRecord
from .folder import SiteFolder
from .pictures import picture_file, stored_picture
from .samples import Known

__all__ = ["episode_data"]

CUT_PX = 2048
"""Longest side of a source up to which its picture in the site is fine enough to cut views from."""
MASK_PX = 2**26
"""Most pixels of a mask that is carried."""
NOT_DRAWN = "what was drawn on it was not recorded"


def episode_data(
    folder: SiteFolder, record: EpisodeRecord, known: Known | str, *, run: Path, memory: str
) -> dict[str, Any]:
    """Return one episode's data, its pictures written.

    Args:
        folder: The site's.
        record: Of the episode.
        known: The sample as the task makes it, or why it does not.
        run: The run directory, which may hold its pictures.
        memory: The memory policy it was played with.
    """
    names = list(record.images)
    at = {name: i for i, name in enumerate(names)}
    born = _births(record, names)
    images: list[dict[str, Any]] = []
    for name, image in record.images.items():
        original = image.source == name
        live = image.overlay and (image.objects is not None or _is_grid(record, name))
        file, why = None, ""
        source = at.get(image.source, len(images))
        cut = source < len(images) and images[source]["file"] is not None and _is_cut(record, image)
        if not live and not cut and (image.file is not None or original):
            file, why = _picture(folder, image, run, known if original else None)
        elif image.overlay and not live:
            why = NOT_DRAWN
        images.append(
            {
                "name": name, "size": image.size_wh, "source": at.get(image.source), "to_source": image.to_source,
                "origin": image.origin, "parent": at.get(image.parent), "overlay": image.overlay, "live": live,
                "file": file, "stored": image.file is not None, "why": why, "born": born[at[name]],
                "draws": [place for place in image.objects or () if 0 <= place < len(record.objects)],
            }
        )  # fmt: skip
    sizes_wh = {name: _true_size(image, known) for name, image in record.images.items() if image.source == name}
    first = next(iter(sizes_wh.values()), None)
    answer, unfit = _answer(record, first)
    return {
        "agent": record.agent, "sample": record.sample_id,
        "seed": str(record.seed),  # more digits than a number in JavaScript has
        "reason": record.reason,
        "failed": record.failed, "failure": record.failure, "answer": answer, "unfit": unfit, "profile": record.profile,
        "row": record.row, "also": list(record.also.items()), "score": record.score, "reward": record.reward, "attempts": record.attempts,
        "costs": {
            "turns": record.costs.turns, "tool_calls": record.costs.tool_calls,
            "invalid_calls": record.costs.invalid_calls, "visual_tokens": record.costs.visual_tokens,
            "max_visual_tokens": record.costs.max_visual_tokens,
        },
        "measured": dict(record.measured), "images": images, "start": _start(memory, record, at),
        "objects": [
            {
                "id": o.id, "image": at.get(o.image), "label": o.label, "score": o.score, "box": o.box_xyxy,
                "mask": o.mask if _fits(o.mask, sizes_wh.get(o.image)) else None, "points": o.points,
                "unfit": o.mask is not None and not _fits(o.mask, sizes_wh.get(o.image)),
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

    Images are recorded in the order in which they were made, so one that was never in view is no younger than the next
    one that was.
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


def _is_grid(record: EpisodeRecord, name: str) -> bool:
    """Whether a picture of results shows patches, which are images of the episode."""
    image = record.images[name]
    return image.origin.startswith("patches of ") and any(
        other.parent == image.parent and not other.overlay for other in record.images.values()
    )


def _picture(folder: SiteFolder, image: ImageRecord, run: Path, known: Known | str | None) -> tuple[str | None, str]:
    """Return the file of a picture, or ``None`` and why there is none."""
    file = picture_file(image.hash)
    name = file.removeprefix("images/").removesuffix(".jpg")
    if isinstance(known, Known) and image.hash in known.sizes_wh:
        folder.keep(file)
        size_wh = known.sizes_wh[image.hash]
        return (name, "") if size_wh == image.size_wh else (None, "the record says another size than it has")
    why = stored_picture(folder, image, run)
    if why is None:
        return name, ""
    if known is not None:
        made = known if isinstance(known, str) else "the task makes another picture now"
        why = made if image.file is None else f"{why}; {made}"
    return None, why


def _true_size(image: ImageRecord, known: Known | str) -> tuple[int, int]:
    """Return the size of an original: the task's word before the record's."""
    return image.size_wh if isinstance(known, str) else known.sizes_wh.get(image.hash, image.size_wh)


def _fits(mask: Any, size_wh: tuple[int, int] | None) -> bool:
    """Whether a mask is one of an image of this size, not too large to be drawn."""
    if size_wh is None or not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
        return False
    width, height = size_wh
    return mask.get("size") == [height, width] and 0 < width * height <= MASK_PX


def _answer(record: EpisodeRecord, size_wh: tuple[int, int] | None) -> tuple[dict[str, Any] | None, str]:
    """Return the answer as the page reads it, without what does not fit, and what is to be said of it."""
    if record.answer is None:
        return None, ""
    try:
        answer = Answer.from_json(record.answer).to_json()
    except Exception:  # somebody's file, in any form
        return None, "The recorded answer is not readable."
    masks = [mask if _fits(mask, size_wh) else None for mask in answer["masks"]]
    lost = masks.count(None)
    said = f"{lost} of {len(masks)} masks do not fit the picture and are not drawn." if lost else ""
    return {**answer, "masks": masks}, said


def _start(memory: str, record: EpisodeRecord, at: dict[str, int]) -> list[int]:
    """Return which images were in view before the first turn."""
    originals = [name for name, image in record.images.items() if image.source == name]
    try:
        places = make_policy(memory).select([originals])
    except (VisenvError, ValueError):  # a policy that is not installed here
        return [at[name] for name in originals]
    return [at[originals[place]] for _, place in places]
