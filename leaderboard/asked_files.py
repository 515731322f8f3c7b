"""What is left on the disk of a question that a person asked: pictures, masks, COCO's JSON, and the page of the episode."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from visenv.answers import AnswerKind
from visenv.asked import Asked
from visenv.errors import BadValueError, bad_value
from visenv.masks import Mask

from .recording import hidden
from .rundir import StorageError, storing, write_bytes, write_json
from .site.asked import write_asked_page

__all__ = ["claim_folder", "save_answer"]

ANSWER, OVERLAY, UNION, PAGE = "answer.json", "overlay.png", "mask.png", "index.html"
MOST_FOLDERS = 10_000


def save_answer(asked: Asked, out: str | Path) -> dict[str, Path]:
    """Write what came of a question into a folder, which must be new or empty: nothing is ever overwritten.

    - ``answer.json``: COCO's form with run-length masks. Nothing is written, nor the files below, where nothing was answered.
    - ``overlay.png``: the first picture in its own size with the submitted objects; not for a choice.
    - ``mask.png``: the pixels of all submitted masks, 255 on 0; black where the answer is "no such object". ``mask_1.png`` and
      so on: each object's, numbered as in ``answer.json``.
    - ``index.html``: the replay of the episode, whatever came of it.

    Args:
        asked: What :func:`visenv.ask` returned.
        out: The folder.

    Returns:
        Every file but those that belong to the page, by name.

    Raises:
        BadValueError: ``out`` is a file, or holds something.
        StorageError: Something cannot be written.
    """
    folder = claim_folder(out)
    paths: dict[str, Path] = {}

    def write(name: str, content: bytes) -> None:
        write_bytes(folder / name, content)
        paths[name] = folder / name

    if asked.answer is not None:
        write_json(folder / ANSWER, hidden(asked.to_coco(), asked.secrets))
        paths[ANSWER] = folder / ANSWER
        if asked.kind is not AnswerKind.CHOICE:
            write(OVERLAY, asked.overlay().to_png())
        if asked.mask is not None:
            write(UNION, _mask_png(asked.mask))
            for found in asked.objects:
                if found.mask is not None:
                    write(f"mask_{found.id}.png", _mask_png(found.mask))
    with storing(folder / PAGE):
        paths[PAGE] = write_asked_page(asked, folder)
    return paths


def claim_folder(out: str | Path | None, *, default: str = "visenv-ask") -> Path:
    """Make a folder, or take an empty one.

    Args:
        out: Where; ``None`` takes ``default`` in the working directory, or the first of ``default-2``, ``default-3`` … that is free.
        default: Used where ``out`` is ``None``.

    Raises:
        BadValueError: It is a file, or holds something.
        StorageError: It cannot be made.
    """
    if out is None:
        for number in itertools.chain([""], map("-{}".format, range(2, MOST_FOLDERS))):
            free = Path(f"{default}{number}")
            try:
                with storing(free):
                    free.mkdir()
            except StorageError as error:
                if isinstance(error.__cause__, FileExistsError):
                    continue
                raise
            return free
        raise bad_value("out", default, expected="fewer folders of that name", remedy="Name another with --out.")
    folder = Path(out)
    expected, remedy = "a new or empty folder", "Name another; nothing was overwritten."
    with storing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            empty = next(folder.iterdir(), None) is None
        except (FileExistsError, NotADirectoryError):
            raise bad_value("out", str(out), expected=f"{expected}; it is a file", remedy=remedy) from None
        except ValueError as error:  # a zero byte
            raise BadValueError(f"`out` is {str(out)!r}. Expected {expected} ({error}). {remedy}") from None
    if not empty:
        raise bad_value("out", str(out), expected=f"{expected}; it holds files", remedy=remedy)
    return folder


def _mask_png(mask: Mask) -> bytes:
    canvas = np.zeros(mask.size_hw, np.uint8)
    x1, y1, x2, y2 = mask.box_xyxy
    canvas[y1:y2, x1:x2] = mask.crop_hw * np.uint8(255)
    buffer = io.BytesIO()
    PilImage.fromarray(canvas).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
