"""Requests and results of experts as plain data for the wire, and read back strictly: whatever is not exactly of the form is refused."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...answers import Box
from ...errors import BadValueError, short
from ...images import MAX_PX, Image, decode_image
from ...masks import Mask, read_masks
from .._protocol import (
    Capability,
    DescribeRequest,
    Description,
    Detections,
    DetectRequest,
    PointRequest,
    Points,
    ReadRequest,
    Request,
    Result,
    Segmentation,
    SegmentRequest,
    TextLines,
    Upscaled,
    UpscaleRequest,
)
from .frames import WireError

__all__ = [
    "Blobs", "Form", "FormError", "Hash", "ImageForm", "check_image", "enlarged_bytes", "image_from_blob", "image_to_blob", "make_room", "pixel_bytes", "printable", "read_form",
    "request_from_form", "request_to_form", "result_from_form", "result_to_form",
]  # fmt: skip

MAX_PHRASE = 4096
"""Characters of a phrase."""
MAX_CLICKS = 1024
MAX_SCALE = 16
MAX_LABEL = 4096
"""Characters of a label or a line of text."""
DECODING = threading.Lock()
"""A decoder holds several times the pixels while it runs, so one runs at a time."""

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Number = int | Finite
"""Whole numbers stay whole, so that what an expert computes from them is the same as in one process."""
Side = Annotated[int, Field(ge=1, le=MAX_PX)]
Pair = Annotated[list[Side], Field(min_length=2, max_length=2)]
F = TypeVar("F", bound="Form")


class FormError(WireError):
    """Well-formed msgpack that says something else than was expected."""


class Form(BaseModel):
    """Plain data with exactly these keys, and values of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ImageForm(Form):
    """A picture whose bytes are one blob behind the map."""

    hash: Hash
    size_hw: Pair
    encoding: Literal["raw", "png"]
    """``raw`` is ``uint8 (H, W, 3)``, row by row."""
    num_bytes: Annotated[int, Field(ge=1, le=3 * MAX_PX)]


class MaskForm(Form):
    """COCO compressed run lengths."""

    size: Pair
    counts: bytes


class ArrayForm(Form):
    """A numpy array, row by row, little-endian."""

    dtype: Literal["<f4", "<f8", "<i4", "<i8"]
    shape: Annotated[list[Annotated[int, Field(ge=0, le=2**20)]], Field(min_length=1, max_length=2)]
    data: bytes


class PhraseForm(Form):
    """To detect or to point."""

    image: Hash
    phrase: Annotated[str, Field(max_length=MAX_PHRASE)]


class SegmentForm(Form):
    """To segment."""

    image: Hash
    box_xyxy: Annotated[list[Number], Field(min_length=4, max_length=4)] | None
    points_xy: Annotated[list[Annotated[list[Number], Field(min_length=2, max_length=2)]], Field(max_length=MAX_CLICKS)]
    points_positive: Annotated[list[bool], Field(max_length=MAX_CLICKS)]
    previous: MaskForm | None
    prefer: Literal["score", "area"]


class UpscaleForm(Form):
    """To enlarge."""

    image: Hash
    scale: Annotated[int, Field(ge=1, le=MAX_SCALE)]


class ReadForm(Form):
    """To read text."""

    image: Hash


class DescribeForm(Form):
    """To describe."""

    image: Hash
    question: Annotated[str, Field(max_length=MAX_PHRASE)]


class DetectionsForm(Form):
    """Boxes."""

    boxes_xyxy: ArrayForm
    scores: ArrayForm
    labels: list[Annotated[str, Field(max_length=MAX_LABEL)]]
    masks: list[MaskForm] | None


class SegmentationForm(Form):
    """One mask."""

    mask: MaskForm
    score: Finite


class PointsForm(Form):
    """Points."""

    points_xy: ArrayForm
    scores: ArrayForm


class UpscaledForm(Form):
    """A picture."""

    image: ImageForm


