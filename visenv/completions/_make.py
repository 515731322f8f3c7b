"""A model by name: where it runs, and whether its replies are kept or come from what was kept."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from ..errors import bad_value, unknown_name
from ._protocol import Completer
from ._recording import RecordingCompleter, ReplayingCompleter

__all__ = ["BACKENDS", "make_completer"]

BACKENDS: Mapping[str, tuple[str, str]] = {
    "openai": ("._openai", "OpenAICompleter"),
    "transformers": ("._transformers", "TransformersCompleter"),
    "vllm": ("._vllm", "VLLMCompleter"),
}
"""By name: the module and the class; what they stand on is imported when one is made."""


def make_completer(
    model: str, *, backend: str = "openai", cache: str = "", replay: str = "", **options: Any
) -> Completer:
    """Return who runs a model.

    Args:
        model: Its name at the endpoint, or its folder or Hub name.
        backend: ``openai`` for any OpenAI-compatible endpoint, ``transformers`` or ``vllm`` for this process.
        cache: Folder in which replies are kept by model, sampling and prompt, and from which they come if they are there.
        replay: Folder from which all replies come; the model is not needed then.
        **options: The backend's own.

    Raises:
        UnknownNameError: No such backend.
        BadValueError: An option that the backend does not have, or cannot take.
        MissingExtraError: A package is not installed.
    """
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS, remedy="Use one of these.")
    module, name = BACKENDS[backend]
    made = getattr(importlib.import_module(module, __package__), name)
    known = [p.name for p in inspect.signature(made).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options.keys() - set(known):
        raise bad_value("option", option, expected=f"one that backend {backend!r} has ({', '.join(known)})")
    if replay:
        if cache:
            raise bad_value("cache", cache, expected="none beside replay=")
        return ReplayingCompleter(replay, model)
    completer: Completer = made(model, **options)
    return RecordingCompleter(completer, cache, model) if cache else completer
