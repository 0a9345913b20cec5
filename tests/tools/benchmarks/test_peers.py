"""tools/benchmarks/peers.py on a made detector whose maps are known by hand, with stand-ins for the other packages."""

import json
import sys
import textwrap
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import load_tool

METRICS = ("pointing_mask", "energy_mask", "pointing_box", "energy_box", "likeness")
PACKAGES = ("pytorch_grad_cam", "captum", "captum.attr")
# Two levels of average colour. The score of the first box is the mean of red over the cells under it, of the second
# the mean of green, on the coarser level; what the third says never changes. Boxes are in pixels of the canvas.
DETECTOR = """
    import torch
    from torch import nn
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    BOXES = torch.tensor([[0.0, 0.0, 16.0, 16.0], [16.0, 16.0, 32.0, 32.0]])

    class Blocks(nn.Module):
        def __init__(self):
            super().__init__()
            self.transform = GeneralizedRCNNTransform(24, 32, [0.5] * 3, [1.0] * 3, size_divisible=16)
            self.fine, self.coarse = nn.AvgPool2d(4), nn.AvgPool2d(8)
            self.nothing = nn.Parameter(torch.zeros(()))

        def forward(self, images):
            found = []
            for image in images:
                batch = self.transform([image])[0].tensors + 0.5
                red, green = self.fine(batch)[0, 0], self.coarse(batch)[0, 1]
                scores = torch.stack([red[:4, :4].mean(), green[2:, 2:].mean()])
                found.append({"boxes": BOXES, "labels": torch.tensor([1, 2]), "scores": scores})
            return found

    def build():
        return Blocks()

    def untransformed():
        return nn.Conv2d(3, 3, 1)
"""


@pytest.fixture(scope="module")
def tool():
    return load_tool("benchmarks/peers")


@pytest.fixture(autouse=True)
def without_packages(monkeypatch):
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A 24 x 32 image with a red and a green square, an annotated object in each, and the detector's file."""
    tmp_path = tmp_path_factory.mktemp("made")
    (tmp_path / "net.py").write_text(textwrap.dedent(DETECTOR))
    pixels = np.zeros((24, 32, 3), dtype=np.uint8)
    pixels[:16, :8, 0] = 255
    pixels[16:, 16:, 1] = 255
    Image.fromarray(pixels).save(tmp_path / "one.png")
    # The mask of the first is the left half of the square that is red, that of the second the lower right.
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 7, "iscrowd": 0, "area": 64, "bbox": [0, 0, 16, 16],
         "segmentation": [[0, 0, 4, 0, 4, 16, 0, 16]]},
        {"id": 2, "image_id": 1, "category_id": 9, "iscrowd": 0, "area": 64, "bbox": [16, 14, 16, 10],
         "segmentation": [[16, 16, 32, 16, 32, 24, 16, 24]]},
    ]  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": "one.png", "height": 24, "width": 32}],
        "categories": [{"id": 7, "name": "red"}, {"id": 9, "name": "green"}],
        "annotations": annotations,
    }
    (tmp_path / "my.json").write_text(json.dumps(content))
    return tmp_path


def arguments(folder, *more, build="build"):
    own = ["--model", f"{folder / 'net.py'}:{build}", "--layers", "fine", "coarse", "--score-threshold", "0.2"]
    about = ["--annotations", str(folder / "my.json"), "--images", str(folder), "--iou-threshold", "0.4"]
    return [*own, *about, "--repeats", "1", "--output", str(folder / "out.json"), *more]


def parts(tool, folder):
    """The subject, the only scene, and the strides of its layers."""
    args = tool.argument_parser().parse_args(arguments(folder))
    subject = tool.build_subject(args)
    (scene,), _ = tool.read_scenes(args, subject)
    return subject, scene, subject.strides(scene.canvas)


def stand_in(monkeypatch, fails_at=None):
    """A pytorch_grad_cam whose maps have all their heat in the first pixel of the box; what it was asked is kept."""
    asked = []

    class Cam:
        def __init__(self, model, target_layers, **options):
            self.layers, self.options = target_layers, options
            self.activations_and_grads = SimpleNamespace(release=lambda: asked.append("released"))

        def __call__(self, input_tensor, targets):
            ((box,),) = [one.bounding_boxes for one in targets]
            asked.append((type(self).__name__, box.tolist(), tuple(input_tensor.shape)))
            if targets[0].labels == [fails_at]:
                raise RuntimeError("no such\n label")
            heat = np.zeros((1, *input_tensor.shape[-2:]), dtype=np.float32)
            heat[0, int(box[1]), int(box[0])] = 1
            return heat

    package, targets = ModuleType("pytorch_grad_cam"), ModuleType("pytorch_grad_cam.utils.model_targets")
    for name in ("GradCAM", "HiResCAM", "EigenCAM"):
        setattr(package, name, type(name, (Cam,), {}))
    targets.FasterRCNNBoxScoreTarget = SimpleNamespace
    for module in (package, ModuleType("pytorch_grad_cam.utils"), targets):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


