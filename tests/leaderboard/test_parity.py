"""`visenv parity`: golden files, files that are wrong, and files that are no such files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from visenv.leaderboard.parity import run_file
from visenv.tasks.profiles import PROFILES

from visenv.cli import main
from visenv.errors import UnknownNameError

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
GREC = json.loads((GOLDEN / "grec.json").read_text(encoding="utf-8"))


@pytest.fixture
def visenv(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            main([str(w) for w in words])
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


def written(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "changed.json"
    path.write_text(json.dumps({**GREC, "cases": GREC["cases"][:3], **changes}), encoding="utf-8")
    return path


def test_table(visenv):
    code, out, _ = visenv("parity", GOLDEN / "grec.json", GOLDEN / "blink.json")
    assert code == 0
    lines = [line.split() for line in out.splitlines() if ".json" in line]
    assert lines[0][:5] == ["grec.json", "grec", "grec/mdetr", "henghuiding/gRefCOCO@41a8f008", "16"]
    assert [line[-1] for line in lines] == ["yes", "yes"]


def test_json_has_an_object_for_each_file_with_the_keys_of_expected(visenv):
    files = sorted(GOLDEN.glob("*.json"))
    code, out, _ = visenv("parity", *files, "--json")
    assert code == 0
    for path, line in zip(files, out.splitlines(), strict=True):
        told, data = json.loads(line), json.loads(path.read_text(encoding="utf-8"))
        assert told["scorer"] == path.stem and [c["name"] for c in told["cases"]] == [c["name"] for c in data["cases"]]
        for got, case in zip(told["cases"], data["cases"], strict=True):
            assert set(got["got"]) == set(case["expected"]) - {"printed", "opencv_4_8"}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"F1_score": 0.5}, "F1_score"),
        ({"per_sample": [1.0]}, "per_sample"),
        ({"per_sample": [1.0, 0.25]}, "per_sample[1]"),
        ({"more": 1}, "more"),
        ({"N_acc": None}, "N_acc"),
    ],
)
def test_a_disagreement_is_exit_status_1(visenv, tmp_path, change, where):
    case = GREC["cases"][0]
    path = written(tmp_path, cases=[{**case, "expected": {**case["expected"], **change}}, *GREC["cases"][1:3]])
    code, out, _ = visenv("parity", path)
    assert code == 1 and "NO" in out and f"'perfect' disagrees at {where}" in out
    told = json.loads(visenv("parity", path, "--json")[1])
    assert not told["ok"] and told["cases"][0]["disagrees"] == where and "disagrees" not in told["cases"][1]


def test_integers_masks_and_flags_must_be_equal(tmp_path):
    data = json.loads((GOLDEN / "gres_rela_raster.json").read_text(encoding="utf-8"))
    data["cases"] = data["cases"][:2]
    data["tolerance"]["absolute"] = 1
    data["cases"][0]["expected"]["no_target"] = 1
    data["cases"][1]["expected"]["mask_native"] = data["cases"][0]["expected"]["mask_native"]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    assert [c.where for c in run_file(path).cases] == ["no_target", "mask_native"]


SAMPLE = {"no_target": False, "gt_boxes": [[0, 0, 1, 1]], "pred_boxes": [[0, 0, 1, 1]], "scores": [0.9]}
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", DEEP, '{"scorer": "grec"}', b"\xff\xfe", "NaN",
     json.dumps({**GREC, "cases": []}), json.dumps({**GREC, "cases": 3}), json.dumps({**GREC, "tolerance": 3}),
     json.dumps({**GREC, "tolerance": {"absolute": 1e9}}), json.dumps({**GREC, "tolerance": {"absolute": "0"}}),
     json.dumps({**GREC, "official": {}}), json.dumps({**GREC, "official": None}), json.dumps({**GREC, "tolerance": {"absolute": True}}),
     json.dumps({k: v for k, v in GREC.items() if k != "tolerance"}), json.dumps({k: v for k, v in GREC.items() if k != "scorer"}),
     json.dumps(GREC).replace("0.899", "NaN")],
    ids=range(19),
)  # fmt: skip
def test_no_golden_file(visenv, tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, out, err = visenv("parity", path)
    assert code == 2 and not out and "Traceback" not in err and "Expected" in err


@pytest.mark.parametrize(
    ("scorer", "given"),
    [
        ("grec", {}), ("grec", 3), ("grec", {"samples": 3}), ("grec", {"samples": [3]}),
        ("grec", {"samples": [{**SAMPLE, "scores": []}]}), ("grec", {"samples": [{**SAMPLE, "pred_boxes": [[1]]}]}),
        ("grec", {"samples": [{**SAMPLE, "pred_boxes": "abcd", "scores": []}]}),
        ("rec8k", {"samples": [{"size": [0, 0], "gt_points": [], "pred_boxes": []}]}),
        ("gres_rela_raster", {"size": [10**6, 10**6], "instances": []}),
        ("gres_rela_raster", {"size": [10, 10], "instances": [[[1, 2, 3, 1e300, 5, 6]]]}),
        ("reasonseg_lisa_raster", {"size": [10, 10], "file_base64": "###"}),
        ("reasonseg_lisa", {"samples": [{"target": {"size": [4, 4], "counts": "zzzz"}, "ignore": 1, "prediction": 1}]}),
        ("blink", {"reply": 7, "n_choices": 4}), ("blink", {"answers": {"x": "(A)"}, "predictions": {}}),
        ("muirbench", {"reply": 3, "letters": [], "options": {}}),
        ("visdrone_toolkit", {"images": [{"size": [9, 9], "annotations": [[1]], "detections": []}]}),
        ("visdrone_toolkit", {"images": [{"size": [9, 9], "annotations": [], "detections": [[1, 1, 1, 1, "x", 1]]}]}),
    ],
)  # fmt: skip
def test_hostile_inputs(visenv, tmp_path, scorer, given):
    """A case that cannot be run says so in its place, and costs no other case anything."""
    good = json.loads((GOLDEN / f"{scorer}.json").read_text(encoding="utf-8"))["cases"][0]
    cases = [{"name": "odd", "input": given, "expected": {"a": 1}}, good]
    path = written(tmp_path, scorer=scorer, cases=cases, tolerance={"absolute": 1e-5})
    odd, other = run_file(path).cases
    assert odd.name == "odd" and odd.error and odd.got is None and not odd.ok and other.ok
    code, out, err = visenv("parity", path)
    assert code == 1 and "Traceback" not in err and "'odd' failed: " in " ".join(out.split()) and "NO" in out
    code, out, _ = visenv("parity", path, "--json")
    told = json.loads(out)
    assert code == 1 and not told["ok"] and set(told["cases"][0]) == {"name", "error"} and told["cases"][1]["got"]


@pytest.mark.parametrize(
    ("case", "error"),
    [
        (3, "name"), ({"name": 3}, "name"), ({"input": {}}, "name"), ({"name": "a"}, "input"),
        ({**GREC["cases"][0], "expected": 3}, "expected"),
        ({**GREC["cases"][0], "expected": {"N_acc": {"size": 3, "counts": ""}}}, "mask"),
    ],
)  # fmt: skip
def test_cases_of_another_form(visenv, tmp_path, case, error):
    code, out, _ = visenv("parity", written(tmp_path, cases=[case, GREC["cases"][1]]), "--json")
    told = json.loads(out)["cases"]
    assert code == 1 and error in told[0]["error"] and "error" not in told[1]
    assert ("got" in told[0]) == (isinstance(case, dict) and "expected" in case), (
        "what was computed is shown all the same"
    )


def test_keys_that_nobody_knows_are_no_matter(visenv, tmp_path):
    more = [{**case, "comment": [1], "input": {**case["input"], "unit": "px"}} for case in GREC["cases"]]
    assert visenv("parity", written(tmp_path, cases=more, notes={"a": 1}))[0] == 0


def test_without_expected_there_is_only_what_we_give(visenv, tmp_path):
    bare = [{key: case[key] for key in ("name", "input")} for case in GREC["cases"]]
    path = tmp_path / "blind.json"
    path.write_text(json.dumps({"scorer": "grec", "cases": bare}), encoding="utf-8")
    code, out, _ = visenv("parity", path, "--json")
    told = json.loads(out)
    assert code == 0 and told["compared"] == 0 and told["official"] == ""
    assert [c["got"] for c in told["cases"]] == [c.got for c in run_file(GOLDEN / "grec.json").cases]
    assert "not compared" in " ".join(visenv("parity", path)[1].split())
    path.write_text(json.dumps({"scorer": "grec", "cases": [bare[0], GREC["cases"][1]]}), encoding="utf-8")
    assert visenv("parity", path)[0] == 2, "what is expected needs a tolerance"
    code, out, _ = visenv("parity", written(tmp_path, cases=[bare[0], GREC["cases"][1]]))
    assert code == 0 and "1 of 2" in out


def test_one_file_that_cannot_be_read_costs_no_other_anything(visenv, tmp_path):
    bad, unknown = tmp_path / "bad.json", written(tmp_path, scorer="grecc")
    bad.write_text("{", encoding="utf-8")
    files = [GOLDEN / "grec.json", bad, unknown, tmp_path / "none.json", GOLDEN / "blink.json"]
    code, out, _ = visenv("parity", *files, "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and [t.get("ok") for t in told] == [True, None, None, None, True]
    assert [t["file"] for t in told] == [f.name for f in files]
    assert "Expected" in told[1]["error"] and "'grec'" in told[2]["error"] and "none.json" in told[3]["error"]
    code, out, err = visenv("parity", *files)
    assert code == 1 and out.count(" yes") == 2 and all(f.name in err for f in files[1:4])
    assert visenv("parity", bad, unknown, "--json")[0] == 2, "nothing could be read"


def test_each_file_is_shown_as_it_is_done(monkeypatch, capsys):
    """What comes after may take all day, or the whole process with it."""
    from visenv.leaderboard import scoring_commands

    def stops_at_the_second(path):
        if path.name == "blink.json":
            raise KeyboardInterrupt
        return run_file(path)

    monkeypatch.setattr(scoring_commands, "run_file", stops_at_the_second)
    with pytest.raises(SystemExit):
        main(["parity", str(GOLDEN / "grec.json"), str(GOLDEN / "blink.json"), "--json"])
    assert json.loads(capsys.readouterr().out)["scorer"] == "grec"


@pytest.mark.parametrize(("times", "code"), [(0.5, 0), (2, 1), (5, 1)])
def test_the_tolerance_is_the_file_s(visenv, tmp_path, times, code):
    case = GREC["cases"][0]
    moved = {**case["expected"], "F1_score": case["expected"]["F1_score"] - times * 1e-4}
    path = written(tmp_path, cases=[{**case, "expected": moved}], tolerance={"absolute": 1e-4})
    assert visenv("parity", path)[0] == code


def test_unknown_scorer_and_missing_file(visenv, tmp_path):
    with pytest.raises(UnknownNameError, match="grec"):
        run_file(written(tmp_path, scorer="grecc"))
    assert visenv("parity", written(tmp_path, scorer="grecc"))[0] == 2
    code, _, err = visenv("parity", tmp_path / "none.json")
    assert code == 2 and "none.json" in err
    assert visenv("parity")[0] == 2


def test_the_table_in_the_docs_is_what_comes_out():
    text = (GOLDEN.parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    table = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `") and ".json`" in line]
    for path, line in zip(sorted(GOLDEN.glob("*.json")), table, strict=True):
        found = run_file(path)
        words = [f"`{path.name}`", f"`{found.profile}`", found.official, str(len(found.cases)), f"{found.tolerance:g}"]
        assert line[:5] == words
        assert found.ok and found.difference <= float(line[5]) <= found.tolerance


def test_every_profile_is_in_the_docs():
    text = (GOLDEN.parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [name for name in PROFILES if f"`{name}" not in text.replace("`-multi`", "`reasonseg/segzero-multi`")] == []
