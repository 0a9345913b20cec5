"""tools/explain.py from end to end, in process, on tiny images and a detector with random weights."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from PIL import Image

from odam_d2 import model_zoo
from odam_d2.cli import explain_run, image_explainer
from odam_d2.store import RunReader
from odam_d2.visualize.storage import load_heatmaps
from tests.helpers import load_command
from tests.wants import needs

ROOT = Path(__file__).resolve().parents[2]
ZOO_NAME = "synthetic/faster_rcnn_compact_FPN"  # three classes, of which a random detector says each with about .25
TINY = [
    "MODEL.DEVICE",
    "cpu",
    "INPUT.MIN_SIZE_TEST",
    "32",
    "INPUT.MAX_SIZE_TEST",
    "64",
    "MODEL.RPN.POST_NMS_TOPK_TEST",
    "20",
]


@pytest.fixture(scope="module")
def tool():
    return load_command("explain")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of the detector at a random start, one value drawn for all tests."""
    torch.manual_seed(0)
    model = build_model(model_zoo.get_config(ZOO_NAME, trained=False))
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({"model": model.state_dict(), "iteration": 1}, path)
    return path


@pytest.fixture
def run(tool, weights, tmp_path):
    """Calls the tool with its usual arguments and returns exit code and output folder."""

    def call(source, *options, threshold="0.1", opts=(), config=ZOO_NAME, checkpoint=weights):
        output = tmp_path / "out"
        arguments = ["--config-file", config, "--input", source, "--output", output, "--max-detections", "2"]
        arguments += ["--score-threshold", threshold, *options, *TINY, *opts]
        arguments += ["MODEL.WEIGHTS", checkpoint] if checkpoint else []
        return tool.main([str(a) for a in arguments]), output

    return call


def image(path, height=40, width=60, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def report_data(output):
    """What the report says of the run, and of its images, which the page takes from the run's rows."""
    page = (output / "report" / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    with RunReader(output) as reader:
        stored = [reader.image(one.number, maps=False) for one in reader.images()]
    assert data.pop("images") == len(stored)
    data.pop("folder")  # another one each time
    return data | {"images": [
        {
            "name": one.image.name,
            "error": one.image.failure,
            "detections": [vars(row) for row in one.detections],
            "annotations": None if one.annotations is None else [vars(row) for row in one.annotations],
        }
        for one in stored
    ]}  # fmt: skip


def run_json(output):
    return json.loads((output / "run.json").read_text())


def left_overs(folder):
    return [p for p in folder.rglob("*") if p.name.endswith(".tmp")]


def test_one_image(run, tmp_path, capsys):
    code, output = run(image(tmp_path / "cat.jpg"))
    assert code == 0
    assert sorted(p.name for p in output.iterdir()) == ["cat", "report", "run.json", "store"]
    names = sorted(p.name for p in (output / "cat").iterdir())
    instances = load_heatmaps(output / "cat" / "heatmaps.npz")
    assert len(instances) == 2 and instances.image_size == (40, 60)
    labels = instances.pred_classes.tolist()
    class_names = MetadataCatalog.get("synthetic_scene_val").thing_classes
    strips = [f"det_00{k}_{class_names[labels[k]]}_{instances.scores[k]:.2f}.jpg" for k in range(2)]
    assert names == sorted(["heatmaps.npz", "overlay.jpg", *strips])
    for name in ["overlay.jpg", *strips]:
        Image.open(output / "cat" / name).load()
    data = report_data(output)
    assert data["names"] == ["score", "left", "top", "right", "bottom", "combined"]
    boxes = [d["box"] for d in data["images"][0]["detections"]]
    np.testing.assert_allclose(boxes, instances.pred_boxes.tensor.numpy(), atol=0.006)
    told = run_json(output)
    assert told["images"] == [{"file": str(tmp_path / "cat.jpg"), "folder": "cat", "detections": 2}]
    assert told["failures"] == [] and told["method"] == "odam" and "torch" in told["versions"]
    printed = capsys.readouterr().out
    assert f"Report: {output / 'report' / 'index.html'}" in printed and "1 images, 2 detections, 0 failed" in printed
    assert not left_overs(output)


def test_the_maps_are_those_of_the_library(run, weights, tmp_path):
    # The same image through build_explainer by hand: resized, BGR, planes first.
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.data import transforms

    from odam_d2.explain import build_explainer

    _, output = run(image(tmp_path / "cat.png"))
    cfg = model_zoo.get_config(ZOO_NAME, trained=False)
    cfg.merge_from_list([*TINY, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.1, "TEST.DETECTIONS_PER_IMAGE", 2])
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(str(weights))
    pixels = np.asarray(Image.open(tmp_path / "cat.png"))[:, :, ::-1]
    pixels = transforms.ResizeShortestEdge([32, 32], 64).get_transform(pixels).apply_image(pixels)
    tensor = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1).copy())
    expected = build_explainer(model)([{"image": tensor, "height": 40, "width": 60}])[0]["instances"]
    found = load_heatmaps(output / "cat" / "heatmaps.npz")
    assert torch.equal(found.scores, expected.scores)
    torch.testing.assert_close(found.heatmaps.values, expected.heatmaps.values.detach())


