"""Places survive writing and reading in every way of writing them, and an episode speaks the way it is spoken to."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from visenv.arguments import ArgumentError
from visenv.coordinates import COORDINATES, THOUSANDTHS
from visenv.errors import VisenvError
from visenv.grammars import GRAMMARS, make_grammar
from visenv.tools import check_call, express_call
from visenv.toolsets import FULL

ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)


@pytest.mark.parametrize("name", sorted(COORDINATES))
@given(value=st.integers(0, 1000), side_px=st.integers(1, 8192))
def test_a_place_survives_within_what_its_writing_can_say(name, value, side_px):
    coordinates = COORDINATES[name]
    again = coordinates.to_1000(coordinates.from_share(value / 1000, side_px), side_px)
    assert abs(again - value) <= (500 / side_px + 0.5 if name == "pixels" else 0)


@pytest.mark.parametrize("name", sorted(COORDINATES))
@given(value=ANYTHING, side_px=st.integers(1, 8192))
@example(value=10**400, side_px=7)
@example(value=-(10**400), side_px=7)
@example(value=math.nan, side_px=7)
def test_anything_is_a_place_inside_or_refused(name, value, side_px):
    try:
        found = COORDINATES[name].to_1000(value, side_px)
    except ArgumentError as error:
        assert error.code in ("wrong_type", "out_of_range") and str(error)
    else:
        assert type(found) is int and 0 <= found <= 1000


@pytest.mark.parametrize("coordinates", sorted(COORDINATES))
@pytest.mark.parametrize("grammar", sorted(GRAMMARS))
def test_a_box_written_in_any_way_is_the_same_object(make_episode, play, grammar, coordinates):
    episode = make_episode(grammar=make_grammar(f"{grammar}:coordinates={coordinates}"))
    call = {
        "name": "draw_box",
        "arguments": {"image": "img_0", "x1": 100, "y1": 200, "x2": 500, "y2": 700, "label": "it"},
    }
    sizes_wh = episode.memory.sizes_wh
    written = express_call(FULL, call, coordinates=COORDINATES[coordinates], sizes_wh=sizes_wh)
    play(episode, episode.rules.grammar.render(written, episode.toolset))
    assert episode.turns[-1].error is None
    width, height = sizes_wh["img_0"]
    assert episode.objects[0].box_xyxy == pytest.approx((0.1 * width, 0.2 * height, 0.5 * width, 0.7 * height), abs=2)
    said = COORDINATES[coordinates].write(episode.objects[0].box_xyxy, (width, height))
    assert said in episode.turns[-1].feedback


@pytest.mark.parametrize("coordinates", sorted(COORDINATES))
def test_prompt_and_schema_say_how_places_are_written(coordinates):
    grammar, scheme = make_grammar(f"hermes:coordinates={coordinates}"), COORDINATES[coordinates]
    prompt = grammar.system_prompt(FULL)
    assert scheme.sentence in prompt and json.dumps(FULL["crop"].to_openai(scheme), ensure_ascii=False) in prompt
    assert all(other.sentence not in prompt for other in COORDINATES.values() if other is not scheme)


def test_a_place_outside_is_refused_in_the_words_it_was_written_in():
    call = {"name": "segment_point", "arguments": {"image": "img_0", "x": 300, "y": 10}}
    sizes_wh = {"img_0": (200, 100)}
    assert check_call(FULL, call) == call
    with pytest.raises(Exception, match="from 0 to 200"):
        check_call(FULL, call, coordinates=COORDINATES["pixels"], sizes_wh=sizes_wh)
    with pytest.raises(Exception, match="from 0 to 1"):
        check_call(FULL, call, coordinates=COORDINATES["fractions"], sizes_wh=sizes_wh)
    assert THOUSANDTHS.write((50.0, 50.0), (200, 100)) == "(250, 500)"


def test_unknown_coordinates_and_options_are_refused_with_a_remedy():
    with pytest.raises(VisenvError, match="pixels"):
        make_grammar("hermes:coordinates=pixel")
    with pytest.raises(VisenvError, match="coordinates"):
        make_grammar("hermes:temperature=1")
