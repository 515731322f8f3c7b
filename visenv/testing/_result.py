"""Checking what one call of a tool asks of experts and gives back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..answers import Answer
from ..arguments import MAX_NAME
from ..context import ToolContext, map_points
from ..errors import short
from ..experts import DescribeRequest, DetectRequest, PointRequest, ReadRequest, SegmentRequest, UpscaleRequest
from ..images import Image
from ..masks import Mask
from ..objects import DetectedObject
from ..tools import NewImage, Tool, ToolResult
from ._subject import Subject, is_encodable

__all__ = ["check_requests", "check_result"]

REQUESTS = (DescribeRequest, DetectRequest, PointRequest, ReadRequest, SegmentRequest, UpscaleRequest)
MAX_SIDE_PX, MAX_ID, MAX_TEXT = 8192, 9999, 100_000
"""What observation spaces hold."""
OBJECTS = "Objects live in pixels of their source image: see `ToolContext.box_to_source` and `mask_to_source`."


def check_requests(subject: Subject, tool: Tool, requests: object) -> None:
    """Check what a tool yields.

    Raises:
        ConformanceError: It is no list of expert requests.
    """
    subject.need(
        isinstance(requests, (list, tuple)) and all(isinstance(r, REQUESTS) for r in requests), f"it yields {short(requests)}",
        expected="a list of expert requests", remedy="Write `results = yield [DetectRequest(…)]`; without any, `yield from ()`.",
    )  # fmt: skip
    assert isinstance(requests, (list, tuple))
    for request in requests:
        kind = type(request).__name__
        subject.need(
            request.capability in tool.requires, f"it asks for `{request.capability}` and requires {sorted(tool.requires)}",
            expected="every capability it asks for to be named", remedy=f"Write `@tool(requires=[…, {request.capability!r}])`.",
        )  # fmt: skip
        subject.need(isinstance(request.image, Image), f"the image of its {kind} is {short(request.image)}", expected="a visenv.Image", remedy="Pass `context.image(name).image`.")  # fmt: skip
        with subject.running(
            f"remembering its {kind}", remedy="Give plain values: boxes and points as tuples of floats."
        ):
            hash(request.key())


def check_result(subject: Subject, tool: Tool, context: ToolContext, result: object) -> None:
    """Check what a tool returns.

    Raises:
        ConformanceError: A promise of :class:`visenv.tools.ToolResult` is broken.
    """
    subject.need(isinstance(result, ToolResult), f"it returns {short(result)}", expected="a visenv.tools.ToolResult", remedy="Return one.")  # fmt: skip
    assert isinstance(result, ToolResult)
    text = result.text
    subject.need(
        isinstance(text, str) and text.strip() and len(text) <= MAX_TEXT and is_encodable(text),
        f"its text is {short(text)}", expected=f"1 to {MAX_TEXT} characters", remedy="Tell the agent what happened, also when nothing did.",
    )  # fmt: skip
    _check_images(subject, context, result)
    if result.undo:
        subject.need(
            context.history and result.objects == context.history[-1], "it undoes, and its objects are not the previous ones",
            expected="`objects=context.history[-1]` with `undo=True`", remedy="Raise CallError where there is no history.",
        )  # fmt: skip
    elif result.objects is not None:
        _check_objects(subject, context, result.objects)
    _check_answer(subject, tool, context, result.answer)


def _check_images(subject: Subject, context: ToolContext, result: ToolResult) -> None:
    known = {name: image.size_wh for name, image in context.images.items()}
    for new in result.new_images:
        where = subject.at(f"new image {getattr(new, 'name', new)!r}")
        where.need(
            isinstance(new, NewImage), f"it is {short(new)}", expected="a visenv.tools.NewImage", remedy="Make one."
        )
        final = new.name if new.to_parent is not None else f"{new.name}_{context.turn}"
        where.need(
            isinstance(new.name, str) and 1 <= len(final) <= MAX_NAME, f"its name has {len(final)} characters",
            expected=f"1 to {MAX_NAME}", remedy="Ask `context.free_name(…)`, which refuses longer ones.",
        )  # fmt: skip
        where.need(final not in known, f"an image is called {final!r} already", expected="a new name", remedy="Ask `context.free_name(…)`.")  # fmt: skip
        where.need(isinstance(new.image, Image) and max(new.image.size_wh) <= MAX_SIDE_PX, f"its picture is {short(new.image)}", expected=f"a visenv.Image with sides of at most {MAX_SIDE_PX} px", remedy="Refuse with CallError what gets larger.")  # fmt: skip
        where.need(new.parent in known, f"its parent is {short(new.parent)}", expected=f"an image of the episode or one made before it: {', '.join(list(known)[:6])}", remedy="Name the image it was made from.")  # fmt: skip
        where.need(isinstance(new.origin, str) and new.origin.strip(), f"its origin is {short(new.origin)}", expected="a few words", remedy="Say how it was made.")  # fmt: skip
        _check_map(where, new, known[new.parent])
        known[final] = new.image.size_wh
    names = {*context.images, *(n.name for n in result.new_images)}
    for name in result.show:
        subject.need(name in names, f"it shows {short(name)}", expected=f"an image of the episode or a new one: {', '.join([*names][:6])}", remedy="Put the picture into `new_images` under that name.")  # fmt: skip


def _check_map(where: Subject, new: NewImage, parent_wh: tuple[int, int]) -> None:
    if new.to_parent is None:
        where.need(new.image.size_wh == parent_wh, f"it is an overlay of {new.image.size_wh} px", expected=f"its parent's {parent_wh}", remedy="Give `to_parent` to an image with pixels of its own.")  # fmt: skip
        return
    matrix: Any = np.asarray(new.to_parent)
    fine = matrix.shape == (2, 3) and matrix.dtype.kind in "fi" and bool(np.isfinite(matrix).all())
    where.need(fine, f"its `to_parent` is {short(matrix)}", expected="a finite 2x3 matrix", remedy="Map its pixels to the parent's: a crop at (x, y) is [[1, 0, x], [0, 1, y]].")  # fmt: skip
    (width, height), (parent_w, parent_h) = new.image.size_wh, parent_wh
    middle = map_points([(width / 2, height / 2)], matrix.astype(np.float64))[0]
    area = abs(float(np.linalg.det(matrix[:, :2]))) * width * height
    where.need(
        area > 0 and -1 <= middle[0] <= parent_w + 1 and -1 <= middle[1] <= parent_h + 1,
        f"its `to_parent` puts its middle at ({middle[0]:.1f}, {middle[1]:.1f}) and gives it {area:.1f} px of its parent's {parent_wh}",
        expected="a place inside the parent", remedy="The map goes from the new image to its parent, not back.",
    )  # fmt: skip


def _check_objects(subject: Subject, context: ToolContext, objects: Any) -> None:
    subject.need(isinstance(objects, tuple), f"its objects are {short(objects)}", expected="a tuple: the whole table", remedy="Begin with `context.objects`.")  # fmt: skip
    known = {o.id for o in context.objects}
    earlier = [o for table in context.history for o in table]
    seen: set[int] = set()
    for one in objects:
        subject.need(isinstance(one, DetectedObject), f"one of its objects is {short(one)}", expected="a visenv.objects.DetectedObject", remedy="Make one.")  # fmt: skip
        where = subject.at(f"object #{one.id}")
        where.need(
            type(one.id) is int and 0 <= one.id <= MAX_ID and one.id not in seen
            and (one.id in known or one.id >= context.next_object_id or one in earlier),
            f"its id is {short(one.id)}, the next free one {context.next_object_id}", expected="an id that was never another object's",
            remedy="Number new objects with `visenv.objects.add_objects(…, next_id=context.next_object_id)`.",
        )  # fmt: skip
        seen.add(one.id)
        where.need(one.image in context.sources, f"its image is {short(one.image)}", expected=f"one of {', '.join(context.sources)}", remedy=OBJECTS)  # fmt: skip
        width, height = context.images[one.image].size_wh
        _check_box(where, one.box_xyxy, width, height)
        score = one.score
        where.need(isinstance(score, (int, float)) and math.isfinite(score) and 0 <= score <= 1, f"its score is {short(score)}", expected="a number in [0, 1]", remedy="Clip it.")  # fmt: skip
        where.need(isinstance(one.label, str) and one.label.strip(), f"its label is {short(one.label)}", expected="text", remedy='Call it "target" if you do not know.')  # fmt: skip
        where.need(one.mask is None or (isinstance(one.mask, Mask) and one.mask.size_hw == (height, width)), f"its mask is {short(one.mask)}", expected=f"a visenv.Mask of {height} x {width}", remedy=OBJECTS)  # fmt: skip
        where.need(len(one.points_xy) == len(one.points_positive), f"it has {len(one.points_xy)} points and {len(one.points_positive)} signs", expected="one sign each", remedy="Keep them parallel.")  # fmt: skip


def _check_box(where: Subject, box: Any, width: int, height: int) -> None:
    form = (
        isinstance(box, tuple) and len(box) == 4 and all(isinstance(v, (int, float)) and math.isfinite(v) for v in box)
    )
    where.need(form, f"its box is {short(box)}", expected="a tuple of four finite numbers", remedy=OBJECTS)
    x1, y1, x2, y2 = box
    where.need(0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height, f"its box is {box}", expected=f"x1 <= x2 and y1 <= y2 inside {width} x {height} px", remedy=OBJECTS)  # fmt: skip


def _check_answer(subject: Subject, tool: Tool, context: ToolContext, answer: object) -> None:
    if tool.answers is None:
        subject.need(answer is None, f"it answers {short(answer)}", expected="no answer of a tool that declares none", remedy="Write `@tool(answers=[…])` with the kinds it can give.")  # fmt: skip
        return
    subject.need(isinstance(answer, Answer), f"its answer is {short(answer)}", expected="a visenv.Answer: it is declared as a final tool", remedy="Raise CallError where there is nothing to submit.")  # fmt: skip
    assert isinstance(answer, Answer)
    width, height = context.images[context.sources[0]].size_wh
    subject.need(
        all(isinstance(m, Mask) and m.size_hw == (height, width) for m in answer.masks), f"its answer has masks of {[m.size_hw for m in answer.masks]}",
        expected=f"the first image's {(height, width)}", remedy="Answer with `context.answer(objects)`.",
    )  # fmt: skip
    subject.need(
        len(answer.labels) in (0, len(answer.boxes_xyxy)), f"its answer has {len(answer.labels)} labels for {len(answer.boxes_xyxy)} boxes",
        expected="one each, or none", remedy="Answer with `context.answer(objects)`.",
    )  # fmt: skip
    with subject.running("writing and reading its answer", remedy="Use plain numbers and text."):
        restored = Answer.from_json(answer.to_json())
    subject.need(restored == answer, f"its answer reads {short(restored)} once written", expected="an equal one", remedy="Use plain numbers and text.")  # fmt: skip
