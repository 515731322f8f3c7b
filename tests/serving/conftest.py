"""One real server of language models, as Transformers ships it, with models that are made on the spot."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

REASON = "needs the extra visenv[experts]: {} is not installed"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@pytest.fixture(scope="session")
def packages() -> None:
    """Skip where what the server stands on is missing."""
    for package in ("torch", "torchvision", "transformers", "accelerate", "fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason=REASON.format(package))


class Server:
    """``transformers serve`` as a process of its own, started in the folder of the models, so that their names are short."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it hears."""
        command = shutil.which("transformers", path=str(Path(sys.executable).parent))
        assert command, "Transformers comes with its command"
        words = [command, "serve", "--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu"]
        quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HOME": str(self.folder / ".home")}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                words,
                cwd=self.folder,
                env={**os.environ, **OFFLINE, **quiet},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 120
        while not self._hears():
            assert self._process.poll() is None and time.monotonic() < deadline, self.said
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def said(self) -> str:
        """The end of what it printed."""
        return (self.folder / "server.log").read_text(errors="replace")[-4000:]

    def _hears(self) -> bool:
        try:
            with urllib.request.urlopen(self.url.replace("/v1", "/health"), timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


@dataclass(frozen=True, kw_only=True)
class School:
    """The models, and what was taught."""

    folder: Path
    """``fresh`` has random weights, ``taught`` and ``native`` know the lessons; of ``native`` the server reads the calls."""
    episodes: Sequence[Sequence[Any]]
    """The transcripts in Hermes' form, 50 of them: lessons turn by turn."""
    native_episodes: Sequence[Sequence[Any]]
    """The first of them once more, with tools sent beside the messages."""
    learnt: float
    """The share of lessons that the training ended with."""
    seconds: float
    """What the training took."""


NUM_EPISODES, NUM_NATIVE = 50, 8
TAUGHT = ("EmojiRef", "train")


@pytest.fixture(scope="session")
def school(packages: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[School]:
    """Build the models and overfit one on the transcripts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        import tiny_model
        import torch
        from lessons import play_lessons

        folder = tmp_path_factory.mktemp("models")
        task, split = TAUGHT
        episodes = play_lessons(task, range(NUM_EPISODES), split=split)
        native = play_lessons(task, range(NUM_NATIVE), split=split, grammar="openai")
        lessons = [*chain(*episodes), *chain(*native)]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            tiny_model.save_tiny(folder / "fresh", lessons)
            shutil.copytree(folder / "fresh", folder / "taught")
            began = time.monotonic()
            learnt = tiny_model.overfit(folder / "taught", lessons, limit_s=60.0)
            seconds = time.monotonic() - began
        finally:
            torch.set_num_threads(threads)
        tiny_model.save_tiny(folder / "native", lessons, response_template=None)
        shutil.copy(folder / "taught" / "model.safetensors", folder / "native")
        yield School(folder=folder, episodes=episodes, native_episodes=native, learnt=learnt, seconds=seconds)


@pytest.fixture(scope="session")
def running(school: School) -> Iterator[Server]:
    """Give the server, which most tests share."""
    with contextlib.ExitStack() as stack:
        server = Server(school.folder)
        stack.callback(server.kill)
        server.start()
        yield server
