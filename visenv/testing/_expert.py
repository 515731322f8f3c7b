"""Checking an expert: results that fit, whatever the batch, and pictures left as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np

from .. import plugins
from ..errors import ExpertError, bad_value, short
from ..experts import (
    Capability,
    DescribeRequest,
    Detections,
    DetectRequest,
    Expert,
    PointRequest,
    ReadRequest,
    Request,
    SegmentRequest,
    TextLines,
    UpscaleRequest,
)
from ..experts._check import find_problem
from ..experts.running import cut_batches, run_isolated
from ..images import Image
from ..masks import Mask, mask_iou_matrix
from ..specs import split_options
from ._stand_ins import draw_scene
from ._subject import Subject, check_given

__all__ = ["check_expert"]

SIZES_WH = ((200, 150), (97, 161))
EXTREME_WH = ((1, 1), (1, 64), (64, 1), (2, 3), (640, 8))
"""Sizes at which models break: patches and crops of an episode may have them."""
THREADS = 3
FORM = "Turn what the model gives into the documented form: pixels of the request's image, best first."
BATCH = "Answer each request from itself alone: no state between calls, no padding that shows, no sampling; hold a lock where threads cannot share."


def check_expert(
    expert: str | Expert | Sequence[Expert],
    *,
    images: Sequence[Image] | None = None,
    phrases: Sequence[str] = ("object", "red apple", "no such thing at all"),
    tolerance: float = 0.0,
) -> None:
    """Check that an expert keeps the promises of :class:`visenv.Expert` for every capability it claims.

    Args:
        expert: A registered name with options, an expert, or several. They are closed at the end.
        images: Pictures to ask about; two drawn scenes by default.
        phrases: What to look for and point at.
        tolerance: How far results may differ between batches (boxes and points in pixels, scores, share of a mask), for models
            whose arithmetic depends on the batch; 0 for equal ones.

    Raises:
        ConformanceError: A promise is broken.
        UnknownNameError: No such expert.
        BadValueError: The expert has no such option.
    """
    check_given(images=images, phrases=phrases)
    experts = _resolve(expert)
    again = _resolve(expert) if isinstance(expert, str) else experts
    if not experts:
        raise bad_value("expert", expert, expected="at least one expert")
    pictures = [draw_scene(size, seed=k)[0] for k, size in enumerate(SIZES_WH)] if images is None else list(images)
    for one, other in zip(experts, again, strict=True):
        subject = Subject(f"Expert {getattr(one, 'name', one)!r}")
        _check_form(subject, one)
        for capability in sorted(one.capabilities):
            where = subject.at(f"capability {capability!r}")
            _check_answers(where, one, other, _requests(capability, pictures, phrases), tolerance)
            _check_extremes(where, one, capability, phrases)
    if isinstance(expert, str):
        _check_options(expert, experts, pictures, phrases, tolerance)
    for one in {id(e): e for e in [*experts, *again]}.values():
        subject = Subject(f"Expert {one.name!r}")
        with subject.running("`health`", remedy="Say in a few words what is known of it."):
            said = one.health()
        subject.need(isinstance(said, str) and said.strip(), f"its `health` is {short(said)}", expected="a few words", remedy="Return a text, or raise ExpertError.")  # fmt: skip
        with subject.running("`trim`", remedy="Return whether memory was given back."):
            one.trim()
        with subject.running("`close`, called twice", remedy="Closing what is closed does nothing."):
            one.close()
            one.close()


def _resolve(expert: Any) -> list[Expert]:
    made = plugins.build("experts", expert) if isinstance(expert, str) else expert
    return list(made) if isinstance(made, (list, tuple)) else [made]


def _check_form(subject: Subject, expert: Any) -> None:
    subject.need(isinstance(expert, Expert), f"it is {short(expert)}", expected="a visenv.Expert, or a list of them", remedy="Subclass visenv.Expert and write `run`.")  # fmt: skip
    for name in ("name", "version", "identity"):
        value = getattr(expert, name, None)
        subject.need(
            isinstance(value, str) and value.strip() and value.isprintable() and not any(c.isspace() for c in value), f"its `{name}` is {short(value)}",
            expected="a word", remedy="It stands in every record and names cached results.",
        )  # fmt: skip
    capabilities, known = getattr(expert, "capabilities", None), get_args(Capability)
    subject.need(
        isinstance(capabilities, frozenset) and capabilities and capabilities <= set(known), f"its `capabilities` are {short(capabilities)}",
        expected=f"a frozenset of some of {', '.join(known)}", remedy="Name what `run` answers.",
    )  # fmt: skip
    subject.need(expert.identity == expert.identity, "its `identity` changes", expected="one identity", remedy="It names cached results.")  # fmt: skip


def _requests(capability: Capability, images: Sequence[Image], phrases: Sequence[str]) -> list[Request]:
    requests: list[Request] = []
    for image in images:
        width, height = image.size_wh
        match capability:
            case "detect":
                requests += [DetectRequest(image=image, phrase=p) for p in phrases]
            case "point":
                requests += [PointRequest(image=image, phrase=p) for p in phrases]
            case "upscale":
                requests += [UpscaleRequest(image=image, scale=s) for s in (2, 4)]
            case "read":
                requests.append(ReadRequest(image=image))
            case "describe":
                requests += [DescribeRequest(image=image, question=f"What is a {p}?") for p in phrases]
            case "segment":
                requests += _prompts(image, float(width), float(height))
    return requests


def _prompts(image: Image, width: float, height: float) -> list[Request]:
    """Every way to ask for a mask: boxes inside, small, whole and at the edge; clicks; all together with a mask to refine."""
    box = (0.05 * width, 0.08 * height, 0.36 * width, 0.48 * height)
    boxes = [box, (0.0, 0.0, width, height), (0.0, 0.0, 1.0, 1.0), (0.9 * width, 0.9 * height, width, height)]
    inside, corner = (0.2 * width, 0.27 * height), (width - 0.5, height - 0.5)
    previous = Mask.from_box(box, (int(height), int(width)))
    return [
        *(SegmentRequest(image=image, box_xyxy=b) for b in boxes),
        *(SegmentRequest(image=image, points_xy=(xy,), points_positive=(True,)) for xy in (inside, corner, (0.0, 0.0))),
        SegmentRequest(image=image, points_xy=(inside, corner), points_positive=(True, False), prefer="area"),
        SegmentRequest(image=image, box_xyxy=box, points_xy=(corner,), points_positive=(False,), previous=previous),
    ]


def _check_answers(
    subject: Subject, expert: Expert, other: Expert, requests: Sequence[Request], tolerance: float
) -> None:
    before = [Image(r.image.pixels.copy()).hash for r in requests]
    with subject.running("`run` of an empty batch", remedy="Return an empty list."):
        empty = expert.run([])
    subject.need(list(empty) == [], f"`run` of an empty batch gives {short(empty)}", expected="[]", remedy="Return an empty list.")  # fmt: skip
    results = _run(subject, expert, requests)
    for request, result in zip(requests, results, strict=True):
        where = subject.at(_words(request))
        problem = _find_more(request, result)
        where.need(problem is None, f"it gives {problem}", expected="a result that fits the request", remedy=FORM)
    changed = [_words(r) for r, b in zip(requests, before, strict=True) if Image(r.image.pixels.copy()).hash != b]
    subject.need(not changed, f"it changes the picture of {short(changed[:1])}", expected="pictures to be left alone", remedy="Copy the pixels before changing them.")  # fmt: skip
    backwards = _run(subject, expert, requests[::-1])[::-1]
    rounds = {
        "asked again": _run(subject, expert, requests),
        "asked alone": [_run(subject, expert, [r])[0] for r in requests],
        "asked in another order": backwards,
        "asked by an expert set": _run_in_set(subject, expert, requests),
        "asked of an expert made anew": results if other is expert else _run(subject, other, requests),
    }
    for thread, found in enumerate(_run_together(subject, expert, requests), 1):
        rounds[f"asked by {THREADS} threads at once (the {thread}. of them)"] = found
    for how, found in rounds.items():
        for request, first, second in zip(requests, results, found, strict=True):
            subject.at(_words(request)).need(
                _same(first, second, tolerance), f"its result is another one when {how}: {short(first)}, then {short(second)}",
                expected="equal results for equal requests", remedy=f"{BATCH} Where arithmetic depends on the batch, pass `tolerance=`.",
            )  # fmt: skip


def _run(subject: Subject, expert: Expert, requests: Sequence[Request]) -> list[Any]:
    """Ask in the batches that an expert may count on, and let nothing fail."""
    found: dict[int, Any] = {}
    for batch in cut_batches(expert, requests):
        asked = [requests[i] for i in batch]
        with subject.running(f"`run` of {len(asked)} requests, the first {_words(asked[0])},", remedy="Answer every picture and prompt; nothing found is an answer too."):  # fmt: skip
            results = expert.run(asked)
        subject.need(
            isinstance(results, (list, tuple)) and len(results) == len(asked), f"`run` gives {short(results)} for {len(asked)} requests",
            expected="a list with one result each", remedy="Keep the order of the requests.",
        )  # fmt: skip
        found |= zip(batch, results, strict=True)
    return [found[i] for i in range(len(requests))]


def _check_options(
    spec: str, experts: Sequence[Expert], pictures: Sequence[Image], phrases: Sequence[str], tolerance: float
) -> None:
    """Check that an expert whose options change what it answers does not call itself as without them."""
    name, options = split_options(spec)
    if not options:
        return
    try:
        plain = _resolve(name)
    except Exception:  # it needs an option: there is none of this name without
        return
    for one in experts:
        other = next((e for e in plain if e.identity == one.identity and e.capabilities == one.capabilities), None)
        if other is None:
            continue
        subject = Subject(f"Expert {one.name!r}")
        for capability in sorted(one.capabilities):
            requests = _requests(capability, pictures, phrases)
            both = zip(requests, _run(subject, one, requests), _run(subject, other, requests), strict=True)
            for request, first, second in both:
                subject.at(_words(request)).need(
                    _same(first, second, tolerance), f"its `identity` is {one.identity} with the options {spec!r} and without, and its results differ",
                    expected="another identity for other results", remedy="Put the options that change results into `version` or `weights_hash`: kept results are found by them.",
                )  # fmt: skip
    for other in plain:
        other.close()


def _run_together(subject: Subject, expert: Expert, requests: Sequence[Request]) -> list[list[Any]]:
    """Ask all requests in each of several threads, each beginning elsewhere; return what each was given, in the requests' order."""
    starts = [k * len(requests) // THREADS for k in range(THREADS)]
    turned = [[*requests[start:], *requests[:start]] for start in starts]
    with ThreadPoolExecutor(THREADS) as pool:
        given = list(pool.map(lambda mine: _run(subject, expert, mine), turned))
    ends = [len(requests) - start for start in starts]
    return [found[end:] + found[:end] for end, found in zip(ends, given, strict=True)]


def _run_in_set(subject: Subject, expert: Expert, requests: Sequence[Request]) -> list[Any]:
    """Ask as episodes do, in batches of one picture size and of no more pixels than the expert takes."""
    results = run_isolated(expert, requests)
    for request, result in zip(requests, results, strict=True):
        subject.at(_words(request)).need(
            not isinstance(result, ExpertError),
            f"an expert set gets {short(result)}",
            expected="a result",
            remedy=BATCH,
        )
    return results


def _check_extremes(subject: Subject, expert: Expert, capability: Capability, phrases: Sequence[str]) -> None:
    pictures = [draw_scene(size)[0] for size in EXTREME_WH] + [
        Image(np.full((40, 60, 3), grey, np.uint8)) for grey in (0, 128, 255)
    ]
    for request in _requests(capability, pictures, phrases[:1]):
        where = subject.at(_words(request))
        try:
            with where.running(
                "it", remedy="Answer, or raise ExpertError for what it cannot answer.", allowed=(ExpertError,)
            ):
                (result,) = expert.run([request])
            if isinstance(result, ExpertError):
                raise result
        except ExpertError as refusal:
            where.need(str(refusal).strip(), "ExpertError has no message", expected="the reason", remedy="Say why.")
            continue
        problem = _find_more(request, result)
        where.need(
            problem is None,
            f"it gives {problem}",
            expected="a result that fits the request, or ExpertError",
            remedy=FORM,
        )


def _find_more(request: Request, result: Any) -> str | None:
    """Say what is wrong with a result, also what an expert set lets pass."""
    if isinstance(result, ExpertError):
        return f"a refusal: {result}"
    problem = find_problem(request, result)
    if problem is None and isinstance(result, (Detections, TextLines)):
        boxes = result.boxes_xyxy
        flat = (boxes[:, 2:] <= boxes[:, :2]).any(1)
        return f"boxes without area, such as {boxes[flat][0].tolist()}" if flat.any() else None
    return problem


def _same(first: Any, second: Any, tolerance: float) -> bool:
    match first, second:
        case Mask(), Mask():
            whole = max(first.area_px, second.area_px)
            near = not whole or (
                first.size_hw == second.size_hw and float(mask_iou_matrix([first], [second])[0, 0]) >= 1 - tolerance
            )
            return first == second or (tolerance > 0 and near)
        case np.ndarray(), np.ndarray():
            return first.shape == second.shape and bool(np.allclose(first, second, rtol=0, atol=tolerance))
        case float(), float():
            return math.isclose(first, second, rel_tol=0, abs_tol=tolerance)
        case tuple(), tuple():
            return len(first) == len(second) and all(_same(a, b, tolerance) for a, b in zip(first, second, strict=True))
        case Image(), Image():
            apart = (
                np.abs(first.pixels.astype(np.int16) - second.pixels)
                if first.size_wh == second.size_wh
                else np.array([999])
            )
            return float(apart.max()) <= 255 * tolerance
    fields = getattr(type(first), "__dataclass_fields__", None)
    if fields and type(first) is type(second):
        return all(_same(getattr(first, f), getattr(second, f), tolerance) for f in fields)
    return bool(first == second)


def _words(request: Request) -> str:
    width, height = request.image.size_wh
    more = {k: getattr(request, k) for k in ("phrase", "scale", "box_xyxy", "points_xy") if getattr(request, k, None)}
    return f"request {request.capability} {short(more, 120)} on {width} x {height} px"
