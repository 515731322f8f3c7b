"""Reading multiple-choice replies. The authors' own results are in test_profiles_golden."""

from __future__ import annotations

import pytest
from visenv.tasks.replies import MuirBenchParser, blink_choice, muirbench_choice, strict_letter


@pytest.mark.parametrize(
    ("text", "expected"),
    [("B", "B"), (" b ", "B"), ("(C)", "C"), ("D.", "D"), ("E)", "E"), ("A or B", None), ("", None), (None, None)],
)
def test_strict_letter(text, expected):
    assert strict_letter(text) == expected


def test_one_reply_is_readable_for_one_benchmark_and_not_for_another():
    options = dict(zip("ABCD", ("a bus", "a dog", "a tree", "none"), strict=True))
    assert blink_choice("(B).", 4) is None
    assert muirbench_choice("(B).", options) == "B"
    assert blink_choice(None, 4) is muirbench_choice(None, options) is None


def test_guesses_are_flagged_and_only_made_on_demand():
    options = {"A": "a bus", "B": "a dog"}
    assert MuirBenchParser()("no idea", options) == (None, True)
    first = [MuirBenchParser("random")("no idea", options) for _ in range(2)]
    assert first[0] == first[1] and first[0][0] in options and first[0][1]
    assert MuirBenchParser("random")("B", options) == ("B", False)
    with pytest.raises(ValueError, match="none"):
        MuirBenchParser("maybe")
