"""What the script makes of pytest's last lines and of kept results."""

import json

import pytest

from tests.helpers import load_tool


@pytest.fixture(scope="module")
def tool():
    return load_tool("research/versions")


@pytest.mark.parametrize(
    "text, counts",
    [
        ("....\n4 passed in 2.00s\nskipped for want of: nothing\n", (4, 0, 0, 0)),
        ("== 2 failed, 10 passed, 3 skipped, 1 warning, 6 errors in 61.02s (0:01:01) ==\n", (10, 2, 3, 6)),
        ("FAILED tests/a.py - 5 passed\n1 failed in 3.1s\n", (0, 1, 0, 0)),
        ("Killed\n", (0, 0, 0, 1)),
    ],
)
def test_the_last_line_is_counted(tool, text, counts):
    assert tuple(tool.read_counts(text).values()) == counts


def test_kept_results_are_printed_and_not_run_again(tool, tmp_path, capsys):
    versions = dict.fromkeys(("python", *tool.TOLD), "1.0")
    for name, failed in (("pinned", 0), ("torch-2.4", 2)):
        counts = {"passed": 7, "failed": failed, "skipped": 1, "error": 0}
        (tmp_path / f"{name}.json").write_text(json.dumps({"versions": versions, "counts": counts}))
    assert tool.main(["--folder", str(tmp_path), "--sets", "pinned"]) == 0
    assert tool.main(["--folder", str(tmp_path), "--sets", "pinned", "torch-2.4"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"| torch-2.4 | {' | '.join(['1.0'] * 7)} | 7 | 2 | 1 | 0 |" and len(lines) == 7
