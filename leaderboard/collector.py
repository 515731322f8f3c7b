"""What garbage collection leaves out during a run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["sparing_the_collector"]


@contextmanager
def sparing_the_collector() -> Iterator[None]:
    """Leave what is there already out of garbage collection: modules are most of it, and searching them is a tenth of a run's work."""
    frozen = gc.get_freeze_count() > 0  # by somebody else, who thaws it
    if not frozen:
        gc.freeze()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
