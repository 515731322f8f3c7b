"""Grammars: how a language model writes a tool call."""

from ..errors import unknown_name
from ._base import Grammar, Parsed, ParseError
from ._hermes import HermesGrammar
from ._openai import OpenAIGrammar

__all__ = ["GRAMMARS", "Grammar", "HermesGrammar", "OpenAIGrammar", "ParseError", "Parsed", "make_grammar"]

GRAMMARS: dict[str, type[Grammar]] = {g.name: g for g in (HermesGrammar, OpenAIGrammar)}
"""The grammars by name."""


def make_grammar(name: str | Grammar) -> Grammar:
    """Return a grammar by name; a grammar is returned as it is.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if isinstance(name, Grammar):
        return name
    if name not in GRAMMARS:
        raise unknown_name("grammar", name, GRAMMARS, remedy="Use one of these.")
    return GRAMMARS[name]()