class LinesForm(Form):
    """Lines of text."""

    lines: list[Annotated[str, Field(max_length=MAX_LABEL)]]
    boxes_xyxy: ArrayForm


class DescriptionForm(Form):
    """Words."""

    text: Annotated[str, Field(max_length=MAX_LABEL)]


class Blobs:
    """The bytes behind the map of a body, taken one picture after the other."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._place = 0

    def take(self, form: ImageForm) -> memoryview:
        """Return the bytes of the next picture.

        Raises:
            FormError: There are fewer left.
        """
        end = self._place + form.num_bytes
        if end > self._data.nbytes:
            raise FormError("the bytes of a picture are cut off")
        blob = self._data[self._place : end]
        self._place = end
        return blob

    def check_end(self) -> None:
        """Refuse bytes that belong to nothing.

        Raises:
            FormError: There are some.
        """
        if self._place != self._data.nbytes:
            raise FormError(f"{self._data.nbytes - self._place} bytes behind the last picture")


class _Asked(NamedTuple):
    """The forms of one capability."""

    request: type[Form]
    result: type[Form]


FORMS: dict[Capability, _Asked] = {
    "detect": _Asked(PhraseForm, DetectionsForm),
    "point": _Asked(PhraseForm, PointsForm),
    "segment": _Asked(SegmentForm, SegmentationForm),
    "upscale": _Asked(UpscaleForm, UpscaledForm),
    "read": _Asked(ReadForm, LinesForm),
    "describe": _Asked(DescribeForm, DescriptionForm),
}


def read_form(kind: type[F], data: object, where: str) -> F:
    """Read plain data as a form.

    Raises:
        FormError: A key is missing, unknown or of another type; the message names it and repeats no value.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, (where, *first["loc"])))
        raise FormError(f"{place[:200]}: {first['msg'][:200]}") from None


def request_to_form(request: Request) -> dict[str, Any]:
    """Return a request as plain data, its picture by hash."""
    form: dict[str, Any] = {"image": request.image.hash}
    match request:
        case DetectRequest(phrase=phrase) | PointRequest(phrase=phrase):
            form["phrase"] = phrase
        case SegmentRequest():
            form["box_xyxy"] = None if request.box_xyxy is None else [_number(v) for v in request.box_xyxy]
            form["points_xy"] = [[_number(x), _number(y)] for x, y in request.points_xy]
            form["points_positive"] = [bool(v) for v in request.points_positive]
            form["previous"] = None if request.previous is None else _mask_to_form(request.previous)
            form["prefer"] = request.prefer
        case UpscaleRequest(scale=scale):
            form["scale"] = int(scale)
        case DescribeRequest(question=question):
            form["question"] = question
    return form


def request_from_form(capability: Capability, data: object, images: Mapping[str, Image], where: str) -> Request:
    """Read a request.

    Args:
        capability: What is asked for.
        data: Plain data.
        images: By hash, those that the body names.
        where: What to call it in a message.

    Raises:
        FormError: It is none, or its picture is not among ``images``.
    """
    form: Any = read_form(FORMS[capability].request, data, where)
    if form.image not in images:
        raise FormError(f"{where}.image: not among the images that the body names")
    image = images[form.image]
    match form:
        case PhraseForm(phrase=phrase):
            kind = DetectRequest if capability == "detect" else PointRequest
            return kind(image=image, phrase=phrase)
        case SegmentForm():
            return _segment_request(form, image, where)
        case UpscaleForm(scale=scale):
            if image.size_wh[0] * image.size_wh[1] * scale**2 > MAX_PX:
                raise FormError(f"{where}.scale: more than {MAX_PX} pixels")
            return UpscaleRequest(image=image, scale=scale)
        case DescribeForm(question=question):
            return DescribeRequest(image=image, question=question)
    return ReadRequest(image=image)


