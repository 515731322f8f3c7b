"""Running one expert on any mixture of requests: in batches that fit, each failure kept with the request it is of."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator, Sequence

from ..errors import ExpertError, TemporaryExpertError, say, stops_the_process
from ._check import find_problem
from ._protocol import Capability, Expert, Request, Result, UpscaleRequest

__all__ = ["cut_batches", "num_pixels", "ran_out_of_memory", "run_isolated"]

OUT_OF_MEMORY = frozenset({
    "torch.OutOfMemoryError",
    "torch.cuda.OutOfMemoryError",
    "cupy.cuda.memory.OutOfMemoryError",
})  # fmt: skip
"""Classes that other libraries raise for it, by name: none of them is imported for that."""
WORDED = {
    "onnxruntime": ("failed to allocate memory", "bad_alloc", "out of memory"),
    "builtins": ("defaultcpuallocator: can't allocate memory", "not enough memory: you tried to allocate"),
}
"""What libraries without a class of their own for it say, by the first name of the module that the class raised is from."""
OPENCV_NO_MEMORY = -4
"""``cv2.Error.StsNoMem``."""
LOWERED_S = 600.0
"""How long batches stay below what did not fit; what filled the memory may have been somebody else's."""


def run_isolated(expert: Expert, requests: Sequence[Request]) -> list[Result | ExpertError]:
    """Answer requests in order; one that cannot be answered gives its error in place.

    Requests go out in batches of one capability and one picture size (unless the expert takes ``mixed_sizes``), of at most
    ``batch_pixels``; those over one picture stand together. A batch that runs out of memory or fails is halved until what
    fails stands alone. What the expert itself gives as an error in place is not asked again. Results that do not fit their request
    are errors. A batch of n requests costs at most 2 n - 1 calls of ``run``, and one more for the batch and for each single request
    where the expert could give back memory. Where memory ran out for a batch and sufficed for both its halves, batches of that
    capability stay below what did not fit, for :data:`LOWERED_S`.

    Args:
        expert: Who answers.
        requests: Of any capabilities and sizes.
    """
    answers: list[Result | ExpertError | None] = [None] * len(requests)
    for batch in cut_batches(expert, requests):
        found, _ = _run(expert, [requests[i] for i in batch])
        for place, answer in zip(batch, found, strict=True):
            answers[place] = answer
    return [a for a in answers if a is not None]


def num_pixels(request: Request) -> int:
    """Return how many pixels a request costs: those of its picture, or of the enlarged one."""
    width, height = request.image.size_wh
    return width * height * (request.scale**2 if isinstance(request, UpscaleRequest) else 1)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, says that memory ran out."""
    return any(isinstance(one, MemoryError) or _is_known(one) for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an exception and those that it was raised from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__


def _is_known(error: BaseException) -> bool:
    kind = type(error)
    if any(f"{k.__module__}.{k.__qualname__}" in OUT_OF_MEMORY for k in kind.__mro__):
        return True
    if kind.__module__ == "cv2" and getattr(error, "code", None) == OPENCV_NO_MEMORY:
        return True
    phrases = WORDED.get(kind.__module__.partition(".")[0], ())
    return bool(phrases) and any(phrase in say(error).lower() for phrase in phrases)


def cut_batches(expert: Expert, requests: Sequence[Request]) -> Iterator[list[int]]:
    """Give the batches in which an expert is asked, as places in ``requests``."""
    groups: dict[tuple[Capability, object], dict[str, list[int]]] = {}
    for place, request in enumerate(requests):
        size = None if expert.mixed_sizes else request.image.size_wh
        by_picture = groups.setdefault((request.capability, size), {})
        by_picture.setdefault(request.image.hash, []).append(place)
    for (capability, _), by_picture in groups.items():
        batch: list[int] = []
        pixels = 0
        for place in (place for places in by_picture.values() for place in places):
            cost = num_pixels(requests[place])
            if batch and pixels + cost > _most_pixels(expert, capability):
                yield batch
                batch, pixels = [], 0
            batch.append(place)
            pixels += cost
        yield batch


def _run(expert: Expert, requests: list[Request], *, may_trim: bool = True) -> tuple[list[Result | ExpertError], bool]:
    """Answer a batch; say also whether memory sufficed for it."""
    try:
        results = expert.run(requests)
        if len(results) != len(requests):
            raise ExpertError(f"{expert.identity} gave {len(results)} results for {len(requests)} requests.")
        return [_checked(expert, request, result) for request, result in zip(requests, results, strict=True)], True
    except TemporaryExpertError as error:  # of no single request: to ask again one by one would be to wait as often
        return [error for _ in requests], True
    except BaseException as error:  # the boundary to expert code: any failure must stay with its request
        if stops_the_process(error):
            raise
        full = ran_out_of_memory(error)
        if full:
            for one in _chain(error):  # the frames of the model's code hold what filled the memory
                traceback.clear_frames(one.__traceback__)
        failure = _worded(expert, error)
    if full and may_trim and expert.trim():
        return _run(expert, requests, may_trim=False)
    if len(requests) == 1:
        return [failure], not full
    half = len(requests) // 2
    parts = [_run(expert, part, may_trim=len(part) == 1) for part in (requests[:half], requests[half:])]
    fitted = all(fits for _, fits in parts)
    if full and fitted:  # else it may be one request that does not fit, and no matter of batches
        _lower(expert, requests)
    return [answer for answers, _ in parts for answer in answers], fitted and not full


def _most_pixels(expert: Expert, capability: Capability) -> int:
    pixels, until = expert._lowered.get(capability, (expert.batch_pixels, 0.0))
    left_s = until - time.monotonic()
    return min(pixels, expert.batch_pixels) if 0 < left_s <= LOWERED_S else expert.batch_pixels


def _lower(expert: Expert, requests: Sequence[Request]) -> None:
    lowered = sum(map(num_pixels, requests)) // 2, time.monotonic() + LOWERED_S
    with contextlib.suppress(AttributeError):  # of an expert that lets nothing be set
        expert._lowered = {**expert._lowered, requests[0].capability: lowered}


def _checked(expert: Expert, request: Request, result: Result | ExpertError) -> Result | ExpertError:
    if isinstance(result, ExpertError):
        return result
    problem = find_problem(request, result)
    return ExpertError(f"{expert.identity} gave {problem}.") if problem else result


def _worded(expert: Expert, error: BaseException) -> ExpertError:
    if isinstance(error, ExpertError):
        return error
    wrapped = ExpertError(f"{expert.identity} failed: {say(error)}")
    wrapped.__cause__ = error
    return wrapped
