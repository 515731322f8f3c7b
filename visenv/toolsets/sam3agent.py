"""The ``sam3agent`` toolset: phrases to masks, a look at each, a choice among them. In the style of SAM 3 Agent.

Source: the agent of ``facebookresearch/sam3`` (semantics only; no code is used). As there, each ``segment_phrase`` discards the masks before
it, a phrase can be used once, and more than ``MOST_MASKS`` masks cannot be chosen from. Different here: ``examine_each_mask`` shows
close-ups to the agent itself, where theirs asks a second model to accept or reject each; masks keep their ids through the episode;
a malformed call is an observation, where theirs ends the run. Their memory is close to ``--memory prune:k=1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..answers import AnswerKind, Box
from ..arguments import ImageName, ObjectIds, Phrase
from ..context import ToolContext, invert_matrix
from ..drawing import draw_objects
from ..experts import Detections, DetectRequest, Segmentation, SegmentRequest
from ..memory import NamedImage
from ..objects import DetectedObject
from ..tools import CallError, NewImage, ToolBody, ToolResult, Toolset, tool
from ._shared import cut_region, found_object, submit_choice, submit_count, submit_none

__all__ = ["SAM3AGENT"]

MOST_MASKS = 100
EXAMINED = 16
"""Most close-ups that one call shows."""
MARGIN = 0.3
"""What a close-up shows around a mask, as a share of its box's sides."""


@tool(requires=["detect", "segment"])
def segment_phrase(context: ToolContext, phrase: Phrase, image: ImageName = "img_0") -> ToolBody:
    """Find and segment all objects that a short noun phrase names. Masks found before are discarded.

    Args:
        phrase: A simple noun phrase, such as "apple" or "red car". Each phrase can be used once.
        image: Name of the image.
    """
    place = context.image(image)
    _need_unused(context, place, phrase)
    (found,) = yield [DetectRequest(image=place.image, phrase=phrase)]
    assert isinstance(found, Detections)
    boxes: list[Box] = [(x1, y1, x2, y2) for x1, y1, x2, y2 in found.boxes_xyxy.tolist()]
    if found.masks is not None:
        masks = list(found.masks)
    else:
        results = yield [SegmentRequest(image=place.image, box_xyxy=box) for box in boxes]
        masks = [r.mask for r in results if isinstance(r, Segmentation)]
    objects: list[DetectedObject] = []
    for box, score, mask in zip(boxes, found.scores.tolist(), masks, strict=True):
        one = found_object(context, place, label=phrase, score=score, box_xyxy=box, mask=mask, prompt_box_xyxy=box)
        if one.mask is not None and one.mask.area_px:
            objects.append(replace(one, id=context.next_object_id + len(objects)))
    return _found(context, place, phrase, objects)


@tool(requires=["segment"])
def examine_each_mask(context: ToolContext) -> ToolBody:
    """See each of the latest masks in a close-up, to tell which are right."""
    yield from ()
    if not context.objects:
        raise CallError("no_masks", "There are no masks to examine. Call segment_phrase first.")
    shown = context.objects[:EXAMINED]
    made = [_close_up(context, o) for o in shown]
    lines = [f"mask_{o.id}_{context.turn}: mask #{o.id}" for o in shown]
    if len(context.objects) > EXAMINED:
        lines.append(f"The other {len(context.objects) - EXAMINED} are not shown.")
    return ToolResult(
        text="\n".join(lines),
        new_images=tuple(i for pair in made for i in pair),
        show=tuple(drawn.name for _, drawn in made),
    )


@tool(answers=[AnswerKind.MASK, AnswerKind.BOXES, AnswerKind.COUNT])
def select_masks_and_return(context: ToolContext, masks: ObjectIds) -> ToolBody:
    """Choose among the latest masks and submit them as the final answer.

    Args:
        masks: Ids of the masks that match the instruction, such as [0, 2].
    """
    yield from ()
    if len(context.objects) > MOST_MASKS:
        raise CallError("too_many_masks", f"{len(context.objects)} masks cannot be chosen from. Use a narrower phrase.")
    chosen = context.objects_by_id(masks)
    return ToolResult(text=f"Submitted {_listed(chosen)}.", answer=context.answer(chosen))


@tool(answers=[AnswerKind.MASK, AnswerKind.BOXES, AnswerKind.COUNT])
def report_no_mask(context: ToolContext) -> ToolBody:
    """Submit as the final answer that nothing in the image matches the instruction."""
    return (yield from submit_none.body(context))


SAM3AGENT = Toolset(
    name="sam3agent",
    tools=(segment_phrase, examine_each_mask, select_masks_and_return, report_no_mask, submit_count, submit_choice),
    guidance=(
        "Start with a simple noun phrase for the target; if its masks are wrong, try a more general or another one. Look at each mask "
        "when you are not sure, then choose those that match the whole instruction. It is possible that nothing matches."
    ),
)
"""Phrases, masks, a choice."""


def _need_unused(context: ToolContext, place: NamedImage, phrase: str) -> None:
    if (place.name, phrase.strip().lower()) in context.state.get("phrases", ()):
        raise CallError("phrase_used", f"{phrase!r} was used on {place.name} before. Try another phrase.")


def _found(context: ToolContext, place: NamedImage, phrase: str, objects: Sequence[DetectedObject]) -> ToolResult:
    """Report the masks of a phrase, which is used now; they are all the objects there are."""
    used = (*context.state.get("phrases", ()), (place.name, phrase.strip().lower()))
    state = {**context.state, "phrases": used}
    if not objects:
        return ToolResult(text=f"No masks for {phrase!r}. Try another phrase.", objects=(), state=state)
    shown = context.overlay(place, objects, f"masks for {phrase!r}")
    listed = ", ".join(f"#{o.id}" for o in objects[:MOST_MASKS])
    more = (
        f". More than {MOST_MASKS}: too many to choose from, use a narrower phrase" if len(objects) > MOST_MASKS else ""
    )
    text = f"{_listed(objects)} for {phrase!r}: {listed}{more}."
    return ToolResult(text=text, new_images=(shown,), show=(shown.name,), objects=tuple(objects), state=state)


def _close_up(context: ToolContext, o: DetectedObject) -> tuple[NewImage, NewImage]:
    """Return a mask's surroundings, and the same with the mask drawn in."""
    source = context.images[o.image]
    width, height = source.size_wh
    x1, y1, x2, y2 = o.box_xyxy
    dx, dy = MARGIN * (x2 - x1) + 8, MARGIN * (y2 - y1) + 8
    box = (max(0.0, x1 - dx), max(0.0, y1 - dy), min(float(width), x2 + dx), min(float(height), y2 + dy))
    part = cut_region(context, source, box, name=f"around_{o.id}")
    assert part.to_parent is not None
    drawn = draw_objects(part.image, (o,), from_source=invert_matrix(part.to_parent))
    shown = NewImage(
        name=f"mask_{o.id}", image=drawn, parent=part.name, origin=f"close-up of mask #{o.id}", objects=(o,)
    )
    return part, shown


def _listed(objects: Sequence[DetectedObject]) -> str:
    return f"{len(objects)} mask{'' if len(objects) == 1 else 's'}"
