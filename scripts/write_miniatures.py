"""Write the miniatures of the published benchmarks that the tests use, to look at layouts or to try commands without the data.

    python scripts/write_miniatures.py OUT

A dozen samples for each split, pictures drawn, annotations made up, each oddity of the real files at least once. Scores on them mean
nothing.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fixtures import write_all


def main() -> int:
    """Write them, and say what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the data root, made if it is not there")
    out: Path = parser.parse_args().out
    if out.is_dir() and any(out.iterdir()):
        parser.error(f"{out} is not empty: data of your own may be there; take another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        failed = write_all(out)
    except OSError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        files = [path for path in folder.rglob("*") if path.is_file()]
        print(f"{folder}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e3:,.0f} kB")
    for error in failed.values():
        print(f"{parser.prog}: {error}", file=sys.stderr)
    print(f"Next: VISENV_DATA={shlex.quote(str(out))} visenv data status")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
