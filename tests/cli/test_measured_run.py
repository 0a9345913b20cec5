"""What a measuring run knows its images by. The rest is tested with tools/evaluate.py."""

from types import SimpleNamespace

import pytest

from odam_d2.cli.measured_run import MeasuredRun


@pytest.mark.parametrize("inside, named", [(True, "a/0.png"), (False, "0.png")])
def test_files_are_named_as_they_stand_in_the_folder_and_by_their_size(tmp_path, inside, named):
    """Images of a registered data set are in no folder that is known."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(b"12345")
    run = MeasuredRun(SimpleNamespace(images=str(tmp_path) if inside else None))
    run.records = [
        {"image_id": 7, "file_name": str(tmp_path / "a" / "0.png")},
        {"image_id": "x", "file_name": str(tmp_path / "gone.png")},
    ]
    assert run.files() == {"7": f"{named} (5 bytes)", '"x"': "gone.png (missing)"}


def test_a_image_outside_the_folder_has_its_own_name(tmp_path):
    run = MeasuredRun(SimpleNamespace(images=str(tmp_path / "images")))
    run.records = [{"image_id": 1, "file_name": str(tmp_path / "elsewhere" / "0.png")}]
    assert run.files() == {"1": "0.png (missing)"}
