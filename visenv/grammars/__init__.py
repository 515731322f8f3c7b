"""Grammars: how a language model writes a tool call."""

from ..errors import bad_value, unknown_name
from ..specs import parse_spec
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


def make_grammar(spec: str | Grammar) -> Grammar:
    """Build a grammar from its name.

    Args:
        spec: Such as ``hermes`` or ``qwen-xml:coordinates=pixels``; a grammar is returned as it is.

    Raises:
        UnknownNameError: There is none of that name, or no such coordinates.
        BadValueError: An option it does not have.
    """
    if isinstance(spec, Grammar):
        return spec
    name, options = parse_spec(spec)
    if name not in GRAMMARS:
        raise unknown_name("grammar", name, GRAMMARS, remedy="Use one of these.")
    for option in options.keys() - {"coordinates"}:
        raise bad_value("grammar", spec, expected=f"no option {option!r}; there is `coordinates`")
    return GRAMMARS[name](coordinates=str(options.get("coordinates", "thousandths")))
