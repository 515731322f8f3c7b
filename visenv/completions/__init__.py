"""Language models behind agents: what is asked, who answers, and replies kept for another time."""

from ._address import find_endpoint
from ._make import BACKENDS, make_completer
from ._protocol import (
    Completer,
    Completion,
    CompletionError,
    CompletionRequest,
    Finish,
    Sampling,
    TemporaryCompletionError,
)
from ._recording import RecordingCompleter, ReplayingCompleter

__all__ = [
    "BACKENDS",
    "Completer",
    "Completion",
    "CompletionError",
    "CompletionRequest",
    "Finish",
    "RecordingCompleter",
    "ReplayingCompleter",
    "Sampling",
    "TemporaryCompletionError",
    "find_endpoint",
    "make_completer",
]
