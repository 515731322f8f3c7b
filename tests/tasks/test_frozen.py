"""The world stays as it is: hashes of pixels, target and wording of samples from every family, level and split.

A change that breaks this test changes the benchmark: bump ``EmojiTask.version`` (or decide that the change is a
mistake), then write the hashes anew and commit them:

    python tests/tasks/test_frozen.py --write
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
from visenv.tasks.emojiworld import EmojiCount, EmojiDense, EmojiMulti, EmojiReason, EmojiRef
from visenv.tasks.emojiworld.world import SPLITS, EmojiTask

FROZEN = Path(__file__).with_name("frozen.json")
FAMILIES: tuple[type[EmojiTask], ...] = (EmojiReason, EmojiRef, EmojiDense, EmojiCount, EmojiMulti)
INDICES = (0, 3, 41)


def fingerprints(family: type[EmojiTask], level: int) -> dict[str, str]:
    """Return a short hash of each frozen sample."""
    task, out = family(), {}
    for split in SPLITS:
        for index in INDICES[:1] if family is EmojiDense else INDICES:
            sample = task.sample(split, level, index)
            parts = [*(image.hash for image in sample.images), sample.target.fingerprint, sample.instruction]
            out[sample.id] = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
    return out


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_frozen(family: type[EmojiTask], level: int) -> None:
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    prefix = (family.name, str(level))
    wanted = {k: v for k, v in frozen["samples"].items() if (k.split("/")[0], k.split("/")[2]) == prefix}
    assert frozen["version"] == family.version
    assert fingerprints(family, level) == wanted


def write() -> None:
    """Write the hashes of the world as it is now."""
    samples = {k: v for f in FAMILIES for level in f.levels for k, v in fingerprints(f, level).items()}
    content = {"version": EmojiTask.version, "samples": samples}
    FROZEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write()
