"""Pickles made of chance for some seconds: python fuzz_pickles.py FOLDER SECONDS. Prints how many were tried and how many were read.

What is read must be plain data, no larger than the file; what is not must raise the one error for it. No class may be looked up, no
file opened, no process started, and none may take long.
"""

from __future__ import annotations

import pickle
import pickletools
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures._python2 import python2_pickle
from visenv.tasks.refer import pickles

from visenv.errors import BadValueError

SCALARS = (str, int, float, bool, type(None))
ALLOWED = (b"(", b"]", b"}", b"l", b"d", b"a", b"e", b"s", b"u", b"S'x'\n", b"Vy\n", b"U\x02ab", b"\x8c\x01c", b"X\x01\x00\x00\x00d",
           b"T\x01\x00\x00\x00e", b"I1\n", b"I01\n", b"L5L\n", b"F1.5\n", b"K\x07", b"M\x01\x01", b"J\xff\xff\xff\xff", b"N", b"\x88",
           b"\x89", b"G\x3f\xf8\x00\x00\x00\x00\x00\x00", b"\x8a\x01\x05", b"\x94", b"p0\n", b"g0\n", b"q\x00", b"q\x01", b"h\x00",
           b"h\x01", b"j\x00\x00\x00\x00", b"r\x01\x00\x00\x00")  # fmt: skip
OTHERS = tuple(bytes([ord(op.code)]) for op in pickletools.opcodes)
GUARDED = ("open", "exec", "compile", "import", "pickle.find_class", "subprocess.Popen", "socket.connect")
guarding = False


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if guarding and (event in GUARDED or event.startswith("os.")):
        print("forbidden:", event, str(arguments)[:200])
        sys.stdout.flush()
        raise SystemExit(3)


def record(rng: random.Random) -> dict[str, Any]:
    tokens = [rng.choice(["the", "man", "é", "x" * 200]) for _ in range(rng.randrange(4))]
    sentences = [
        {"tokens": tokens, "raw": "A b", "sent_id": rng.randrange(70_000), "sent": "a b"}
        for _ in range(rng.randrange(3))
    ]
    return {
        "ref_id": rng.randrange(9),
        "ann_id": rng.choice([5, [1, 2], [-1]]),
        "split": "val",
        "sentences": sentences,
        "x": None,
    }


def written(rng: random.Random) -> bytes:
    """Write references as Python 2 or 3 does, most often with something broken in it."""
    value = [record(rng) for _ in range(rng.randrange(4))]
    protocol = rng.randrange(9)
    data = bytearray(pickle.dumps(value, protocol) if protocol < 6 else python2_pickle(value, protocol=protocol - 6))
    for _ in range(rng.randrange(4)):
        at, upto = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        part = rng.choice(
            [rng.choice(ALLOWED), rng.choice(OTHERS), rng.randbytes(2), bytes(data[at : min(upto, at + 40)]) * 2, b""]
        )
        data[at : rng.choice([at, at + 1, at + len(part), min(upto, at + 20)])] = part
    return bytes(data)


def strung(rng: random.Random) -> bytes:
    """String opcodes together, most of them harmless ones."""
    return b"".join(rng.choice(ALLOWED if rng.random() < 0.98 else OTHERS) for _ in range(rng.randrange(1, 14))) + b"."


def nested(rng: random.Random, depth: int = 4) -> bytes:
    """Write something of the right form, or nearly so."""
    if not depth or rng.random() < 0.3:
        return rng.choice(ALLOWED[9:])
    items = [nested(rng, depth - 1) for _ in range(rng.randrange(4))]
    put = rng.choice([b"", b"q\x00", b"\x94", b"p1\n"])
    if rng.random() < 0.5:
        return (
            b"]" + put + b"(" + b"".join(items) + b"e"
            if rng.random() < 0.5
            else b"(l" + put + b"".join(i + b"a" for i in items)
        )
    pairs = [rng.choice([b"S'x'\n", b"U\x02ab", b"g0\n", b"h\x00", nested(rng, 1)]) + i for i in items]
    return (
        b"}" + put + b"(" + b"".join(pairs) + b"u"
        if rng.random() < 0.5
        else b"(d" + put + b"".join(p + b"s" for p in pairs)
    )


def check_plain(held: Any, left: int) -> int:
    """Check that a value is plain and return how many more values there may be."""
    assert left >= 0, "more than the file can hold"
    if type(held) is list:
        for value in held:
            left = check_plain(value, left - 1)
    elif type(held) is dict:
        for key, value in held.items():
            assert type(key) is str, key
            left = check_plain(value, left - 1)
    else:
        assert type(held) in SCALARS, type(held)
    return left


def as_usual(data: bytes) -> Any:
    try:
        return pickle.loads(data, encoding="utf-8")
    except UnicodeDecodeError:
        return pickle.loads(data, encoding="latin1")


def main(folder: Path, seconds: float) -> None:
    global guarding
    resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30,) * 2)
    rng = random.Random(time.time_ns())
    path = folder / "fuzz.p"
    end, tried, read = time.monotonic() + seconds, 0, 0
    load = pickles._unpickled
    pickles._unpickled = lambda *given: guarded(load, *given)
    sys.addaudithook(watch)
    while time.monotonic() < end:
        data = rng.choice([written, strung, lambda r: nested(r) + b"."])(rng)
        path.write_bytes(data)
        tried += 1
        start = time.process_time()
        try:
            held = pickles.load_plain_pickle(path)
        except BadValueError:
            continue
        finally:
            assert time.process_time() - start < 2, data
        try:
            check_plain(held, len(data))
        except AssertionError as error:
            raise SystemExit(f"{error}: {data!r}") from None
        if data[:1] == b"\x95" or (data[:1] == b"\x80" and data[1] > 3):
            continue  # of frames pickle demands more
        try:
            usual = as_usual(data)
        except Exception as error:
            raise SystemExit(f"{held!r} was read where pickle says {error!r}: {data!r}") from None
        assert repr(held) == repr(usual), data
        read += 1
    print(tried, read)


def guarded(load: Any, *given: Any) -> Any:
    global guarding
    guarding = True
    try:
        return load(*given)
    finally:
        guarding = False


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
