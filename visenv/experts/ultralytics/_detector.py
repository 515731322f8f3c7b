"""YOLO as a detector: of the classes that it knows, or with YOLO-World and YOLOE of whatever a phrase names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ...errors import bad_value
from ...images import Image
from .._once import WarnOnce
from .._protocol import Capability, Detections, DetectRequest, Expert, PointRequest, Points, Request, Result
from .._torch import try_device
from ..embeddings import EmbeddingCache
from ._network import Found, Network, takes_texts
from ._vocabulary import Vocabulary

__all__ = ["YoloDetector"]

KEPT_BYTES = 2**26
KEPT_TEXTS = 1024
RULES = 2
"""Version of how phrases are matched with classes, ``data/synonyms.json`` included: change it with them."""


class YoloDetector(Expert):
    """Finds what a phrase names and points at its centres.

    With a closed vocabulary one pass over a picture answers any number of phrases. A phrase that names none of its classes finds
    nothing, and a warning in the log says so once; :meth:`health` lists the classes.
    """

    name = "ultralytics"
    capabilities: frozenset[Capability] = frozenset({"detect", "point"})

    def __init__(self, network: Network, *, vocabulary: str = "auto") -> None:
        """Take over a network.

        Args:
            network: What finds.
            vocabulary: ``closed``, ``open`` or ``auto``.

        Raises:
            BadValueError: The model takes no phrases, or its text encoder is not there.
        """
        self.network = network
        can_open = takes_texts(network.model) and not hasattr(network.model.model[-1], "lrpc")  # prompt-free
        if vocabulary == "open" and not can_open:
            raise bad_value("vocabulary", vocabulary, expected="closed: this model knows its own classes only")
        self.is_open = can_open if vocabulary == "auto" else vocabulary == "open"
        self.version = f"{network.version}/{'open' if self.is_open else f'closed{RULES}'}"
        self.weights_hash = network.hash
        self.vocabulary = Vocabulary(network.names)
        self._found: EmbeddingCache[Found] = EmbeddingCache(limit_bytes=KEPT_BYTES)
        self._embed_text = lru_cache(maxsize=KEPT_TEXTS)(
            lambda phrase: network.model.get_text_pe([phrase], cache_clip_model=True)
        )
        self._warn = WarnOnce(__name__)
        if self.is_open:
            self._check_encoder()

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Detect or point, in order."""
        asked: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            assert isinstance(request, DetectRequest | PointRequest)
            phrase = " ".join(request.phrase.split())
            asked.setdefault(phrase, []).append(place)
        answers: dict[int, Result] = {}
        for phrase, places in asked.items():
            found = self._find([requests[place].image for place in places], phrase)
            answers |= {place: _answer(requests[place], one) for place, one in zip(places, found, strict=True)}
        return [answers[place] for place in range(len(requests))]

    def health(self) -> str:
        """Say what it finds, after computing something where the model is loaded."""
        try_device(self.network.device)
        if self.is_open:
            return "finds any phrase"
        names = list(self.network.names.values())
        return f"knows {len(names)} classes: {', '.join(names[:100])}{', …' if len(names) > 100 else ''}"

    def trim(self) -> bool:
        """Forget what was found."""
        return self._found.clear()

    def close(self) -> None:
        """Forget what was found."""
        self._found.clear()

    def _find(self, images: list[Image], phrase: str) -> list[Detections]:
        if self.is_open:
            with self.network.lock:
                self._set_phrase(phrase or "object")
                return [_named(found, (phrase or "object",)) for found in self.network.find(images)]
        wanted = self.vocabulary.match(phrase)
        if not wanted:
            self._warn(phrase, "No class of %s is named by %r: nothing is found.", self.identity, phrase)
            return [_named(None, ())] * len(images)
        return [_chosen(found, wanted, self.network.names) for found in self._found.get(images, self._find_all)]

    def _find_all(self, images: list[Image]) -> list[Found]:
        with self.network.lock:
            return self.network.find(images)

    def _set_phrase(self, phrase: str) -> None:
        """Make the model look for one phrase; others beside it would change its scores."""
        import torch

        model = self.network.model
        with torch.inference_mode():
            if hasattr(model, "txt_feats"):
                model.txt_feats = self._embed_text(phrase)
                model.model[-1].nc = 1
            else:
                model.set_classes([phrase], self._embed_text(phrase))

    def _check_encoder(self) -> None:
        try:
            with self.network.lock:
                self._set_phrase("object")
        except Exception as error:  # a package, a download or a file that is not there, each with its own exception
            why = next(iter(str(error).splitlines()), type(error).__name__)[:200]
            raise bad_value(
                "vocabulary", "open", expected=f"a text encoder, which this model needs beside its checkpoint ({why})",
                remedy="Install and fetch it as docs/experts/ultralytics.md says, or pass vocabulary=closed.",
            ) from error  # fmt: skip


def _chosen(found: Found, wanted: tuple[int, ...], names: dict[int, str]) -> Detections:
    keep = np.flatnonzero(np.isin(found.classes, wanted))
    masks = None if found.masks is None else tuple(found.masks[k] for k in keep)
    labels = tuple(names[int(k)] for k in found.classes[keep])
    return Detections(boxes_xyxy=found.boxes_xyxy[keep], scores=found.scores[keep], labels=labels, masks=masks)


def _named(found: Found | None, name: tuple[str, ...]) -> Detections:
    if found is None:
        return Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=())
    return Detections(
        boxes_xyxy=found.boxes_xyxy, scores=found.scores, labels=name * len(found.scores), masks=found.masks
    )


def _answer(request: Request, found: Detections) -> Result:
    if isinstance(request, DetectRequest):
        return found
    boxes = found.boxes_xyxy
    return Points(points_xy=(boxes[:, :2] + boxes[:, 2:]) / 2, scores=found.scores)