def test_a_bad_image_is_named_and_the_rest_goes_on(run, tmp_path, capsys):
    folder = tmp_path / "images"
    image(folder / "good.png")
    image(folder / "<script>alert(1)<!--.png")
    image(folder / "dot.png", 1, 1)
    image(folder / "wide.png", 600, 8000)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("hello")
    code, output = run(folder)
    told, data, errors = run_json(output), report_data(output), capsys.readouterr().err
    assert code == 1
    assert [Path(f["file"]).name for f in told["failures"]] == ["empty.jpg", "text.jpg"]
    assert "the file is empty" in told["failures"][0]["error"] and "traceback" not in told["failures"][0]
    assert len(told["images"]) == 4 and all(p["detections"] == 2 for p in told["images"])
    assert {p["name"]: p["error"] is not None for p in data["images"]} == {
        "good.png": False, "<script>alert(1)<!--.png": False, "dot.png": False, "wide.png": False,
        "empty.jpg": True, "text.jpg": True,
    }  # fmt: skip
    assert f"failed: {folder / 'empty.jpg'}: " in errors and f"failed: {folder / 'text.jpg'}: " in errors
    assert not (output / "empty").exists() and not left_overs(output)


def test_no_detections(run, tmp_path):
    code, output = run(image(tmp_path / "cat.jpg"), threshold="1.0")
    assert code == 0
    instances = load_heatmaps(output / "cat" / "heatmaps.npz")
    assert len(instances) == 0 and len(instances.heatmaps) == 0
    assert sorted(p.name for p in (output / "cat").iterdir()) == ["heatmaps.npz", "overlay.jpg"]
    data = report_data(output)
    assert data["empty"] == "No detections: nothing in these images scored 1 or more."
    assert data["images"][0]["detections"] == []


def test_same_names_in_different_folders(run, tmp_path):
    for k, name in enumerate(("a/cat.png", "b/cat.png", "b/CAT.jpg", "b/run.json.png")):
        image(tmp_path / "images" / name, seed=k)
    code, output = run(tmp_path / "images" / "*" / "*.*")
    assert code == 0
    told = run_json(output)["images"]
    assert {str(Path(p["file"]).relative_to(tmp_path / "images")): p["folder"] for p in told} == {
        "a/cat.png": "cat", "b/CAT.jpg": "CAT-2", "b/cat.png": "cat-3", "b/run.json.png": "run.json-2",
    }  # fmt: skip
    assert [p["name"] for p in report_data(output)["images"]] == [
        "a/cat.png", "b/CAT.jpg", "b/cat.png", "b/run.json.png",
    ]  # fmt: skip
    scores = [load_heatmaps(output / p["folder"] / "heatmaps.npz").heatmaps.values for p in told]
    assert not any(torch.equal(scores[0], other) for other in scores[1:])


