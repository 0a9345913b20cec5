"""What is told of a run's memory, from samples made by hand; and one short run."""

import json
import sys

import pytest

from tests.helpers import load_tool
from tests.wants import needs


@pytest.fixture(scope="module")
def script():
    return load_tool("research/memory_of_long_runs")


def test_growth_is_told_of_medians_and_of_the_end(script):
    # 100 MB at images 30 to 41 with one peak, 104 MB at 88 to 99, and 130 MB while a page is written.
    samples = [(30, 100.0)] * 5 + [(35, 500.0), (60, 900.0)] + [(90, 104.0)] * 3 + [(100, 130.0), (100, 110.0)]
    assert script.summarise(samples, 100, 30) == {
        "early_mb": 100, "late_mb": 104, "highest_at_the_end_mb": 130, "late_percent": 4, "end_percent": 30,
    }  # fmt: skip


def test_images_are_copied_with_their_annotations(script, tmp_path):
    script.copy_images(tmp_path, 8)
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert len(list((tmp_path / "images").iterdir())) == len(content["images"]) == 8
    ids = [one["id"] for one in content["annotations"]]
    assert len(set(ids)) == len(ids) and {one["image_id"] for one in content["annotations"]} == set(range(1, 9))


@needs("/proc", sys.platform == "linux")
def test_too_few_images_are_refused(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--command", "predictor", "--images", "50"])
    assert "--images must be at least 54" in capsys.readouterr().err
