"""A procedural benchmark of recognisable objects with exact masks: five families, three levels."""

from .count import EmojiCount
from .dense import EmojiDense
from .multi import EmojiMulti
from .reason import EmojiReason
from .ref import EmojiRef

__all__ = ["EmojiCount", "EmojiDense", "EmojiMulti", "EmojiReason", "EmojiRef"]
