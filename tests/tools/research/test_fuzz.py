"""Files as people have them: a few hundred mutated ones, always the same; tools/research/fuzz.py tries more.

What is checked is in tools/research/fuzz_checks.py; here is shown that it finds what it is for, too.
"""

import json
import signal
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from tests.helpers import load_tool
from tests.tools.research import failing_checks

tool = load_tool("research/fuzz")
import fuzz_cases  # noqa: E402  beside the tool
import fuzz_checks  # noqa: E402

COUNTS = {"coco": 60, "odgt": 60, "image": 80}


@pytest.fixture(scope="module")
def checker():
    with fuzz_checks.Checker() as one:
        yield one


@pytest.mark.parametrize("kind", COUNTS)
def test_mutated_files_are_read_repaired_left_out_or_refused(checker, kind):
    outcomes = set()

    @settings(
        max_examples=COUNTS[kind], derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(fuzz_cases.STRATEGIES[kind])
    def check(case):
        outcome = checker.check(kind, case.data, case.content, case.untouched)
        assert outcome.kind != "fault", outcome.detail
        outcomes.add(outcome.kind)

    check()
    assert "read" in outcomes and len(outcomes) > 1


def test_what_was_not_changed_is_read_as_it_is(checker):
    """The cases that hold nothing but valid content, which the checks above compare with what comes out."""
    seen = Counter()

    @settings(
        max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )  # fmt: skip
    @given(fuzz_cases.coco_content())
    def check(content):
        outcome = checker.check("coco", json.dumps(content).encode(), content, set(fuzz_cases.places(content)))
        assert (outcome.kind, outcome.detail) == ("read", "")
        seen.update(outcome.counts)

    check()
    assert seen["as_they_are"] == seen["all"] > 10


def test_a_change_of_what_is_called_untouched_is_found(checker):
    box, other = [2, 3, 10, 11], [2, 3, 10, 12]
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 24, "width": 32}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0}],
    }
    data = json.dumps(content).replace(str(box), str(other)).encode()
    outcome = checker.check("coco", data, content, set(fuzz_cases.places(content)))
    assert outcome.kind == "fault" and "became another one" in outcome.detail
    assert checker.check("coco", data, content, {("images",)}).kind == "read"

    line = {"ID": fuzz_cases.ODGT_IDS[0], "gtboxes": [{"tag": "person", "fbox": box, "vbox": box}]}
    data = json.dumps([line]).replace(f'"fbox": {box}', f'"fbox": {other}')[1:-1].encode()
    outcome = checker.check("odgt", data, [line], set(fuzz_cases.places([line])))
    assert outcome.kind == "fault" and "changed" in outcome.detail


def test_a_process_that_dies_or_takes_too_long_is_a_fault_like_any_other():
    checks = {name: getattr(failing_checks, name) for name in ("die", "hang", "fail", "fine")}
    with fuzz_checks.Checker(checks, most_seconds=1) as own:
        found = {kind: own.check(kind, b"x") for kind in checks}
        assert own.check("fine", b"x").kind == "read"
    assert [found[kind].kind for kind in checks] == ["fault", "fault", "fault", "read"]
    assert found["die"].signature == f"the process ended with {-signal.SIGSEGV}"
    assert found["hang"].signature == "took more than 1 s"
    assert found["fail"].signature == "KeyError" and "nobody expects this" in found["fail"].detail


@pytest.mark.parametrize("sentence, clear", [
    ("`x` must be 3; got 4: take 3", True),
    ("'utf-8' codec can't decode byte 0xff", False),
    ("`x` must be 3; got\n4: take 3", False),
])  # fmt: skip
def test_what_one_of_our_sentences_is(sentence, clear):
    try:
        fuzz_checks.require_one_sentence(ValueError(sentence))
    except fuzz_checks.BrokenError:
        assert not clear
    else:
        assert clear


def test_the_tool_counts_and_keeps_the_shortest_file_of_each_fault(tmp_path, monkeypatch, capsys):
    class Picky:
        """Finds fault with every other case."""

        def __init__(self):
            self.count = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def check(self, kind, data, content, untouched):
            self.count += 1
            if self.count % 2:
                return fuzz_checks.Outcome("read", counts={"all": 2}, warned=["UserWarning: old"])
            lengths.append(len(data))
            return fuzz_checks.Outcome("fault", "the same", f"{len(data)} bytes")

    lengths = []
    monkeypatch.setattr(tool, "Checker", Picky)
    assert tool.main(["--images", "20", "--output", str(tmp_path)]) == 1
    found = json.loads((tmp_path / "fuzz.json").read_text())
    assert found["image"]["outcomes"] == {"read": 10, "fault": 10} and found["coco"]["files"] == 0
    assert found["image"]["entries"] == {"all": 20} and found["image"]["warnings"] == {"UserWarning: old": 10}
    (fault,) = found["image"]["faults"]
    assert (fault["what"], fault["count"]) == ("the same", 10)
    assert (tmp_path / fault["file"]).stat().st_size == min(lengths) and fault["detail"] == f"{min(lengths)} bytes"
    assert "image: the same (10)" in capsys.readouterr().out
