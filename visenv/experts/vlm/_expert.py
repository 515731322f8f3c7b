"""The expert ``vlm``: requests become questions to an endpoint, its replies become boxes, points and lines."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from ...completions import find_endpoint
from ...encoding import to_data_url
from ...errors import ExpertError, TemporaryExpertError, unknown_name
from ...images import Image
from .._options import check_count, check_number
from .._protocol import (
    DescribeRequest,
    Description,
    Detections,
    DetectRequest,
    Expert,
    PointRequest,
    Points,
    Request,
    Result,
    TextLines,
)
from ..embeddings import EmbeddingCache
from ..retrying import ask_patiently
from ._dialects import DIALECTS
from ._endpoint import Endpoint, RefusedError, Reply
from ._replies import (
    ReplyError,
    read_description,
    read_items,
    read_lines,
    read_numbers,
    read_point_tags,
    read_point_triples,
    thought_through,
)

__all__ = ["VLM"]

KEPT_URL_BYTES = 2**27
LONGEST_LABEL = 80


class VLM(Expert):
    """Finds, points, reads and describes by asking a vision-language model in words.

    A model gives no confidence: every score is 1. A reply that is not of the model's form is this expert's failure, never a finding.
    """

    name = "vlm"
    batch_pixels = 2**62  # each picture travels alone, and an endpoint that is away costs its patience once a batch
    mixed_sizes = True

    def __init__(
        self,
        model: str,
        *,
        url: str = "",
        key_env: str = "",
        style: str = "qwen3",
        timeout_s: float = 60.0,
        patience_s: float = 120.0,
        max_tokens: int = 4096,
        threads: int = 8,
        view_pixels: int = 12_845_056,
    ) -> None:
        """Connect to nothing yet.

        Args:
            model: Its name at the endpoint.
            url: Address that ends where ``/chat/completions`` begins, such as ``http://localhost:8000/v1``. By default what the
                variable ``OPENAI_BASE_URL`` holds; then the key is in ``OPENAI_API_KEY``, unless ``key_env`` says otherwise.
            key_env: Name of the environment variable that holds the key. With a ``url`` and no name none is sent.
            style: How the model writes coordinates: ``molmo`` (percent), ``molmo2`` (triples of 0 to 1000), ``qwen2.5`` (JSON, pixels
                of the resized picture) or ``qwen3`` (JSON, 0 to 1000).
            timeout_s: Longest silence of the endpoint, and longest time that one answer's body takes.
            patience_s: How long an endpoint that is busy or out of reach is asked again.
            max_tokens: Longest reply.
            threads: Most questions at a time.
            view_pixels: For ``qwen2.5``: ``max_pixels`` of the server's image processor.

        Raises:
            MissingExtraError: The package ``openai`` is not installed.
            BadValueError: An option out of range, or no address.
            UnknownNameError: No such style.
        """
        if style not in DIALECTS:
            raise unknown_name("style", style, DIALECTS, remedy=f"Use one of {', '.join(DIALECTS)}.")
        timeout_s = check_number("timeout_s", timeout_s, low=0.01, high=3600)
        self._patience_s = check_number("patience_s", patience_s, low=0, high=86400)
        self._threads = check_count("threads", threads, high=256)
        self._view_pixels = check_count("view_pixels", view_pixels, low=56 * 56, high=2**27)
        check_count("max_tokens", max_tokens)
        address, key = find_endpoint(url, key_env)
        self.dialect = DIALECTS[style]
        self.capabilities = frozenset(self.dialect.prompts)
        self.version = f"1-{style}-{'-'.join(model.split())}"
        settings: dict[str, Any] = {"prompts": dict(self.dialect.prompts), "max_tokens": max_tokens}
        if self.dialect.extent is None:
            settings["view_pixels"] = view_pixels
        self.weights_hash = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        self.endpoint = Endpoint(model, address, key, timeout_s=timeout_s, max_tokens=max_tokens)
        self._urls: EmbeddingCache[str] = EmbeddingCache(limit_bytes=KEPT_URL_BYTES, size_of=len)

    def run(self, requests: Sequence[Request]) -> list[Result | ExpertError]:
        """Answer a batch, several questions at a time, in order; what cannot be answered has its error in place.

        Once the endpoint is out of reach, or refuses whatever it is asked, no further question goes out: all that are left have
        that error.
        """
        left = deque(enumerate(requests))
        answered: SimpleQueue[tuple[int, Result | BaseException]] = SimpleQueue()
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                try:
                    place, request = left.popleft()
                except IndexError:
                    return
                try:
                    answered.put((place, self._answer(request, stop)))
                except BaseException as error:  # the boundary of the thread: whoever waits for the answer raises it
                    answered.put((place, error))

        for _ in range(min(self._threads, len(requests))):
            # Nobody waits for them at the end: an interrupt must not wait for answers that are under way.
            threading.Thread(target=work, name=self.name, daemon=True).start()
        answers: dict[int, Result | ExpertError] = {}
        try:
            while len(answers) < len(requests):
                place, answer = answered.get()
                if isinstance(answer, BaseException) and not isinstance(answer, ExpertError):
                    raise answer
                answers[place] = answer
                if isinstance(answer, TemporaryExpertError | RefusedError):
                    return [answers.get(k, answer) for k in range(len(requests))]
        finally:
            stop.set()
        return [answers[k] for k in range(len(requests))]

    def health(self) -> str:
        """Say whether the endpoint answers and lists the model."""
        models = self.endpoint.find_models()
        if self.endpoint.model not in models:
            raise ExpertError(
                f"{self.endpoint.where} lists no model {self.endpoint.model!r}, only {', '.join(models[:10]) or 'none'}."
            )
        return f"{self.endpoint.model} at {self.endpoint.where}"

    def trim(self) -> bool:
        """Forget the encoded pictures."""
        return self._urls.clear()

    def close(self) -> None:
        """Close the connections and forget the encoded pictures."""
        self.endpoint.close()
        self._urls.clear()

    def _answer(self, request: Request, stop: threading.Event) -> Result:
        prompt = self.dialect.prompts[request.capability]
        if isinstance(request, DetectRequest | PointRequest):
            prompt = prompt.replace("{phrase}", request.phrase)
        elif isinstance(request, DescribeRequest):
            prompt = prompt.replace("{phrase}", request.question)
        reply = self._ask(request.image, prompt, stop)
        try:
            return self._read(request, reply)
        except ReplyError as error:
            raise ExpertError(f"{self.name} got a reply that is {error}.") from error

    def _read(self, request: Request, reply: Reply) -> Result:
        text = thought_through(reply.text)
        if isinstance(request, DescribeRequest):
            return Description(text=read_description(text, cut=reply.cut))
        found: Detections | Points | TextLines
        if isinstance(request, DetectRequest):
            found = self._detections(request, read_items(text, cut=reply.cut))
        elif isinstance(request, PointRequest):
            found = self._points(request.image, self._read_points(text, reply.cut))
        else:
            found = self._lines(request.image, text, reply.cut)
        if reply.cut and not len(found.lines if isinstance(found, TextLines) else found.scores):
            raise ReplyError("cut off before anything was complete; allow more with max_tokens=…")
        return found

    def _ask(self, image: Image, prompt: str, stop: threading.Event) -> Reply:
        (url,) = self._urls.get([image], lambda images: [to_data_url(one) for one in images])

        def sleep(seconds: float) -> None:
            if stop.wait(seconds):
                raise ExpertError("The question was given up.")

        return ask_patiently(lambda: self.endpoint.ask(prompt, url), patience_s=self._patience_s, sleep=sleep)

    def _read_points(self, text: str, cut: bool) -> list[tuple[float, float]]:
        match self.dialect.form:
            case "tags":
                return read_point_tags(text, cut=cut)
            case "triples":
                return read_point_triples(text, cut=cut)
            case "json":
                numbers = [read_numbers(item, "point_2d", 2) for item in read_items(text, cut=cut)]
                return [(x, y) for x, y in numbers]

    def _points(self, image: Image, pairs: list[tuple[float, float]]) -> Points:
        """Return points in pixels; those outside the picture are left out."""
        extent = np.array(self.dialect.extent_wh(image.size_wh, self._view_pixels))
        found = np.array(pairs, np.float64).reshape(-1, 2)
        inside = ((found >= 0) & (found <= extent)).all(1)
        points = found[inside] / extent * np.array(image.size_wh)
        return Points(points_xy=points, scores=np.ones(len(points)))

    def _boxes(self, image: Image, items: list[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return boxes in pixels, cut off at the edges of the picture."""
        extent = np.array(self.dialect.extent_wh(image.size_wh, self._view_pixels) * 2)
        found = np.array([read_numbers(item, "bbox_2d", 4) for item in items], np.float64).reshape(-1, 4)
        return np.asarray(found.clip(0, extent) / extent * np.array(image.size_wh * 2))

    def _detections(self, request: DetectRequest, items: list[dict[str, Any]]) -> Detections:
        boxes = self._boxes(request.image, items)
        keep = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
        labels = tuple(_label(items[k].get("label"), request.phrase) for k in keep)
        return Detections(boxes_xyxy=boxes[keep], scores=np.ones(len(keep)), labels=labels)

    def _lines(self, image: Image, text: str, cut: bool) -> TextLines:
        """Return the lines; of a model that makes no boxes, each with the box of the whole picture."""
        if self.dialect.form != "json":
            lines = read_lines(text, cut=cut)
            boxes = np.tile(np.array([0.0, 0.0, *image.size_wh]), (len(lines), 1))
            return TextLines(lines=tuple(lines), boxes_xyxy=boxes)
        items = read_items(text, cut=cut)
        boxes = self._boxes(image, items)
        texts = [item.get("text_content") for item in items]
        if not all(isinstance(one, str) for one in texts):
            raise ReplyError("an object without its text_content")
        whole = [" ".join(str(one).split()) for one in texts]
        keep = [k for k, line in enumerate(whole) if line and (boxes[k, 2:] > boxes[k, :2]).all()]
        return TextLines(lines=tuple(whole[k] for k in keep), boxes_xyxy=boxes[keep])


def _label(given: Any, phrase: str) -> str:
    for text in (given, phrase):
        words = " ".join(text.split())[:LONGEST_LABEL] if isinstance(text, str) else ""
        if words:
            return words
    return "object"
