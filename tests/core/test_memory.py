"""Which images stay visible, by policy."""

from __future__ import annotations

import pytest

from visenv.errors import BadValueError, UnknownNameError
from visenv.memory import POLICIES, make_policy

SHOWN = [("img_0",), ("view_1",), (), ("grid_3", "img_0_r1_c1"), ("img_0",)]


@pytest.mark.parametrize(
    ("spec", "after", "expected"),
    [
        ("append", 5, ["img_0", "view_1", "grid_3", "img_0_r1_c1", "img_0"]),
        ("archive", 2, ["view_1"]),
        ("archive", 3, ["view_1"]),  # an observation without images leaves the newest ones
        ("archive:blind", 3, []),
        ("archive", 4, ["grid_3", "img_0_r1_c1"]),
        ("prune", 4, ["img_0", "img_0_r1_c1"]),
        ("prune:k=2", 5, ["img_0", "img_0_r1_c1", "img_0"]),
        ("prune:k=9", 2, ["img_0", "view_1"]),
        ("window:k=2", 4, ["grid_3", "img_0_r1_c1"]),
        ("window:k=3", 1, ["img_0"]),
    ],
)
def test_visible_images(spec, after, expected):
    shown = SHOWN[:after]
    assert [shown[turn][place] for turn, place in make_policy(spec).select(shown)] == expected


def test_every_policy_is_in_the_table_above():
    assert set(POLICIES) == {"append", "archive", "prune", "window"}


@pytest.mark.parametrize(
    ("spec", "error"), [("prune:k=0", BadValueError), ("window:n=1", BadValueError), ("lru", UnknownNameError)]
)
def test_bad_policies_are_refused(spec, error):
    with pytest.raises(error):
        make_policy(spec)
