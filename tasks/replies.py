"""What a multiple-choice reply says, read by the rules of each benchmark's authors, without any language model."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Mapping, Sequence

__all__ = ["MuirBenchParser", "blink_choice", "letters", "muirbench_choice", "strict_letter"]

LETTER = re.compile(r"\(?([A-Z])[).:]?\.?", re.IGNORECASE)
MUIRBENCH_SEED = 42


def letters(num_options: int) -> list[str]:
    """Return the first letters of the alphabet, one for each option."""
    return list(string.ascii_uppercase[:num_options])


def strict_letter(choice: str | None) -> str | None:
    """Return the option letter when the text is nothing but one: ``B``, ``b``, ``(B)``, ``B.`` or ``B)``."""
    found = LETTER.fullmatch(choice.strip()) if choice else None
    return found[1].upper() if found else None


def blink_choice(reply: str | None, num_options: int) -> str | None:
    """Return ``(X)`` as BLINK's extraction does, or ``None`` where its authors would ask a language model.

    A reply that is a bare or bracketed letter A to E and nothing else is taken whatever the number of options. Otherwise words
    count that are exactly ``(X)`` for an option there is: of the last paragraph if it has a single one, else of the
    whole reply. ``(B).`` is no such word.

    Source: analyze_answer in eval/test_benchmark.py of zeyofu/BLINK_Benchmark@2d6a779b, up to its call of a language model.
    """
    if reply is None:
        return None
    if len(reply) == 1 and reply in "ABCDE":
        return f"({reply})"
    if len(reply) == 3 and reply[0] + reply[2] == "()" and reply[1] in "ABCDE":
        return reply
    known = {f"({letter})" for letter in letters(min(num_options, 5))}
    for part in (reply.rsplit("\n\n", 1)[-1], reply):
        words = known & set(part.split())
        if len(words) == 1:
            return words.pop()
    return None


def muirbench_choice(reply: str | None, options: Mapping[str, str], known: Sequence[str] | None = None) -> str | None:
    """Return the letter that MuirBench's parser finds, or ``None`` where it would draw one at random.

    Looks for ``(X)``; if there is none, for the letter between spaces; if there is none and the reply has more than five
    words, for the text of an option in any case of letters. Of several, the one whose last occurrence comes last.

    Args:
        reply: What was said.
        options: Text by letter, in order; of options that end at one place the first wins.
        known: The letters to look for; those of ``options`` by default.

    Source: parse_multi_choice_response in eval/utils/postprocess.py of muirbench/MuirBench@840b85fe.
    """
    if reply is None:
        return None
    for mark in ",.!?;:'":
        reply = reply.strip(mark)
    reply = f" {reply} "
    for form in ("({})", " {} "):
        found = {letter: reply.rfind(form.format(letter)) for letter in (options if known is None else known)}
        if max(found.values(), default=-1) >= 0:
            return max(found, key=found.__getitem__)
    if len(reply.split()) > 5:
        small = reply.lower()
        found = {letter: small.rfind(text.lower()) for letter, text in options.items()}
        if max(found.values(), default=-1) >= 0:
            return max(found, key=found.__getitem__)
    return None


class MuirBenchParser:
    """MuirBench's parser with its guess: a random letter where nothing was found.

    The guesses depend on the order of the replies, as the authors' do; score in the order of the data set, or keep
    ``fallback="none"``, which counts such replies as wrong.
    """

    def __init__(self, fallback: str = "none") -> None:
        """Start the sequence of guesses.

        Args:
            fallback: ``none`` or ``random``.
        """
        if fallback not in ("none", "random"):
            raise ValueError(f"`fallback` is {fallback!r}. Expected 'none' or 'random'.")
        self._random = random.Random(MUIRBENCH_SEED) if fallback == "random" else None

    def __call__(
        self, reply: str, options: Mapping[str, str], known: Sequence[str] | None = None
    ) -> tuple[str | None, bool]:
        """Return the letter, and whether nothing was found, so that it is a guess among ``known`` or ``None``."""
        choice = muirbench_choice(reply, options, known)
        if choice is not None:
            return choice, False
        guess = list(options if known is None else known)
        return (self._random.choice(guess) if self._random and guess else None), True
