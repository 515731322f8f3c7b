"""What of a configuration tells models apart."""

from __future__ import annotations

from typing import Any

__all__ = ["settings_of"]

ELSEWHERE = frozenset(
    {"_name_or_path", "architectures", "auto_map", "dtype", "processor_class", "torch_dtype", "transformers_version"}
)
"""Where a model was found and what wrote it: nothing that results depend on, once it is loaded."""


def settings_of(config: Any) -> Any:
    """Return a configuration, of a model or a processor, without what says where it was found and what wrote it."""
    found = config.to_dict() if hasattr(config, "to_dict") else config
    if isinstance(found, dict):
        return {key: settings_of(value) for key, value in found.items() if key not in ELSEWHERE}
    return found
