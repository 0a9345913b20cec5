"""``python -m odam_d2.env``."""

import json
import runpy
import sys

import detectron2
import torch

import odam_d2
from odam_d2.env import collect_versions, format_versions


def test_versions_are_what_is_imported():
    versions = collect_versions()
    assert versions["odam_d2"] == odam_d2.__version__
    assert versions["torch"] == torch.__version__
    assert versions["detectron2"].startswith(detectron2.__version__)
    assert versions["cuda_devices"] == [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]


def test_detectron2_is_told_apart():
    expected = "official" if detectron2.__name__ == "detectron2" else "LabGym"
    assert expected in collect_versions()["detectron2"]


def test_versions_go_into_json():
    versions = collect_versions()
    assert json.loads(json.dumps(versions)) == versions


def test_a_machine_without_opencv_is_described_too(monkeypatch):
    assert collect_versions()["opencv"][0].isdigit()
    monkeypatch.setitem(sys.modules, "cv2", None)  # an import of it fails now
    assert collect_versions()["opencv"].startswith("not usable: ")


def test_table_has_a_row_for_each():
    rows = format_versions().splitlines()[1:-1]  # between the two rules
    assert [row.split()[0] for row in rows] == list(collect_versions())


def test_runs_as_a_script(capsys):
    runpy.run_path(str(odam_d2.__path__[0]) + "/env.py", run_name="__main__")
    assert capsys.readouterr().out.strip() == format_versions()