def test_odams_maps_are_those_worked_out_by_hand(tool, folder):
    subject, scene, strides = parts(tool, folder)
    assert strides == [4.0, 8.0] and scene.levels == ["coarse", "fine"] and scene.canvas.shape == (3, 32, 32)
    kinds = {kind.name: kind for kind in tool.TOOLS}
    # By falling score: green .75, red .5. Gradient 1 / 4 in 2 x 2 green cells, the lower of which are padding and never
    # shown; 1 / 16 in each of 4 x 4 cells, of which the left half is red.
    red, green = torch.zeros(6, 8), torch.zeros(3, 4)
    red[:4, :2], green[2, 2:] = 1 / 16, 1 / 4
    expected = torch.cat(
        [
            torch.nn.functional.interpolate(one[None, None], (24, 32), mode="bilinear", align_corners=False)[0]
            for one in (green, red)
        ]
    )
    for name in ("odam_d2 odam", "odam_d2 odam, one box a call"):
        assert torch.allclose(kinds[name](subject, strides).explain(scene), expected, atol=1e-6)


def test_a_missing_package_is_told_and_left_out(tool, folder, capsys):
    assert tool.main(arguments(folder)) == 0
    printed, figures = capsys.readouterr().out, json.loads((folder / "out.json").read_text())
    assert list(figures["rows"]) == ["odam_d2 odam", "odam_d2 odam, one box a call", "odam_d2 gradcam"]
    assert set(figures["missing"]) == {"grad-cam", "captum"}
    for name in figures["missing"]:
        assert printed.count(f"{name} can't be imported") == 1
    odam = figures["rows"]["odam_d2 odam"]
    assert odam["times_odam"] == [1.0] * 5 and odam["odam_less_this"] == {}
    assert odam["metrics"]["likeness"]["mean"] == pytest.approx(1)
    (timed,) = figures["per_image"]
    assert (timed["image"], timed["boxes"]) == ("one.png", 2)
    assert [timed["seconds_a_map"]["odam_d2 odam"]] * 5 == odam["seconds_a_map"]
    # Where several pixels have the maximum, the first counts, which is in the mask of either.
    assert odam["metrics"]["pointing_mask"]["mean"] == 1 and figures["boxes"] == 2
    assert "detectron2_path" not in figures["versions"] and figures["versions"]["torch"]


def test_all_get_the_same_boxes_and_layers(tool, folder, monkeypatch, capsys):
    asked = stand_in(monkeypatch)
    assert tool.main(arguments(folder)) == 0
    figures = json.loads((folder / "out.json").read_text())
    rows = figures["rows"]
    boxes = [[16.0, 16.0, 32.0, 32.0], [0.0, 0.0, 16.0, 16.0]]
    # Once for the maps and once for the clock.
    for cam, times in (("GradCAM", 2), ("HiResCAM", 4)):
        assert [one[1:] for one in asked if one[0] == cam] == [(box, (1, 3, 32, 32)) for box in boxes] * times
    assert asked.count("released") == len(asked) - asked.count("released")
    # All heat in the first pixel of each box, which is in the mask and in the annotated box.
    hit = rows["grad-cam HiResCAM"]["metrics"]
    assert [hit[name]["mean"] for name in ("pointing_mask", "energy_mask", "pointing_box")] == [1, 1, 1]
    assert {row["boxes"] for row in rows.values()} == {2}
    own = {row["annotation_id"]: row["energy_mask"] for row in figures["per_box"] if row["method"] == "odam_d2 odam"}
    less = rows["grad-cam HiResCAM"]["odam_less_this"]["energy_mask"]
    assert less["mean"] == pytest.approx(np.mean([own["0"] - 1, own["1"] - 1])) and less["odam_is"] == "worse"
    printed = capsys.readouterr().out
    assert f"energy_mask against grad-cam HiResCAM ({less['mean']:+.3f})" in printed.split("ODAM is behind in: ")[1]


def test_what_fails_is_told_box_by_box(tool, folder, monkeypatch, capsys):
    stand_in(monkeypatch, fails_at=2)
    assert tool.main(arguments(folder)) == 0
    printed, figures = capsys.readouterr().out, json.loads((folder / "out.json").read_text())
    row = figures["rows"]["grad-cam GradCAM"]
    assert (row["boxes"], row["explained"], row["first_error"]) == (2, 1, "RuntimeError: no such label")
    assert row["metrics"]["energy_mask"]["mean"] == 1 and row["odam_less_this"]["energy_mask"]["objects"] == 1
    assert "times_odam" not in row  # on the only image it fails
    assert "grad-cam GradCAM failed on 1 of 2 boxes: RuntimeError: no such label" in printed
    # The made detector has no backbone, and the stand-in no reshape transform.
    assert figures["rows"]["grad-cam GradCAM, reshape transform"]["explained"] == 0


