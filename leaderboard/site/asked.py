"""The page of one question that a person asked an agent: the replay, without a truth, a score or a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import visenv
from visenv.asked import Asked
from visenv.images import Image
from visenv.redaction import redact

from ..job import Job
from ..recording import record_episode
from ..records import EpisodeRecord
from .build import write_page
from .episodes import episode_data
from .folder import FORMAT, SiteFolder
from .pictures import picture_file, to_jpeg
from .samples import Known, question_data
from .shards import shard

__all__ = ["write_asked_page"]

LABEL = "ask"
NUMBERS = "the answer is in answer.json"


def write_asked_page(asked: Asked, out: Path) -> Path:
    """Write ``index.html`` with all it needs into a folder that is there, and return its path."""
    folder = SiteFolder(out)
    sample = asked.episode.sample
    pictures = _Pictures()
    record = _record(asked, pictures)
    pictures.write(record, folder)
    question, script = shard(question_data(sample))
    folder.put(f"data/{question}.js", script)
    known = Known(
        id=sample.id, fingerprint="", file=question, text=sample.instruction,
        sizes_wh={image.hash: image.size_wh for image in sample.images},
    )  # fmt: skip
    data = episode_data(folder, record, known, run=out, memory=asked.settings["memory"]) | {"same_truth": True}
    episode, script = shard(data)
    folder.put(f"data/{episode}.js", script)
    listed, script = shard(_list(record, question, episode))
    folder.put(f"data/{listed}.js", script)
    index, script = shard(_index(asked, record, listed))
    folder.put(f"data/{index}.js", script)
    write_page(folder, index, title="visenv ask", numbers=NUMBERS)
    folder.sweep()
    return out / "index.html"


class _Pictures:
    """Says of pictures that they are stored, and puts those into a site's folder that may be needed."""

    def __init__(self) -> None:
        self._images: dict[str, Image] = {}

    def put(self, image: Image) -> str:
        self._images[image.hash] = image
        return f"{image.hash}.png"

    def link(self, image: Image, file: Path) -> str:
        return self.put(image)

    def write(self, record: EpisodeRecord, folder: SiteFolder) -> None:
        for image in record.images.values():
            if image.objects is None:  # else the page draws it anew
                folder.put(picture_file(image.hash), to_jpeg(self._images[image.hash]), keep=False)


def _record(asked: Asked, pictures: _Pictures) -> EpisodeRecord:
    sample = asked.episode.sample
    job = Job(
        agent=asked.agent, task=sample.task, split=sample.split, level=sample.level, index=sample.index, keep=True
    )
    return record_episode(
        asked.episode, job, None, seed=asked.seed, failure=asked.failure, seconds=asked.seconds,
        images=pictures, secrets=asked.secrets, costs=asked.costs,
    )  # fmt: skip


def _list(record: EpisodeRecord, question: str, episode: str) -> dict[str, Any]:
    """Return the list of episodes, of which there is one."""
    row = [0, 0, None, 0, record.costs.turns, int(record.failed), episode]
    return {
        "players": [[0, record.agent]], "reasons": [record.reason], "rows": [row],
        "samples": [{"id": record.sample_id, "text": None, "file": question, "why": None, "index": record.index}],
    }  # fmt: skip


def _index(asked: Asked, record: EpisodeRecord, listed: str) -> dict[str, Any]:
    settings = [(name, redact(text, asked.secrets)) for name, text in asked.settings.items()]
    settings.append(("visenv", visenv.__version__))
    block = {"task": record.task, "version": "", "split": record.split, "level": record.level, "list": listed}
    return {
        "format": FORMAT, "runs": [{"label": LABEL}], "blocks": [block], "overall": [],
        "asked": {
            "settings": settings,
            "episode": {"run": LABEL, "index": record.index, "agent": record.agent, "turn": "end", "other": None},
        },
    }  # fmt: skip