def result_to_form(result: Result, blobs: list[memoryview]) -> dict[str, Any]:
    """Return a result as plain data; pixels are appended to ``blobs``."""
    match result:
        case Detections(masks=masks):
            return {
                "boxes_xyxy": _array_to_form(result.boxes_xyxy), "scores": _array_to_form(result.scores),
                "labels": _texts(result.labels),
                "masks": None if masks is None else [_mask_to_form(m) for m in masks],
            }  # fmt: skip
        case Segmentation(mask=mask, score=score):
            return {"mask": _mask_to_form(mask), "score": float(score)}
        case Points(points_xy=points, scores=scores):
            return {"points_xy": _array_to_form(points), "scores": _array_to_form(scores)}
        case Upscaled(image=image):
            form, blob = image_to_blob(image)
            blobs.append(blob)
            return {"image": form}
        case TextLines(lines=lines, boxes_xyxy=boxes):
            return {"lines": _texts(lines), "boxes_xyxy": _array_to_form(boxes)}
        case Description(text=text):
            return {"text": _texts([text])[0]}


def result_from_form(capability: Capability, data: object, blobs: Blobs, where: str) -> Result:
    """Read a result.

    Args:
        capability: What was asked for.
        data: Plain data.
        blobs: Where the pixels are.
        where: What to call it in a message.

    Raises:
        FormError: It is none.
    """
    form: Any = read_form(FORMS[capability].result, data, where)
    match form:
        case DetectionsForm(boxes_xyxy=boxes, scores=scores, labels=labels, masks=masks):
            return Detections(
                boxes_xyxy=_array(boxes, where), scores=_array(scores, where), labels=tuple(labels),
                masks=None if masks is None else tuple(_masks(masks, where)),
            )  # fmt: skip
        case SegmentationForm(mask=mask, score=score):
            return Segmentation(mask=_masks([mask], where)[0], score=score)
        case PointsForm(points_xy=points, scores=scores):
            return Points(points_xy=_array(points, where), scores=_array(scores, where))
        case UpscaledForm(image=image):
            return Upscaled(image=image_from_blob(image, blobs.take(image), where))
        case DescriptionForm(text=text):
            return Description(text=text)
    return TextLines(lines=tuple(form.lines), boxes_xyxy=_array(form.boxes_xyxy, where))


def image_to_blob(image: Image, *, as_png: bool = False) -> tuple[dict[str, Any], memoryview]:
    """Return a picture's form and its bytes; raw ones are those of the picture, not copied."""
    blob = memoryview(image.to_png()) if as_png else image.pixels.data.cast("B")
    width, height = image.size_wh
    encoding = "png" if as_png else "raw"
    return {"hash": image.hash, "size_hw": [height, width], "encoding": encoding, "num_bytes": blob.nbytes}, blob


def pixel_bytes(size_hw: Sequence[int]) -> int:
    """Return how many bytes a picture's pixels are."""
    return 3 * size_hw[0] * size_hw[1]


def enlarged_bytes(request: Request) -> int:
    """Return how many bytes of pixels the answer to a request will be."""
    return request.image.pixels.nbytes * request.scale**2 if isinstance(request, UpscaleRequest) else 0


def make_room(form: ImageForm, where: str) -> npt.NDArray[np.uint8]:
    """Return an array of as many bytes as a picture's blob has; a raw picture's pixels once it is filled.

    Raises:
        FormError: The picture is too large, or its blob is not as long as its pixels.
    """
    height, width = form.size_hw
    if height * width > MAX_PX:
        raise FormError(f"{where}: more than {MAX_PX} pixels")
    if form.encoding == "png":
        return np.empty(form.num_bytes, np.uint8)
    if form.num_bytes != pixel_bytes(form.size_hw):
        raise FormError(f"{where}: {form.num_bytes} bytes for {width} x {height} pixels")
    return np.empty((height, width, 3), np.uint8)


