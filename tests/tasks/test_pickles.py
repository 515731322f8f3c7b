"""Pickles of references: what Python 2 and 3 wrote is read, nothing is executed, and no few bytes hold up or fill the machine."""

from __future__ import annotations

import copyreg
import json
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from visenv.tasks.refer.pickles import load_plain_pickle

from visenv.errors import BadValueError

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures._python2 import python2_pickle

REFERENCES: list[dict[str, Any]] = [
    {
        "ref_id": 0, "ann_id": 1719310, "sent_ids": [0, 1], "split": "val",
        "sentences": [
            {"tokens": ["the", "man"], "raw": "THE MAN", "sent_id": 0, "sent": "the man"},
            {"tokens": ["café"], "raw": "CAFé", "sent_id": 1, "sent": "café"},
        ],
    },
    {
        "ref_id": 1, "ann_id": 1719311, "sent_ids": [300], "split": "val",
        "sentences": [{"tokens": ["it's", '"x"'], "raw": 'IT\'S "X"', "sent_id": 300, "sent": 'it\'s "x"'}],
    },
]  # fmt: skip
CPICKLE = (
    b"(lp1\n(dp2\nS'ref_id'\np3\nI0\nsS'sentences'\np4\n(lp5\n(dp6\nS'tokens'\np7\n(lp8\nS'the'\np9\naS'man'\np10\nasS'raw'\np11\n"
    b"S'THE MAN'\np12\nsS'sent_id'\np13\nI0\nsS'sent'\np14\nS'the man'\np15\nsa(dp16\ng7\n(lp17\nS'caf\\xe9'\np18\nasg11\nS'CAF\\xe9'\n"
    b"p19\nsg13\nI1\nsg14\nS'caf\\xe9'\np20\nsasS'ann_id'\np21\nI1719310\nsS'sent_ids'\np22\n(lp23\nI0\naI1\nasS'split'\np24\nS'val'\n"
    b"p25\nsa(dp26\ng3\nI1\nsg4\n(lp27\n(dp28\ng7\n(lp29\nS\"it's\"\np30\naS'\"x\"'\np31\nasg11\nS'IT\\'S \"X\"'\np32\nsg13\nI300\nsg14\n"
    b"S'it\\'s \"x\"'\np33\nsasg21\nI1719311\nsg22\n(lp34\nI300\nasg24\nS'val'\np35\nsa.",
    b"]q\x01(}q\x02(U\x06ref_idq\x03K\x00U\tsentencesq\x04]q\x05(}q\x06(U\x06tokensq\x07]q\x08(U\x03theq\tU\x03manq\neU\x03rawq\x0b"
    b"U\x07THE MANU\x07sent_idq\x0cK\x00U\x04sentq\rU\x07the manu}q\x0e(h\x07]q\x0fU\x04caf\xe9q\x10ah\x0bU\x04CAF\xe9h\x0cK\x01h\r"
    b"U\x04caf\xe9ueU\x06ann_idq\x11J\x0e<\x1a\x00U\x08sent_idsq\x12]q\x13(K\x00K\x01eU\x05splitq\x14U\x03valu}q\x15(h\x03K\x01h\x04"
    b']q\x16}q\x17(h\x07]q\x18(U\x04it\'sq\x19U\x03"x"q\x1aeh\x0bU\x08IT\'S "X"h\x0cM,\x01h\rU\x08it\'s "x"uah\x11J\x0f<\x1a\x00'
    b"h\x12]q\x1bM,\x01ah\x14U\x03value.",
)
"""``REFERENCES`` as cPickle of Python 2.7.18 wrote them in protocols 0 and 1; in 2 as in 1, after two bytes."""


def load(folder: Path, data: bytes) -> Any:
    path = folder / "refs(unc).p"
    path.write_bytes(data)
    return load_plain_pickle(path)


def refused(folder: Path, data: bytes) -> str:
    with pytest.raises(BadValueError, match="refs") as caught:
        load(folder, data)
    return str(caught.value)


# what is read


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_what_cpickle_wrote_is_read_and_the_fixtures_write_the_same(tmp_path: Path, protocol: int) -> None:
    written = b"\x80\x02" * (protocol == 2) + CPICKLE[min(protocol, 1)]
    found = load(tmp_path, written)
    assert found == REFERENCES
    assert python2_pickle(found, encoding="latin1", protocol=protocol) == written