def test_files_stay_in_the_output_whatever_images_and_classes_are_called(tool, run, tmp_path, monkeypatch):
    kept = [tmp_path / name for name in ("overlay.jpg", "heatmaps.npz", "det_000_cat_0.98.jpg")]
    for path in kept:
        path.write_text("somebody's own")
    for k, name in enumerate(("...jpg", "..jpg", ".jpg", " .png", "CON.png", "x" * 251 + ".png", "a\nb.png")):
        (tmp_path / "odd").mkdir(exist_ok=True)
        image(tmp_path / "plain.png", seed=k).rename(tmp_path / "odd" / name)
    monkeypatch.setattr(image_explainer, "class_name", lambda *_: "../../up " + "y" * 300)
    code, output = run(tmp_path / "odd")
    assert code == 0 and [path.read_text() for path in kept] == ["somebody's own"] * 3
    folders = {told["folder"] for told in run_json(output)["images"]}
    assert folders >= {"_", "_-2", "_jpg", "_-3", "_CON", "a_b"} and len(folders) == 7
    assert {p.name for p in output.iterdir()} == {*folders, "report", "run.json", "store"}
    assert {p.name for p in tmp_path.iterdir()} == {"odd", "out", *(path.name for path in kept)}
    for folder in folders:
        found = sorted(p.name for p in (output / folder).iterdir())
        assert found[0].startswith("det_000___.._up_yyy") and found[2:] == ["heatmaps.npz", "overlay.jpg"]


def test_a_second_run_leaves_nothing_of_the_first(run, tmp_path):
    path = image(tmp_path / "cat.png")
    _, output = run(path)
    (output / "cat" / "notes.txt").write_text("mine")
    run(path, threshold="1.0")
    assert sorted(p.name for p in (output / "cat").iterdir()) == ["heatmaps.npz", "notes.txt", "overlay.jpg"]
    path.write_text("broken")
    run(path)
    assert [p.name for p in (output / "cat").iterdir()] == ["notes.txt"]


