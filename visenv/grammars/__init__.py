"""Grammars: how a language model writes a tool call."""

from ..errors import unknown_name
from ._base import Grammar, Parsed, ParseError
from ._hermes import HermesGrammar
from ._json import JSONGrammar
from ._openai import OpenAIGrammar
from ._qwen_xml import QwenXMLGrammar
from ._tagged import RSAgentGrammar, SAM3AgentGrammar

__all__ = [
    "GRAMMARS",
    "Grammar",
    "HermesGrammar",
    "JSONGrammar",
    "OpenAIGrammar",
    "ParseError",
    "Parsed",
    "QwenXMLGrammar",
    "RSAgentGrammar",
    "SAM3AgentGrammar",
    "make_grammar",
]

GRAMMARS: dict[str, type[Grammar]] = {
    g.name: g for g in (HermesGrammar, QwenXMLGrammar, OpenAIGrammar, JSONGrammar, RSAgentGrammar, SAM3AgentGrammar)
}
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
