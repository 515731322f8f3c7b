"""From a phrase to the classes of a detector that knows a fixed list of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visenv.experts.ultralytics._vocabulary import Vocabulary

COCO = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,bench,bird,cat,dog,horse,sheep,cow,"
    "backpack,umbrella,handbag,tie,skis,sports ball,wine glass,cup,knife,apple,orange,hot dog,donut,couch,potted plant,dining table,"
    "tv,mouse,remote,cell phone,refrigerator,scissors,teddy bear,hair drier,toothbrush"
).split(",")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(dict(enumerate(COCO)))


@pytest.mark.parametrize(
    ("phrase", "names"),
    [
        ("cats", "cat"), ("the red cars", "car"), ("a person", "person"), ("men", "person"), ("people", "person"), ("buses", "bus"),
        ("knives", "knife"), ("skis", "skis"), ("a pair of scissors", "scissors"), ("wine glasses", "wine glass"), ("the orange", "orange"),
        ("orange cat", "cat"), ("sofa", "couch"), ("mobile phones", "cell phone"), ("fridge", "refrigerator"), ("motorbike", "motorcycle"),
        ("dogs and cats", "cat dog"), ("an apple, an orange", "apple orange"), ("the bike left of the car", "bicycle"),
        ("dog that bites a man", "dog"), ("a woman wearing a hat", "person"), ("mouse on the table", "mouse"), ("group of people", "person"),
        ("hot dogs", "hot dog"), ("two apples", "apple"), ("CATS!", "cat"),
        ("unicorn", ""), ("car door", ""), ("the lid of the cup", ""), ("glasses", ""), ("what keeps a swimmer afloat", ""), ("", ""),
        ("no car", ""), ("not a car", ""), ("everything except the car", ""), ("non-car", ""), ("cats but no dogs", "cat"), ("person not on a bench", "person"),
        ("cat-shaped knife", "knife"), ("dog-like cup", "cup"), ("orange coloured cat", "cat"), ("a dog like a bear", "dog"),
        ("toy car", ""), ("a toy red truck", ""), ("stuffed bear", "teddy bear"), ("brown stuffed teddy bear", "teddy bear"), ("plush teddy bears", "teddy bear"), ("picture of a car", ""), ("race car", "car"),
        ("a glass of wine", "wine glass"), ("sea lion", ""), ("a sea horse and a horse", "horse"),
        ("the thing on the left", ""), ("person's", "person"), ("catss", ""), ("x" * 5000, ""),
    ],
)  # fmt: skip
def test_phrases_name_classes(vocabulary: Vocabulary, phrase: str, names: str) -> None:
    found = [COCO[k] for k in vocabulary.match(phrase)]
    wanted = [n for n in COCO if n == names] or [n for n in COCO if n in names.split()]
    assert found == wanted


def test_generic_words_name_every_class_and_other_spellings_are_names(vocabulary: Vocabulary) -> None:
    assert len(vocabulary.match("all the objects")) == len(COCO)
    other = Vocabulary(
        {0: "couch/sofa", 1: "aerosol_can", 2: "mouse_(computer_equipment)", 3: "Sneakers", 4: "sofa bed"}
    )
    assert other.match("sofas") == (0,) and other.match("aerosol cans") == (1,) and other.match("mouse") == (2,)
    assert other.match("a sneaker") == (3,) and other.match("sofa beds") == (4,)
    bears = Vocabulary({0: "bear", 1: "dog", 2: "No entry"})
    assert bears.match("bear") == bears.match("polar bears") == (0,) and bears.match("no entry") == (2,)
    assert bears.match("teddy bear") == bears.match("hot dogs") == ()
    assert Vocabulary({}).match("teddy bear") == ()


@given(phrase=st.text(max_size=60), names=st.lists(st.text(max_size=12), max_size=5))
def test_any_phrase_and_any_names_can_be_matched(phrase: str, names: list[str]) -> None:
    found = Vocabulary(dict(enumerate(names))).match(phrase)
    assert set(found) <= set(range(len(names))) and list(found) == sorted(found)
