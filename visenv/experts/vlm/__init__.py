"""Vision-language models behind an OpenAI-compatible endpoint: finding, pointing and reading by asking in words."""

from ._expert import VLM

__all__ = ["VLM"]