@pytest.fixture
def annotations(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "cat.png", "height": 40, "width": 60}],
        "annotations": [
            {"image_id": 1, "bbox": [5, 6, 20, 30], "category_id": 10},
            {"image_id": 1, "bbox": [30, 0, 30, 40], "category_id": 11},
            {"image_id": 1, "bbox": [0, 0, 60, 40], "category_id": 10, "iscrowd": 1},
        ],
        "categories": [{"id": 10, "name": "dog"}, {"id": 11, "name": "zebra"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    return tmp_path / "a.json"


def test_names_of_another_number_of_classes_end_the_run(run, tmp_path, capsys):
    """A config of three classes with COCO's data sets: its dogs are no bicycles."""
    opts = ["DATASETS.TEST", "('coco_2017_val',)", "DATASETS.TRAIN", "('coco_2017_train',)"]
    code, output = run(image(tmp_path / "cat.png"), opts=opts)
    assert code == 1 and "got 80 names" in capsys.readouterr().err and not output.exists()


@pytest.mark.parametrize("categories, fits", [(["group", "person", "dog", "car"], True), (["person", "dog"], False)])
def test_categories_of_a_detector_without_names(run, tmp_path, annotations, capsys, categories, fits):
    content = json.loads(annotations.read_text())
    content["categories"] = [{"id": k, "name": name} for k, name in enumerate(categories)]
    content["annotations"] = [{"image_id": 1, "bbox": [5, 6, 20, 30], "category_id": categories.index("dog")}]
    annotations.write_text(json.dumps(content))
    options = ("--annotations", annotations, "--explain", "annotations")
    nameless = ["DATASETS.TEST", "()", "DATASETS.TRAIN", "()"]
    code, output = run(image(tmp_path / "cat.png"), *options, opts=nameless)
    if fits:
        (found,) = report_data(output)["images"][0]["detections"]
        assert code == 0 and found["label"] == "dog"
    else:
        assert code == 1 and "has 2, ['person', 'dog'], the detector 3 classes" in capsys.readouterr().err


def test_annotated_categories_that_the_detector_lacks_are_told(run, tmp_path, annotations, capsys):
    _, output = run(image(tmp_path / "cat.png"), "--annotations", annotations)
    assert "The detector has no class for 'zebra'" in capsys.readouterr().err
    with RunReader(output) as reader:
        assert reader.run["categories"] == [{"id": 10, "name": "dog"}]
        assert reader.images()[0].facts["image_id"] == 1


@pytest.mark.parametrize("strips, drawn", [(0, []), (1, ["0"]), (9, ["0", "1"])])
def test_strips_are_drawn_of_the_best(run, tmp_path, strips, drawn):
    _, output = run(image(tmp_path / "cat.png"), "--strips", strips)
    assert sorted(p.name[6] for p in (output / "cat").glob("det_*.jpg")) == drawn
    assert len(report_data(output)["images"][0]["detections"]) == 2


def test_files_that_can_not_be_written_are_told_of_their_image(run, tool, tmp_path, monkeypatch, capsys):
    """The files of an image are written while the next is explained; entries keep their order all the same."""
    for k in range(7):
        image(tmp_path / "images" / f"{k}.png", seed=k)
    original = image_explainer.save_heatmaps

    def save(path, *rest):
        if path.parent.name == "2":
            raise OSError("no space left")
        original(path, *rest)

    monkeypatch.setattr(image_explainer, "save_heatmaps", save)
    code, output = run(tmp_path / "images")
    assert code == 1 and [Path(f["file"]).name for f in run_json(output)["failures"]] == ["2.png"]
    assert [p["name"] for p in report_data(output)["images"]] == [f"{k}.png" for k in range(7)]
    assert "2.png: no space left" in capsys.readouterr().err


def test_annotated_boxes_can_be_explained(run, tmp_path, annotations, capsys):
    image(tmp_path / "cat.png")
    code, output = run(tmp_path / "cat.png", "--annotations", annotations, "--explain", "annotations")
    assert code == 0
    instances = load_heatmaps(output / "cat" / "heatmaps.npz")
    dog = MetadataCatalog.get("synthetic_scene_val").thing_classes.index("dog")
    # The detector knows person, dog and car: the zebra and the crowd are shown, not explained.
    assert instances.pred_boxes.tensor.tolist() == [[5.0, 6.0, 25.0, 36.0]] and instances.pred_classes.tolist() == [dog]
    assert 0.0 < float(instances.scores[0]) < 1.0 and float(instances.heatmaps.values.max()) > 0
    data = report_data(output)
    assert data["noun"] == "annotated box" and data["images"][0]["detections"][0]["verdict"] is None
    assert [a["label"] for a in data["images"][0]["annotations"]] == ["dog", "zebra", "dog"]
    assert "1 images, 1 annotated boxes, 0 failed" in capsys.readouterr().out


def test_detections_are_compared_with_annotations(run, tmp_path, annotations):
    image(tmp_path / "cat.png")
    _, output = run(tmp_path / "cat.png", "--annotations", annotations)
    assert {d["verdict"] for d in report_data(output)["images"][0]["detections"]} <= {
        "background",
        "both",
        "localisation",
    }


def test_a_image_that_the_annotations_do_not_know(run, tmp_path, annotations):
    image(tmp_path / "stranger.png")
    code, output = run(tmp_path / "stranger.png", "--annotations", annotations, "--explain", "annotations")
    assert code == 1 and "must know the image" in run_json(output)["failures"][0]["error"]
    code, output = run(tmp_path / "stranger.png", "--annotations", annotations)
    assert code == 0 and report_data(output)["images"][0]["annotations"] is None


@pytest.mark.parametrize(
    "options, known",
    [
        (("--attributes", "score", "beauty"), r"'score', 'logit', .*'combined'.*'beauty'"),
        (("--method", "magic"), r"`method` must be one of \[.*'odam'.*\]; got 'magic'"),
        (("--method", "gcame", "--method-option", "breadth=1"), r"among \['width'\]; got \['breadth'\]"),
        (("--method-option", "width"), "must be NAME=VALUE; got 'width'"),
        (("--method", "drise", "--attributes", "left"), r"must be among \['score'\] for method 'drise'"),
        (("--method", "gradcam", "--smoothing", "0.1"), "must be 0 for method 'gradcam'"),
        (("--engine", "steam"), r"`engine` must be one of \['auto', .*'autograd'.*\]; got 'steam'"),
        (("--layer", "backbone.nonsense"), r"backbone\.nonsense"),
        (("--smoothing", "-1"), "`smoothing` must be a number >= 0"),
        (("--explain", "annotations"), "--explain annotations needs --annotations"),
        (("--score-threshold", "1.5"), r"must be in \[0, 1\]; got 1\.5"),
        (("--max-detections", "0"), "must be at least 1; got 0"),
        (("--strips", "-1"), "must be at least 0; got -1"),
    ],
)
def test_wrong_arguments_end_before_any_image(run, tool, tmp_path, monkeypatch, capsys, options, known):
    read = []
    monkeypatch.setattr(image_explainer, "read_with_remarks", read.append)
    with pytest.raises(SystemExit) as stop:
        run(image(tmp_path / "cat.png"), *options, "--output", tmp_path / "out")
    assert stop.value.code == 2 and re.search(known, capsys.readouterr().err)
    assert read == [] and not (tmp_path / "out").exists()


def change(weights, tmp_path, edit):
    content = torch.load(weights, weights_only=True)
    edit(content["model"])
    torch.save(content, tmp_path / "changed.pth")
    return tmp_path / "changed.pth"


BIAS = "roi_heads.box_predictor.cls_score.bias"


@pytest.mark.parametrize(
    "edit, named",
    [
        (lambda w: w.pop(BIAS), f"1 missing ({BIAS})"),
        (lambda w: w.update({"roi_heads.tail": torch.zeros(1)}), "1 unexpected (roi_heads.tail)"),
        (lambda w: w.update({BIAS: torch.zeros(81)}), f"1 of another shape ({BIAS} (81,) instead of (4,))"),
    ],
)
def test_a_checkpoint_that_does_not_fit(run, weights, tmp_path, capsys, edit, named):
    code, output = run(image(tmp_path / "cat.png"), checkpoint=change(weights, tmp_path, edit))
    assert code == 1 and named in capsys.readouterr().err and not output.exists()


def test_weights_that_are_not_numbers(run, weights, tmp_path, capsys):
    def edit(content):
        content["backbone.fpn_output2.bias"][0] = float("nan")

    code, output = run(image(tmp_path / "cat.png"), checkpoint=change(weights, tmp_path, edit))
    (failure,) = run_json(output)["failures"]
    assert code == 1 and failure["type"] == "FloatingPointError" and "backbone.fpn_output2.bias" in failure["error"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"source": "empty"}, r"a folder with images; got '.*empty'"),
        ({"source": "none/*.jpg"}, r"a pattern that matches files; got '.*none/\*\.jpg'"),
        ({"config": "synthetic/nonsense"}, f"got 'synthetic/nonsense': .*{ZOO_NAME}"),
        ({"checkpoint": "none.pth"}, r"must be a checkpoint file; got 'none\.pth'"),
        ({"config": "Base-Compact-RCNN-FPN", "checkpoint": None}, "MODEL.WEIGHTS must name a checkpoint"),
        ({"opts": ["MODEL.NONSENSE", "1"]}, "MODEL.NONSENSE, which neither Detectron2 nor"),
        ({"opts": ["INPUT.FORMAT", "HSV"]}, "`input_format` must be one of .*; got 'HSV'"),
        ({"opts": ["MODEL.BACKBONE.NAME", "nonsense"]}, "building it failed: .*nonsense"),
        ({"options": ["--import", "no_such_module"]}, "'no_such_module', which failed with ModuleNotFoundError"),
        ({"options": ["--annotations", "none.json"]}, "COCO format; got 'none.json': .*No such file"),
    ],
)
def test_a_set_up_that_fails(run, tmp_path, capsys, changes, message):
    (tmp_path / "empty").mkdir()
    changes = dict(changes)
    options = changes.pop("options", [])
    source = tmp_path / changes.pop("source") if "source" in changes else image(tmp_path / "cat.png")
    code, output = run(source, *options, **changes)
    assert code == 1 and re.search(f"error: .*{message}", capsys.readouterr().err, re.DOTALL)
    assert not output.exists()


