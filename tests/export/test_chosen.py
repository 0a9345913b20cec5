"""Images with their chosen boxes, however many are read together."""

import pytest

from odam_d2.export import chosen as module
from odam_d2.export.chosen import chosen_images, file_name
from odam_d2.store import DetectionRow, ImageRow, RunReader, RunWriter, StoredImage
from odam_d2.store.filters import Filter


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with RunWriter(folder) as writer:
        for number in range(23):
            rows = [DetectionRow((0.0, 0.0, 1.0 + k, 1.0), k, f"{k}", number / 30 + k / 100) for k in range(number % 4)]
            writer.write(StoredImage(ImageRow(number, f"{number}", "a", "a", (9, 9), (9, 9)), None, rows))
    with RunReader(folder) as reader:
        yield reader


@pytest.mark.parametrize("page", [1, 4, 23, 200])
@pytest.mark.parametrize(
    "asked",
    [Filter(), Filter(score=(0.3, None), label=["0", "2"]), Filter(image=[3, 22, 5, 99])],
    ids=["all", "score and class", "images"],
)
def test_pages_join_to_all_images_with_the_boxes_that_are_asked_for(run, monkeypatch, page, asked):
    monkeypatch.setattr(module, "_PAGE", page)
    found = list(chosen_images(run, asked))
    assert [one.image for one in found] == run.images()
    boxes = [(one.image.number, row, box) for one in found for row, box in one.boxes]
    assert boxes == run.detections(asked) and len(boxes) > 1


def test_a_few_images_are_read_at_a_time(run, monkeypatch):
    monkeypatch.setattr(module, "_PAGE", 5)
    asked = []
    read = RunReader.detections
    monkeypatch.setattr(RunReader, "detections", lambda self, chosen: asked.append(chosen.image) or read(self, chosen))
    next(images := chosen_images(run, Filter()))
    assert asked == [[0, 1, 2, 3, 4]]
    assert len(list(images)) == 22 and max(map(len, asked)) == 5 and sum(map(len, asked)) == 23


def test_names_of_files_tell_images_apart():
    names = [file_name(ImageRow(k, "", name, "")) for k, name in enumerate(["a/b.jpg", "a/b.png", "..", "\u0000é"])]
    assert names == ["0000000-b", "0000001-b", "0000002-_", "0000003-_é"]