def image_from_blob(form: ImageForm, blob: memoryview, where: str) -> Image:
    """Read a picture; what is in ``blob`` is copied.

    Raises:
        FormError: It has not the size or the hash it is sent under, or it is no picture.
    """
    if form.encoding == "png":
        width, height = form.size_hw[::-1]
        return check_image(form, _decode_png(bytes(blob), (width, height), where), where)
    room = make_room(form, where)
    room.data.cast("B")[:] = blob
    return check_image(form, Image(room), where)


def check_image(form: ImageForm, image: Image, where: str) -> Image:
    """Return a picture that has the size and the hash it is sent under.

    Raises:
        FormError: It has not.
    """
    if image.size_wh[::-1] != tuple(form.size_hw) or image.hash != form.hash:
        raise FormError(f"{where}: the pixels are not those of the hash")
    return image


def _decode_png(data: bytes, size_wh: tuple[int, int], where: str) -> Image:
    try:
        with PilImage.open(io.BytesIO(data), formats=("PNG",)) as file:
            if file.size != size_wh:  # known before a pixel is decoded; decoding costs what the form announced
                raise FormError(f"{where}: a PNG of another size than announced")
        with DECODING:
            return decode_image(data, where=where, formats=("PNG",))
    except FormError:
        raise
    except Exception:  # the boundary to the decoder, which raises nearly anything on damaged bytes
        raise FormError(f"{where}: no readable PNG of this size") from None


def _segment_request(form: SegmentForm, image: Image, where: str) -> SegmentRequest:
    if len(form.points_positive) != len(form.points_xy):
        raise FormError(f"{where}.points_positive: {len(form.points_positive)} for {len(form.points_xy)} points")
    previous = None
    if form.previous is not None:
        (previous,) = _masks([form.previous], f"{where}.previous")
        if previous.size_hw != image.size_wh[::-1]:
            raise FormError(f"{where}.previous: not of the image's size")
    box: Box | None = None if form.box_xyxy is None else tuple(form.box_xyxy)  # type: ignore[assignment]
    return SegmentRequest(
        image=image, box_xyxy=box, points_xy=tuple((x, y) for x, y in form.points_xy),
        points_positive=tuple(form.points_positive), previous=previous, prefer=form.prefer,
    )  # fmt: skip


def printable(text: str, limit: int) -> str:
    """Return a text that can be sent, cut to ``limit`` characters."""
    return text[:limit].encode("utf-8", "replace").decode()


def _texts(lines: Sequence[str]) -> list[str]:
    for line in lines:
        if len(line) > MAX_LABEL or printable(line, MAX_LABEL) != line:
            raise FormError(f"a text that is not sent: {short(line)}")
    return list(lines)


def _number(value: Any) -> int | float:
    """Return a number as Python's own: whole ones of numpy stay whole."""
    return int(value) if isinstance(value, (int, np.integer)) else float(value)


def _mask_to_form(mask: Mask) -> dict[str, Any]:
    return {"size": list(mask.size_hw), "counts": mask.counts}


def _masks(forms: Sequence[MaskForm], where: str) -> list[Mask]:
    try:
        return read_masks([{"size": form.size, "counts": form.counts} for form in forms])
    except BadValueError:
        raise FormError(f"{where}: a mask whose runs do not fill its size") from None


def _array_to_form(array: npt.ArrayLike) -> dict[str, Any]:
    array = np.asarray(array)
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    if little.dtype.str not in ("<f4", "<f8", "<i4", "<i8"):
        raise FormError(f"an array of {little.dtype.name}, which is not sent")
    return {"dtype": little.dtype.str, "shape": list(array.shape), "data": little.tobytes()}


def _array(form: ArrayForm, where: str) -> npt.NDArray[Any]:
    dtype = np.dtype(form.dtype)
    if int(np.prod(form.shape)) * dtype.itemsize != len(form.data):
        raise FormError(f"{where}: an array of shape {form.shape} in {len(form.data)} bytes")
    made = np.frombuffer(form.data, dtype).reshape(form.shape)
    return made.astype(dtype.newbyteorder("=")) if sys.byteorder == "big" else made.copy()