def test_an_import_comes_before_the_config(run, tmp_path):
    (tmp_path / "my_backbone.py").write_text(
        "from detectron2.modeling import BACKBONE_REGISTRY\n"
        "from odam_d2.modeling import build_compact_resnet_fpn_backbone\n"
        "@BACKBONE_REGISTRY.register()\n"
        "def build_my_test_backbone(cfg, shape):\n"
        "    return build_compact_resnet_fpn_backbone(cfg, shape)\n"
    )
    source, opts = image(tmp_path / "cat.png"), ["MODEL.BACKBONE.NAME", "build_my_test_backbone"]
    assert run(source, "--import", tmp_path / "my_backbone.py", opts=opts)[0] == 0


def test_options_come_from_the_config_where_not_given(run, tmp_path):
    opts = ["ODAM.ATTRIBUTES", "('logit',)", "ODAM.SMOOTHING", "0.2", "ODAM.ENGINE", "autograd"]
    source = image(tmp_path / "cat.png")
    _, output = run(source, opts=opts)
    told = run_json(output)
    assert (told["attributes"], told["smoothing"], told["engine"]) == (["logit"], 0.2, "autograd")
    _, output = run(source, "--attributes", "left", "--engine", "auto", "--smoothing", "0", opts=opts)
    told = run_json(output)
    assert (told["attributes"], told["smoothing"], told["engine"]) == (["left"], 0.0, "auto")
    assert load_heatmaps(output / "cat" / "heatmaps.npz").heatmaps.attributes == ("left",)