def test_what_fails_here_is_an_error(tool, folder, monkeypatch):
    subject, scene, strides = parts(tool, folder)
    odam = tool.Odam(subject, strides)
    monkeypatch.setattr(odam, "explain", lambda scene: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tool.attempt(odam, scene)


def test_times_are_by_map_and_beside_odams(tool, folder, monkeypatch):
    _, scene, _ = parts(tool, folder)
    clock = [0.0]

    def taking(name, seconds):
        def explain(_scene):
            clock[0] += seconds

        return SimpleNamespace(name=name, explain=explain)

    monkeypatch.setattr(tool.time, "process_time", lambda: clock[0])
    names = {"odam_d2 odam": 3.0, "other": 1.5, "failing": 9.0}
    found = tool.time_in_turns([taking(*one) for one in names.items()], scene, {"failing"}, repeats=2)
    # Two boxes: 3 s for both are 1.5 s a map.
    assert found == {"odam_d2 odam": 1.5, "other": 0.75}
    row = {"method": "other", "image_id": "a", "annotation_id": "0", "error": "broken", **dict.fromkeys(METRICS)}
    rows = [row, row | {"method": "odam_d2 odam"}]
    timed = [{"boxes": 2, "seconds_a_map": found}, {"boxes": 1, "seconds_a_map": {"odam_d2 odam": 1.0, "other": 4.0}}]
    kind = SimpleNamespace(name="other", package="nowhere")
    figures = tool.summarise(kind, rows, timed)
    # Ratios .5 and 4: the median of two is their mean, and one image has a single box.
    assert figures["times_odam"][0] == 2.25 and figures["times_odam"][3:] == [0.5, 4.0]
    assert figures["times_odam_of_one_box"] == [4.0] * 5 and figures["timed_images_of_one_box"] == 1
    assert figures["seconds_a_map"][3:] == [0.75, 4.0] and figures["version"] == "unknown"


def test_who_is_behind_is_said_where_it_is_sure(tool):
    figures = load_tool("benchmarks/peer_figures")

    def less(mean, verdict):
        return {"mean": mean, "odam_is": verdict}

    rows = {
        "odam_d2 gradcam": {"package": "odam_d2", "odam_less_this": {"energy_mask": less(0.5, "better")}},
        "A": {
            "package": "a",
            "odam_less_this": {"energy_mask": less(-0.02, "worse"), "pointing_mask": less(0.3, "open"),
                               "energy_box": less(0.0004, "better")},
            "times_odam": [0.5, 0.4, 0.9, 0.1, 2.0],
        },
        "B": {
            "package": "b",
            "odam_less_this": {"energy_mask": less(0.4, "better")},
            "times_odam": [1.1, 0.9, 2.0, 0.0, 3.0],
        },
    }  # fmt: skip
    assert figures.verdicts({"rows": rows}) == [
        "ODAM is behind in: energy_mask against A (-0.020); time against A (x 0.50).",
        "ODAM is ahead in: energy_mask against B (+0.400).",
    ]


def test_a_canvas_is_not_scaled_again(tool, folder):
    subject, scene, _ = parts(tool, folder)
    # The transform brings shorter sides to 24: canvases of 16 and of 64 would be resized.
    for height, width in ((64, 96), (16, 32), (32, 32)):
        canvas = subject.canvas(torch.rand(3, height - 3, width))
        assert canvas.shape == (3, height, width) and bool((canvas[:, -3:] == 0.5).all())
        assert subject.strides(canvas) == [4.0, 8.0]
    assert (subject.min_size, subject.max_size) == (24, 32)


def test_maps_lose_the_padding_and_nothing_else(tool, folder):
    _, scene, _ = parts(tool, folder)
    maps = torch.arange(32.0)[None, :, None].expand(2, 32, 32)
    # The image is as large as its part of the canvas, so nothing is resized.
    assert torch.equal(scene.in_image(maps), maps[:, :24])


@pytest.mark.parametrize(
    "change, message",
    [
        (["--layers", "fine", "finest"], "['finest'], which it lacks"),
        (["--labels", "ids"], "see whether --labels fits"),
        (["--model", "net.py"], "FILE.py:FUNCTION"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tool, folder, capsys, change, message):
    assert tool.main(arguments(folder, *change)) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_detector_needs_a_transform(tool, folder, capsys):
    assert tool.main(arguments(folder, build="untransformed")) == 1
    assert "GeneralizedRCNNTransform" in capsys.readouterr().err
