"""``pytest --no-skips``: the way to be sure that the tests with real packages ran."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FILES = {
    "test_here.py": "def test_it(): pass",
    "test_inside.py": "import pytest\ndef test_it(): pytest.importorskip('no_such_package', reason='needs it inside')",
    "test_whole.py": "import pytest\npytest.importorskip('no_such_package', reason='needs it as a whole')",
}


@pytest.mark.parametrize(("words", "code"), [("test_here.py --no-skips", 0), (". --no-skips", 1)])
def test_a_skip_fails_the_run_on_demand(words: str, code: int, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code, done.stdout
    for said in ("test_inside.py::test_it: Skipped: needs it inside", "test_whole.py: Skipped: needs it as a whole"):
        assert (f"--no-skips: {said}" in done.stdout) == bool(code)
