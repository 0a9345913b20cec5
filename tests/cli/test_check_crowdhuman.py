"""tools/check_crowdhuman.py on a few lines, good and bad."""

import json
import re

import pytest
from PIL import Image

from odam_d2.data.crowdhuman import load_crowdhuman
from tests.helpers import load_command


@pytest.fixture(scope="module")
def tool():
    return load_command("check_crowdhuman")


@pytest.fixture
def odgt(tmp_path):
    """Two good lines; between them one that was cut short and one without its image."""
    whole = {"tag": "person", "fbox": [0, 0, 10, 10], "vbox": [0, 0, 10, 5]}  # half seen: heavily hidden
    region, sizeless = {**whole, "tag": "mask"}, {**whole, "fbox": [0, 0, 0, 10]}
    for ident in "ab":
        Image.new("RGB", (30, 20)).save(tmp_path / f"{ident}.jpg")
    lines = [
        json.dumps({"ID": "a", "gtboxes": [whole, whole, region, sizeless]}),
        '{"ID": "c", "gtbo',
        json.dumps({"ID": "gone", "gtboxes": []}),
        json.dumps({"ID": "b", "gtboxes": []}),
    ]
    (tmp_path / "x.odgt").write_text("\n".join(lines))
    return tmp_path / "x.odgt"


def test_stops_at_the_first_bad_line(tool, odgt, capsys):
    assert tool.main(["--odgt", str(odgt), "--images", str(odgt.parent)]) == 1
    assert re.search(r"^error: .*line 2 of .*x\.odgt' is no JSON .*--skip-bad", capsys.readouterr().err)


def test_counts_and_leaves_out(tool, odgt, capsys):
    good = odgt.with_name("good.odgt")
    assert tool.main(["--odgt", str(odgt), "--images", str(odgt.parent), "--skip-bad", "--write", str(good)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("left out: line 2 of ") and printed[1].startswith("left out: line 3 of ")
    assert printed[2] == f"Annotations {odgt}: 4 images (2 left out), 4 annotations (1 left out)."
    (box,) = (line for line in printed if "the box has no size" in line)
    assert box.endswith("e.g. annotation 'box 3 of line 1' of image 'a': [0, 0, 0, 10]")
    begin = next(number for number, line in enumerate(printed) if line.startswith("images "))
    counts = {line.rsplit(maxsplit=1)[0].strip(): line.rsplit(maxsplit=1)[1] for line in printed[begin:-1]}
    assert counts == {
        "images": "2", "people": "2", "ignore regions": "1", "annotations that can't be used, left out": "1",
        "bad lines, left out": "2", "people, bare": "0", "people, partial": "0", "people, heavy": "2",
        "people, crowd_bare": "0", "people, crowd_partial": "0", "people, crowd_heavy": "2",
    }  # fmt: skip
    assert printed[-1] == f"wrote 2 lines to {good}"
    lines = odgt.read_text().splitlines()
    assert good.read_text().splitlines() == [lines[0], lines[3]]
    assert [record["image_id"] for record in load_crowdhuman(good, odgt.parent)] == ["a", "b"]
