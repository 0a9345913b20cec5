"""tools/visualize_data.py, end to end on small synthetic data."""

import re

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

from odam_d2.data.synthetic import catalog
from tests.helpers import load_command


@pytest.fixture(scope="module")
def tool():
    return load_command("visualize_data")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    name = "test_visualize_data"
    catalog.register_synthetic(name, "scene", "val", str(tmp_path_factory.mktemp("data") / name), 3)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_writes_images_and_a_montage(tool, dataset, tmp_path):
    sheet = tmp_path / "sheet.png"
    arguments = [
        "--dataset-name",
        dataset,
        "--num",
        "3",
        "--output-dir",
        str(tmp_path / "out"),
        "--montage",
        str(sheet),
    ]
    assert tool.main([*arguments, "--columns", "2", "--cell", "80", "60"]) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{dataset}_{k:06d}.jpg" for k in range(3)]
    image = cv2.imread(str(sheet))
    assert image.shape == (120, 160, 3)
    assert (image[60:, 80:] == 255).all()  # three images in two columns: the last cell is empty
    drawn = cv2.imread(str(tmp_path / "out" / names[0])).astype(int)
    plain = cv2.imread(DatasetCatalog.get(dataset)[0]["file_name"]).astype(int)
    assert drawn.shape == plain.shape and np.abs(drawn - plain).max() > 60


def test_shows_what_training_sees(tool, dataset, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"DATASETS: {{TRAIN: ['{dataset}']}}\nINPUT: {{MIN_SIZE_TRAIN: [240]}}\n")
    out = tmp_path / "out"
    options = ["--source", "dataloader", "--config-file", str(config), "--num", "2", "--output-dir", str(out)]
    assert tool.main(options) == 0
    images = [cv2.imread(str(path)) for path in sorted(out.iterdir())]
    assert [image.shape for image in images] == [(240, 320, 3)] * 2


def test_draws_boxes_where_they_are(tool):
    annotation = {"bbox": [4, 6, 20, 10], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    drawn = tool.draw_annotations(np.zeros((30, 40, 3), np.uint8), [annotation], ["person"])
    ys, xs = np.nonzero(drawn.any(axis=2))
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (4, 6, 23, 15)


def test_wants_somewhere_to_write_to(tool, capsys):
    with pytest.raises(SystemExit, match="2"):
        tool.main(["--num", "1"])
    assert "--output-dir" in capsys.readouterr().err


def test_what_can_not_be_drawn_or_written_is_said_in_a_sentence(tool, dataset, tmp_path, capsys):
    assert tool.main(["--dataset-name", "nothing", "--output-dir", str(tmp_path)]) == 1
    assert "error: `--dataset-name` must be registered; got 'nothing'" in capsys.readouterr().err
    assert tool.main(["--dataset-name", dataset, "--num", "1", "--montage", str(tmp_path / "sheet.bmp")]) == 1
    assert re.search("error: .* must end in .jpg or .png; got .*sheet.bmp", capsys.readouterr().err)


@pytest.fixture
def odd(tmp_path):
    """A data set whose images and classes are called as users call them; one of its images is torn."""
    names = ["a/1.tif", "b/1.tif", "a/x.JPG", "a/x.png", f"a/{'犬' * 83}.png", "a/$x$ #?.webp", "a/torn.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((30, 60, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "a" / "torn.png").write_bytes(b"torn")
    classes = ["$x^2$", "犬\n" * 200, "", "\0", "<script>", "كلب"]
    items = [
        {"bbox": [1, 1, 50, 25], "bbox_mode": BoxMode.XYWH_ABS, "category_id": number} for number in [*range(6), 77]
    ]
    records = [
        {"file_name": str(tmp_path / name), "image_id": k, "height": 30, "width": 60, "annotations": items}
        for k, name in enumerate(names)
    ]
    DatasetCatalog.register("odd", lambda: records)
    MetadataCatalog.get("odd").thing_classes = classes
    yield "odd"
    DatasetCatalog.remove("odd")
    MetadataCatalog.remove("odd")


def test_images_and_classes_of_any_name(tool, odd, tmp_path, capsys):
    """A dataset's folder as the output keeps its images as they are; a torn image is named, and the rest is drawn."""
    before = {path: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    for _ in range(2):
        assert tool.main(["--dataset-name", odd, "--output-dir", str(tmp_path / "a")]) == 1
        assert re.search("failed: .*torn.png': its content is of no known image format", capsys.readouterr().err)
        assert all(path.read_bytes() == content for path, content in before.items())
        made = sorted(path.name for path in (tmp_path / "a").iterdir() if path not in before)
        assert made[:3] == ["$x$ #_-2.png", "1-2.png", "1-3.png"] or made[:3] == ["$x$ #_.png", "1-2.png", "1-3.png"]
        assert len(made) == 6 and {"x-2.jpg", "x-3.png"} < set(made)
        assert all(cv2.imread(str(tmp_path / "a" / name)).any() for name in made)


def test_a_label_is_drawn_in_its_box(tool):
    """A Greek name, which OpenCV would draw as question marks, is drawn in the colour of its box."""
    annotation = {"bbox": [10, 10, 80, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    drawn, plain = (
        tool.draw_annotations(np.zeros((60, 100, 3), np.uint8), [annotation], names) for names in (["a", "Ωμ"], ["a"])
    )
    ys, xs = np.nonzero((drawn != plain).any(axis=2))
    assert 12 <= xs.min() and xs.max() < 40 and 11 <= ys.min() and ys.max() < 30