@pytest.mark.parametrize("encoding", ["utf-8", "latin1"])
def test_text_of_python_2_is_read(tmp_path: Path, encoding: str) -> None:
    assert load(tmp_path, python2_pickle(["café", {"née": 1}], encoding=encoding)) == ["café", {"née": 1}]


PLAIN = [
    {"a": ["x", "é", 1, -5, 2**40, -(2**63), 1.5, -1e300, True, None], "b": {"c": []}},
    "y" * 127,
    "y" * 300,
    "z" * 70_000,
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_python_3_wrote_is_read(tmp_path: Path, protocol: int) -> None:
    assert load(tmp_path, pickle.dumps(PLAIN[:3] * 3, protocol)) == PLAIN[:3] * 3
    many = [{**REFERENCES[0], "ref_id": k, "tags": []} for k in range(2_001)]  # batches of a thousand, and one alone
    assert load(tmp_path, pickle.dumps(many, protocol)) == many
    if protocol < 4:  # later protocols put so long a text between two frames
        assert load(tmp_path, pickle.dumps(PLAIN, protocol)) == PLAIN


LONG = "x" * 200
TEXT = st.text(st.characters(codec="utf-8"), max_size=300) | st.just(LONG)
SIMPLE = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT
RECORD = st.dictionaries(
    TEXT.filter(lambda t: len(t.encode()) < 128), SIMPLE | st.lists(SIMPLE, max_size=4), max_size=5
)
FIELD = SIMPLE | st.lists(SIMPLE | RECORD.filter(bool), max_size=4)
REFER = st.lists(st.dictionaries(st.sampled_from(["a", "ref_id", "x" * 100]), FIELD, min_size=2), max_size=4)


@settings(max_examples=120, deadline=None)
@given(value=REFER, protocol=st.integers(0, 5))
@example(value=[{"a": [{"": LONG}], "ref_id": None}], protocol=1)
@example(value=[{"a": [{"": [LONG]}], "ref_id": None}], protocol=2)
@example(value=[{"a": [None, {"": [1, LONG]}, {"b": LONG, "c": []}], "x": [LONG], "ref_id": LONG}] * 2, protocol=2)
def test_whatever_has_the_form_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, value: list[Any], protocol: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert load(folder, pickle.dumps(value, protocol)) == value
    if "\\u" not in json.dumps(value).replace("\\u0000", "") or protocol:
        assert load(folder, python2_pickle(value, protocol=min(protocol, 2))) == value


# what is not executed


class Payload:
    """Writes a file when it is unpickled as usual."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "owned")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_payload_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "mark"
    data = pickle.dumps([{"ref_id": 1, "sentences": Payload(mark)}], protocol)
    assert "Nothing of it was executed" in refused(tmp_path, data)
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()  # it would have worked


HOSTILE = {
    "global": b"cos\nsystem\n(S'echo x'\ntR.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
    "instance": b"(S'x'\nios\nsystem\n.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"Pname\n.",
    "build": b"\x80\x02}}b.",
    "bytearray": b"\x80\x05\x96\x05\x00\x00\x00\x00\x00\x00\x00hello.",
    "memory": b"\x80\x02]r\xff\xff\xff\x7f.",
    "memory in words": b"(lp2147483647\n.",
    "no number": b"(lpx\n.",
    "long text": b"\x80\x04\x8d\x00\x00\x00\x00\x00\x00\x00\x7fx.",
    "text beyond the end": b"\x80\x02]X\xff\xff\xff\xffxa.",
    "list as a key": b"\x80\x02}]K\x01s.",
    "remembered list as a key": b"\x80\x02]q\x00(}(h\x00K\x01ue.",
    "number as a key": b"\x80\x02](}(K\x01K\x02ue.",
    "number as a key, after a text": b"\x80\x02](}(U\x01aU\x01bK\x01U\x01cue.",
    "number as a key, in lines": b"(l(dI1\nI2\nsa.",
    "number remembered": b"(lI1\np0\nag0\na.",
    "integer of 5,000 digits": b"(lI" + b"7" * 5_000 + b"\na.",
    "integer of 255 bytes": b"\x80\x02]\x8a\xff" + b"\x01" * 255 + b"a.",
    "tuple": pickle.dumps([(1, 2)], 2),
    "set": pickle.dumps([{1, 2}], 4),
    "dict of another class": pickle.dumps([OrderedDict(a=1)], 2),
    "bytes": pickle.dumps([b"x"], 3),
    "twice": b"\x80\x02]2.",
    "taken back": b"\x80\x02](K\x010e.",
    "itself": b"\x80\x02]q\x00h\x00a.",
    "no value": b"\x80\x02.",
    "truncated": python2_pickle([{"a": "text"}])[:-3],
    "a frame cut off": b"\x95\x05]]\x94.\x80\x05]]\x94.",
    "empty": b"",
    "text": b"hello, this is no pickle",
    "html": b"<!DOCTYPE html><html>404</html>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused(tmp_path: Path, name: str) -> None:
    copyreg.add_extension("os", "system", 1)
    try:
        refused(tmp_path, HOSTILE[name])
    finally:
        copyreg.remove_extension("os", "system", 1)


# what would take time or memory


def doubled(times: int, width: int = 2) -> bytes:
    """Write a list of lists of lists …, each the one before again and again."""
    levels = b"".join(b"(lp%d\n" % k + b"g%d\na" % (k - 1) * width + b"a" for k in range(1, times))
    return b"(lp0\n" + levels.replace(b"a(lp", b"(lp") + b"."


P61 = 2**61 - 1
BOMBS = {
    "a key of nested tuples": b"\x80\x02]})" + b"2\x86" * 60 + b"Nsa.",
    "eight megabytes of empty sets": b"\x80\x04" + b"\x8f" * 8_000_000 + b".",
    "thirty megabytes of empty dicts": b"\x80\x02](" + b"}" * 30_000_000 + b"e.",
    "nested without end": b"\x80\x02" + b"]" * 5_000_000 + b"a" * 4_999_999 + b".",
    "numbers of one hash": b"\x80\x02}(" + b"".join(b"\x8a\x10" + (k * P61).to_bytes(16, "little") + b"N" for k in range(100_000)) + b"u.",
    "frames without end": b"\x80\x04" + b"\x95\x01\x00\x00\x00\x00\x00\x00\x00N" * 1_000_000 + b".",
    "a list that doubles": b"\x80\x02](]q\x00" + b"".join(b"](h%bh%be" % (bytes([k]), bytes([k])) + b"q" + bytes([k + 1]) for k in range(60)) + b"e.",
    "lists of eighty of the same": b"\x80\x02](]q\x00" + b"".join(b"]q" + bytes([k + 1]) + b"(" + b"h%b" % bytes([k]) * 80 + b"e" for k in range(6)) + b"e.",
    "a file beyond the limit": b" " * (129 * 2**20),
}  # fmt: skip
MEASURED = """
import resource, sys, time
def peak():  # of this program alone: ru_maxrss still holds what the parent had
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(l for l in status.read_text().splitlines() if l.startswith("VmHWM")).split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20  # macOS counts bytes
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)
from pathlib import Path
from visenv.errors import BadValueError
from visenv.tasks.refer.expressions import read_expressions
for path in sorted(Path(sys.argv[1]).iterdir()):
    print(path.name, end=",", flush=True)
    start = time.process_time()
    try:
        read_expressions(path)
    except BadValueError as error:
        assert len(str(error)) < 1000, len(str(error))
        print(time.process_time() - start, peak(), sep=",")
"""


def test_a_bomb_is_refused_at_once(tmp_path: Path) -> None:
    """In a process of its own, which can be stopped where Python cannot."""
    for name, data in BOMBS.items():
        (tmp_path / f"{name}.p").write_bytes(data)
    run = [sys.executable, "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=True)
    lines = [line.split(",") for line in done.stdout.splitlines()]
    assert {line[0] for line in lines} == {f"{name}.p" for name in BOMBS}
    assert all(float(seconds) < 3 and float(megabytes) < 500 for _, seconds, megabytes in lines), lines


@pytest.mark.parametrize("seconds", [10, pytest.param(120, marks=pytest.mark.acceptance)])
def test_whatever_the_bytes_nothing_but_plain_data_comes_out(tmp_path: Path, seconds: int) -> None:
    script = Path(__file__).with_name("fuzz_pickles.py")
    run = [sys.executable, str(script), str(tmp_path), str(seconds)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60 + 2 * seconds, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tried, read = map(int, done.stdout.split())
    assert tried > 50 * seconds and read > tried // 50, (tried, read)
