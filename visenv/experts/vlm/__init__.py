"""Vision-language models behind an OpenAI-compatible endpoint: finding, pointing and reading by asking in words."""

from ._expert import VLM
from ._replies import ReplyError, read_items, read_numbers, thought_through

__all__ = ["VLM", "ReplyError", "read_items", "read_numbers", "thought_through"]
