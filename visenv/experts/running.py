"""Running one expert on any mixture of requests: in batches that fit, each failure kept with the request it is of."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence

from ..errors import ExpertError, TemporaryExpertError, say, stops_the_process
from ._check import find_problem
from ._protocol import Expert, Request, Result, UpscaleRequest

__all__ = ["num_pixels", "ran_out_of_memory", "run_isolated"]

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


def run_isolated(expert: Expert, requests: Sequence[Request]) -> list[Result | ExpertError]:
    """Answer requests in order; one that cannot be answered gives its error in place.

    Requests go out in batches of one capability and one picture size (unless the expert takes ``mixed_sizes``), of at most
    ``batch_pixels``; those over one picture stand together. A batch that runs out of memory or fails is halved until what
    fails stands alone. Results that do not fit their request are errors. A batch of n requests costs at most 2 n - 1 calls of ``run``,
    and one more for the batch and for each single request where the expert could give back memory. After a batch that ran out of
    memory the expert's ``batch_pixels`` are lowered.

    Args:
        expert: Who answers.
        requests: Of any capabilities and sizes.
    """
    answers: list[Result | ExpertError | None] = [None] * len(requests)
    for batch in _batches(expert, requests):
        for place, answer in zip(batch, _run(expert, [requests[i] for i in batch]), strict=True):
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


def _batches(expert: Expert, requests: Sequence[Request]) -> Iterator[list[int]]:
    """Give the batches as places in ``requests``."""
    groups: dict[object, dict[str, list[int]]] = {}
    for place, request in enumerate(requests):
        size = None if expert.mixed_sizes else request.image.size_wh
        by_picture = groups.setdefault((request.capability, size), {})
        by_picture.setdefault(request.image.hash, []).append(place)
    for by_picture in groups.values():
        batch: list[int] = []
        pixels = 0
        for place in (place for places in by_picture.values() for place in places):
            cost = num_pixels(requests[place])
            if batch and pixels + cost > expert.batch_pixels:
                yield batch
                batch, pixels = [], 0
            batch.append(place)
            pixels += cost
        yield batch


def _run(expert: Expert, requests: list[Request], *, may_trim: bool = True) -> list[Result | ExpertError]:
    try:
        results = expert.run(requests)
        if len(results) != len(requests):
            raise ExpertError(f"{expert.identity} gave {len(results)} results for {len(requests)} requests.")
        return [_checked(expert, request, result) for request, result in zip(requests, results, strict=True)]
    except TemporaryExpertError as error:  # of no single request: to ask again one by one would be to wait as often
        return [error for _ in requests]
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
        return [failure]
    if full:
        with contextlib.suppress(AttributeError):  # of an expert that lets nothing be set
            expert.batch_pixels = sum(map(num_pixels, requests)) // 2
    half = len(requests) // 2
    parts = requests[:half], requests[half:]
    return [answer for part in parts for answer in _run(expert, part, may_trim=len(part) == 1)]


def _checked(expert: Expert, request: Request, result: Result) -> Result | ExpertError:
    problem = find_problem(request, result)
    return ExpertError(f"{expert.identity} gave {problem}.") if problem else result


def _worded(expert: Expert, error: BaseException) -> ExpertError:
    if isinstance(error, ExpertError):
        return error
    wrapped = ExpertError(f"{expert.identity} failed: {say(error)}")
    wrapped.__cause__ = error
    return wrapped