@pytest.mark.parametrize(
    "method, options", [("gradcam++", {}), ("gcame", {"width": 0.5}), ("drise", {"num_masks": 2, "progress": False})]
)
def test_a_method_with_its_options(run, tmp_path, method, options):
    given = [f"--method-option={name}={json.dumps(value)}" for name, value in options.items()]
    code, output = run(image(tmp_path / "cat.png"), "--method", method, *given)
    told = run_json(output)
    assert code == 0 and told["failures"] == []
    assert (told["method"], told["method_options"]) == (method, options)
    heatmaps = load_heatmaps(output / "cat" / "heatmaps.npz").heatmaps
    assert heatmaps.attributes == (("score",) if method == "drise" else ("score", "left", "top", "right", "bottom"))


def test_rgb_detectors_get_rgb(run, tmp_path, monkeypatch):
    seen = []
    original = explain_run.build_explainer

    def spy(model, **options):
        explainer = original(model, **options)
        return type("Spy", (), {
            "attributes": explainer.attributes,
            "__call__": lambda self, inputs, given: (seen.append(inputs[0]["image"]), explainer(inputs, given))[1],
        })()  # fmt: skip

    monkeypatch.setattr(explain_run, "build_explainer", spy)
    Image.new("RGB", (60, 40), (10, 20, 30)).save(tmp_path / "cat.png")
    for order in ("BGR", "RGB"):
        run(tmp_path / "cat.png", opts=["INPUT.FORMAT", order])
    assert [image[:, 0, 0].tolist() for image in seen] == [[30.0, 20.0, 10.0], [10.0, 20.0, 30.0]]
    assert [tuple(image.shape) for image in seen] == [(3, 32, 48)] * 2


@needs(f"weights of {ZOO_NAME}", ZOO_NAME in model_zoo.available())
@pytest.mark.parametrize("config", [ZOO_NAME, model_zoo.get_config_file(ZOO_NAME)], ids=["by name", "by path"])
def test_bundled_weights_are_found(run, tmp_path, config):
    code, output = run(image(tmp_path / "cat.png"), config=config, checkpoint=None)
    assert code == 0 and run_json(output)["weights"] == model_zoo.get_checkpoint_url(ZOO_NAME)
