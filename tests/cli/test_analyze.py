"""odam analyze from end to end, on tiny images and a detector with random weights."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from PIL import Image

from odam_d2.analysis import Atlas, ContextMatrix, ErrorTally, heat_context, label_errors, own_objects
from odam_d2.analysis.run_summary import summarise_run
from odam_d2.cli import analyze_images
from odam_d2.data.images import read_image_bgr
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.explain import build_explainer
from odam_d2.store import RunReader
from odam_d2.store.packing import pack, unpack
from odam_d2.store.parts import part_path
from odam_d2.structures import HeatMaps
from tests.cli.analyses import COUNT, IDS, NAMES, arguments, numbers, setup_of, stored_images, told, write_folder
from tests.cli.test_explain import weights  # noqa: F401  (a fixture)
from tests.helpers import load_command

ROOT = Path(__file__).resolve().parents[2]
ATTRIBUTES = ("score", "left", "top", "right", "bottom")
SHOWN = (*ATTRIBUTES, "combined")
WRITTEN = {"analysis.json", "analysis.csv", "context.png", "atlas.png", "atlas.npz", "report", "store"}


@pytest.fixture(scope="module")
def tool():
    return load_command("analyze")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights):  # noqa: F811
    root = tmp_path_factory.mktemp("analyze")
    return write_folder(root, Path(shutil.copy(weights, root / "copy.pth")))


@pytest.fixture(scope="module")
def whole(tool, folder, tmp_path_factory):
    """The output of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole") / "out"
    assert tool.main(arguments(folder, output)) == 0
    return output


def changed(folder, tmp_path, change):
    """A folder with other annotations, and the same images."""
    other = tmp_path / "other"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("none"))
    content = json.loads((other / "coco.json").read_text())
    change(content)
    (other / "coco.json").write_text(json.dumps(content))
    return other


def test_figures_are_those_of_the_detections_in_memory(folder, whole):
    """Without a run on disk: the detector, verdicts, contexts, mean maps."""
    setup = setup_of(folder)
    explain = build_explainer(setup.model, "odam", ATTRIBUTES)
    tally, matrix, exact, rounded = ErrorTally(), ContextMatrix(3), Atlas(SHOWN), Atlas(SHOWN)
    detections = missed = 0
    for place, (entry, record) in enumerate(zip(setup.inputs(setup.records), setup.records)):
        found = explain([entry])[0]["instances"]
        assert len(found) <= 3 and bool((found.scores > 0.1).all())
        errors = label_errors(found, record)
        truth, boxes = TrueObjects.of(record), found.pred_boxes.tensor
        context = heat_context(found.heatmaps, boxes, truth, own_objects(errors))
        tally.add(place, errors)
        matrix.add(place, errors.classes, context, errors.object_classes)
        exact.add(found.pred_classes, boxes, found.heatmaps)
        sizes = (found.heatmaps.image_size, found.heatmaps.output_size)
        packed = [pack(found.heatmaps[row]) for row in range(len(found))]
        rounded.add(found.pred_classes, boxes, unpack(packed, found.heatmaps.attributes, *sizes))
        detections += len(found)
        missed += int(errors.missed.sum())
    errors, context, run = tally.summary(), matrix.summary(), told(whole)
    assert run["counts"] == {"images": COUNT, "detections": detections, "objects": 4 * (COUNT - 1)}
    assert run["errors"]["ap"] == errors.ap and run["failures"] == []
    for name, one in run["errors"]["types"].items():
        assert (one["count"], one["dAP"]) == (errors.counts[name], errors.weights[name])
    assert set(run["errors"]["types"]) == set(errors.counts)
    for number, label in enumerate(errors.classes.tolist()):
        one = run["errors"]["classes"][NAMES[label]]
        assert one["ap"] == errors.class_ap[number]
        for name in errors.counts:
            weight = errors.class_weights[name][number]
            assert one[name] == {
                "count": errors.class_counts[name][number],
                "dAP": None if np.isnan(weight) else weight,
            }
    assert run["context"].pop("classes") == list(NAMES)
    for name, values in run["context"].items():
        np.testing.assert_array_equal(np.array(values, dtype=float), getattr(context, name).astype(float))
    assert missed == run["errors"]["types"]["missed"]["count"] > 0
    assert sum(sum(one.values()) for one in run["mechanisms"].values()) == missed
    with RunReader(whole) as reader:
        atlas = summarise_run(reader, 3, "odam", quiet=True).atlas
    wanted, from_bytes = exact.summary(), rounded.summary()
    assert set(atlas) == set(wanted) == {NAMES.index(name) for name in run["atlas"]}
    with np.load(whole / "atlas.npz") as kept:
        assert kept["labels"].tolist() == list(atlas) and kept["span"].tolist() == [-0.5, 1.5]
        assert kept["classes"].tolist() == [NAMES[label] for label in atlas]
        for place, (_, maps) in enumerate(atlas.items()):
            assert kept["attributes"].tolist() == list(maps.attributes)
            for name in ("mean", "low", "high", "covered", "detections", "images"):
                np.testing.assert_allclose(kept[name][place], getattr(maps, name), rtol=1e-6, err_msg=name)
    for label, maps in atlas.items():
        for k, name in enumerate(maps.attributes):
            assert run["atlas"][NAMES[label]][name]["detections"] == wanted[label].detections[k] > 0
        for name in ("mean", "low", "high", "covered", "images"):
            np.testing.assert_array_equal(getattr(maps, name), getattr(from_bytes[label], name))
        # Maps are off by half a step at most, and by as much again where the least and the greatest are.
        assert np.nanmax(np.abs(maps.mean - wanted[label].mean)) < 2 / 255


def test_each_row_has_its_verdict_sentence_and_maps(whole):
    images = stored_images(whole)
    seen = set()
    for stored in images:
        own_rows, own = stored.maps["odam", ""] if stored.detections else ((), None)
        for row, one in enumerate(stored.detections):
            seen.add(one.verdict)
            assert one.kind == ("missed" if one.verdict == "missed" else "detection")
            assert (one.mechanism is not None) == (one.kind == "missed")
            assert (one.sentence is None) == (one.verdict in ("correct", "ignored"))
            about = None if one.annotation is None else stored.annotations[one.annotation]
            if one.kind == "missed":
                # Every box can be explained by a detector with a box head.
                assert row in own_rows and one.box == about.box and one.label == about.label
                assert one.sentence.startswith(f"{one.label} #{about.id} was missed. ")
                assert 0 <= one.score <= 1 and one.outside is None
            else:
                assert row in own_rows and 0 <= one.outside <= 1
            if one.verdict == "classification":
                assert one.label != about.label and f" in place of {about.label} #{about.id}" in one.sentence
                assert one.figures["roles"]["true class"]["label"] == about.label
            for role, said in one.figures.get("roles", {}).items():
                rows, heat = stored.maps["odam", role]
                assert row in rows and isinstance(heat, HeatMaps) and len(said["box"]) == 4
                if "row" in said:
                    assert stored.detections[said["row"]].box == pytest.approx(tuple(said["box"]), abs=1e-3)
    assert {"correct", "classification", "missed"} <= seen and len(seen) >= 4
    empty = images[-1]
    assert empty.annotations == [] and {one.verdict for one in empty.detections} == {"background"}
    lines = list(csv.DictReader((whole / "analysis.csv").read_text().splitlines()))
    assert [line["sentence"] for line in lines] == [one.sentence or "" for i in images for one in i.detections]
    assert {path.name for path in whole.iterdir()} == WRITTEN


def test_categories_have_the_ids_of_the_annotations(tool, folder, whole, tmp_path):
    wanted = [{"id": key, "name": name} for key, name in zip(IDS, NAMES)]
    with RunReader(whole) as reader:
        assert reader.run["categories"] == wanted and reader.class_names == NAMES
    name = f"test_analyze_{tmp_path.name}"
    register_coco_instances(name, {}, str(folder / "coco.json"), str(folder / "images"))
    try:
        found = arguments(folder, tmp_path / "out")
        at = found.index("--images")
        found[at : at + 6] = ["--dataset", name, "--score-threshold", "0.1"]
        assert tool.main(found) == 0
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    with RunReader(tmp_path / "out") as reader:
        assert reader.run["categories"] == wanted
    # Detectron2's reader gives annotations without ids, but for what is ignored the figures are the same.
    assert told(tmp_path / "out")["errors"]["ap"] == told(whole)["errors"]["ap"]


def test_further_methods_explain_the_same_detections(tool, folder, whole, tmp_path):
    assert tool.main(arguments(folder, tmp_path, "--methods", "odam", "gradcam")) == 0
    setup = setup_of(folder)
    explain = build_explainer(setup.model, "gradcam", ("score",))
    for entry, stored, before in zip(setup.inputs(setup.records), stored_images(tmp_path), stored_images(whole)):
        assert stored.detections == before.detections
        rows, heat = stored.maps["gradcam", ""]
        found = explain([entry])[0]["instances"]
        assert list(rows) == list(range(len(found)))
        assert heat.to_image("score") == pytest.approx(found.heatmaps.to_image("score").numpy(), abs=1 / 255)
        for which, (own, maps) in before.maps.items():
            assert list(stored.maps[which][0]) == list(own) and torch.equal(stored.maps[which][1].values, maps.values)
    assert told(tmp_path)["errors"] == told(whole)["errors"] and told(tmp_path)["atlas"] == told(whole)["atlas"]


def test_an_interrupted_run_goes_on(tool, folder, whole, tmp_path, monkeypatch, capsys):
    analyse, seen = analyze_images._analyse, []

    def interrupted(setup, writer, place, *rest):
        seen.append(place)
        if seen == [0, 1, 2]:
            raise KeyboardInterrupt
        analyse(setup, writer, place, *rest)

    monkeypatch.setattr(analyze_images, "_analyse", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tool.main(arguments(folder, tmp_path))
    assert not (tmp_path / "analysis.json").exists()
    assert tool.main(arguments(folder, tmp_path, "--resume")) == 0
    assert seen == [0, 1, 2, 2, 3] and numbers(tmp_path) == numbers(whole)
    # A damaged part is named, and its images are done again.
    part = part_path(tmp_path, 0)
    part.write_bytes(part.read_bytes()[:-4096])
    seen[:] = [None]
    capsys.readouterr()
    assert tool.main(arguments(folder, tmp_path, "--resume")) == 0
    assert f"'{part}' must be a whole file of a run" in capsys.readouterr().out
    assert seen == [None, 0, 1, 2, 3] and numbers(tmp_path) == numbers(whole)


@pytest.mark.parametrize(
    "change, different",
    [
        (lambda folder: torch.save({"model": shifted(folder)}, folder / "random.pth"), "weights"),
        (lambda folder: (folder / "coco.json").write_text(
            (folder / "coco.json").read_text().replace('"id": 100,', '"id": 99,')), "annotations"),
    ],
    ids=["another detector", "other data"],
)  # fmt: skip
def test_a_run_of_another_detector_or_other_data_is_not_gone_on_with(
    tool, folder, whole, tmp_path, change, different, capsys
):
    other, output = changed(folder, tmp_path, lambda content: None), shutil.copytree(whole, tmp_path / "out")
    change(other)
    before = numbers(output)
    assert tool.main(arguments(other, output, "--resume")) == 1
    error = capsys.readouterr().err
    there, here = re.search(r"with fingerprint (\w{12}); '.*' has (\w{12}) and differs", error).groups()
    assert there != here and f"differs in ['{different}']" in error and numbers(output) == before


def shifted(folder):
    weights = torch.load(folder / "random.pth", weights_only=True)["model"]  # noqa: F811
    return {name: weight + 1 if name.endswith("cls_score.bias") else weight for name, weight in weights.items()}


def test_options_count_when_a_run_goes_on(tool, folder, whole, tmp_path, capsys):
    output = shutil.copytree(whole, tmp_path / "out")
    for options in (("--class", "dog"), ("--area", "0", "100"), ("--iou-threshold", "0.6"), ("--methods", "gradcam")):
        assert tool.main(arguments(folder, output, "--resume", *options)) == 1
        assert "same settings to resume" in capsys.readouterr().err


def test_one_class_alone(tool, folder, whole, tmp_path, capsys):
    setup = setup_of(folder)
    explain = build_explainer(setup.model, "odam", ("score",))
    for label, name in enumerate(NAMES):
        assert tool.main(arguments(folder, tmp_path / name, "--class", name)) == 0
        tally, run, misses = ErrorTally(), told(tmp_path / name), 0
        for place, (entry, record) in enumerate(zip(setup.inputs(setup.records), setup.records)):
            found = explain([entry])[0]["instances"]
            own = {**record, "annotations": [one for one in record["annotations"] if one["category_id"] == label]}
            errors = label_errors(found[found.pred_classes == label], own)
            tally.add(place, errors)
            misses += int(errors.missed.sum())
        assert set(run["errors"]["classes"]) <= {name} and run["errors"]["types"]["missed"]["count"] == misses
        assert run["errors"]["ap"] == pytest.approx(tally.summary().ap, nan_ok=True)
        for stored in stored_images(tmp_path / name):
            assert {one.label for one in stored.detections} <= {name}
            for one in stored.detections:
                # Misses name detections by their rows here.
                if "detection" in one.figures:
                    other = stored.detections[one.figures["detection"]]
                    assert (other.kind, other.score) == ("detection", one.figures["detection_score"])
    capsys.readouterr()
    assert tool.main(arguments(folder, tmp_path / "out", "--class", "tree")) == 1
    message = "error: --class must name classes of the detector; got 'tree': choose among ['person', 'dog', 'car']\n"
    assert capsys.readouterr().err == message and not (tmp_path / "out").exists()


def test_objects_of_other_areas_are_ignored(tool, folder, whole, tmp_path):
    """Of 3 x 4 pixels is the object that no box fits."""
    assert tool.main(arguments(folder, tmp_path, "--area", "13", "9000")) == 0
    small = [one.id for stored in stored_images(whole) for one in stored.annotations if area(one.box) < 13]
    assert len(small) == COUNT - 1
    counts, run = told(whole)["counts"], told(tmp_path)
    assert run["counts"] == {**counts, "objects": counts["objects"] - len(small)}
    for stored in stored_images(tmp_path):
        assert {one.id for one in stored.annotations if one.crowd and one.id != 901} <= set(small)
        for one in stored.detections:
            assert one.kind == "detection" or stored.annotations[one.annotation].id not in small


def test_objects_that_others_hide_are_ignored(tool, folder, whole, tmp_path, capsys):
    found = [one for stored in stored_images(whole) for one in stored.annotations if not one.crowd]
    limit = sorted({one.occlusion for one in found})[-2]
    hidden = [one.id for one in found if one.occlusion > limit]
    assert 0.0 < limit < 1.0 and hidden
    assert tool.main(arguments(folder, tmp_path / "out", "--occlusion", "0", f"{limit}")) == 0
    counts, run = told(whole)["counts"], told(tmp_path / "out")
    assert run["counts"] == {**counts, "objects": counts["objects"] - len(hidden)}
    told_once = {one.id: one.occlusion for one in found}
    for stored in stored_images(tmp_path / "out"):
        for one in stored.annotations:
            assert one.crowd == (one.id in hidden or one.id == 901)
            assert one.id not in told_once or one.occlusion == pytest.approx(told_once[one.id], abs=1e-12)
        for one in stored.detections:
            judged = None if one.annotation is None else stored.annotations[one.annotation].occlusion
            assert one.occlusion == judged
    with pytest.raises(SystemExit, match="2"):
        tool.main(arguments(folder, tmp_path / "out", "--occlusion", "0.5", "0.25"))
    assert "--occlusion must be MIN and MAX; got 0.5 and 0.25: exchange them" in capsys.readouterr().err


@pytest.mark.parametrize("name, values", [("area", ("0", "9")), ("occlusion", ("0", "1"))])
def test_objects_are_chosen_among_annotated_ones(tool, folder, tmp_path, capsys, name, values):
    found = arguments(folder, tmp_path / "out", f"--{name}", *values)
    at = found.index("--annotations")
    del found[at : at + 2]
    with pytest.raises(SystemExit, match="2"):
        tool.main(found)
    assert f"--{name} must be of annotated objects; got no annotations" in capsys.readouterr().err


def area(box):
    x1, y1, x2, y2 = box
    return (x2 - x1) * (y2 - y1)


def test_a_report_in_one_file(tool, folder, tmp_path, monkeypatch, capsys):
    assert tool.main(arguments(folder, tmp_path / "out", "--single-file")) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "was missed." in page and not (tmp_path / "out" / "report").exists()
    monkeypatch.setattr("odam_d2.cli.report_files.MOST_IMAGES", COUNT - 1)
    with pytest.raises(SystemExit, match="2"):
        tool.main(arguments(folder, tmp_path / "more", "--single-file"))
    assert f"--single-file must be of at most {COUNT - 1} images; got {COUNT}" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()
    assert tool.main(arguments(folder, tmp_path / "more", "--single-file", "--max-images", "1")) == 0


def test_without_annotations_everything_but_errors(tool, folder, whole, tmp_path, capsys):
    images = shutil.copytree(folder / "images", tmp_path / "images")
    (images / "notes.txt").write_text("no image")
    (tmp_path / "random.pth").symlink_to(folder / "random.pth")
    none = ("DATASETS.TEST", "()", "DATASETS.TRAIN", "()")
    for opts in ((), none):  # names of classes, and none
        output = tmp_path / f"out{len(opts)}"
        assert tool.main(arguments(tmp_path, output, annotated=False, opts=opts)) == 0
        assert "notes.txt" in capsys.readouterr().out
        run = told(output)
        assert set(run) == {"counts", "atlas", "failures"} and run["counts"]["objects"] == 0
        assert {path.name for path in output.iterdir()} == WRITTEN - {"context.png"}
        for stored, before in zip(stored_images(output), stored_images(whole), strict=True):
            detected = [one for one in before.detections if one.kind == "detection"]
            assert stored.annotations is None
            for one, judged in zip(stored.detections, detected, strict=True):
                assert (one.box, one.score, one.verdict, one.sentence) == (judged.box, judged.score, None, None)
                assert one.outside == pytest.approx(judged.outside)
    assert sorted(told(tmp_path / "out0")["atlas"]) == sorted(told(whole)["atlas"])
    assert sorted(told(tmp_path / "out4")["atlas"]) == [f"class {k}" for k in range(3)][: len(told(whole)["atlas"])]
    found = {one.label for stored in stored_images(whole) for one in stored.detections if one.kind == "detection"}
    name = min(found)
    assert tool.main(arguments(tmp_path, tmp_path / "one", "--class", name, annotated=False)) == 0
    assert {one.label for stored in stored_images(tmp_path / "one") for one in stored.detections} == {name}


def test_an_empty_data_set(tool, folder, tmp_path, capsys):
    other = changed(folder, tmp_path, lambda content: content.update(images=[], annotations=[]))
    assert tool.main(arguments(other, tmp_path / "out")) == 1
    assert re.match("error: .*must have images; got none in '.*coco.json': .*\n$", capsys.readouterr().err)
    (tmp_path / "none" / "images").mkdir(parents=True)
    (tmp_path / "none" / "random.pth").symlink_to(folder / "random.pth")
    assert tool.main(arguments(tmp_path / "none", tmp_path / "out", annotated=False)) == 1
    assert "must be a folder with images; got" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_no_objects_at_all_and_no_detections(tool, folder, tmp_path):
    other = changed(folder, tmp_path, lambda content: content.update(annotations=[]))
    assert tool.main(arguments(other, tmp_path / "out")) == 0
    run = told(tmp_path / "out")
    assert run["counts"]["objects"] == 0 and run["errors"]["types"]["missed"]["count"] == 0
    assert run["errors"]["types"]["background"]["count"] == run["counts"]["detections"] > 0
    # Nothing scores as much: every object is missed, and has its own map.
    assert tool.main(arguments(folder, tmp_path / "none", "--score-threshold", "0.99")) == 0
    run = told(tmp_path / "none")
    assert run["counts"]["detections"] == 0 and run["errors"]["types"]["missed"]["count"] == run["counts"]["objects"]
    assert run["atlas"] == {} and not list((tmp_path / "none").glob("atlas.*"))
    for stored in stored_images(tmp_path / "none")[:-1]:
        rows, heat = stored.maps["odam", ""]
        assert list(rows) == list(range(len(stored.detections))) == list(range(4)) and len(heat) == 4


def test_an_object_of_an_unknown_image_is_told(tool, folder, whole, tmp_path, capsys):
    stray = {"id": 950, "image_id": 77, "category_id": IDS[0], "bbox": [1, 1, 9, 9], "iscrowd": 0}
    other = changed(folder, tmp_path, lambda content: content["annotations"].append(stray))
    assert tool.main(arguments(other, tmp_path / "out")) == 0
    assert re.search("left out.*1.*image", capsys.readouterr().out, re.IGNORECASE | re.DOTALL)
    assert told(tmp_path / "out")["errors"] == told(whole)["errors"]
    assert "950" in json.dumps(told(tmp_path / "out")["annotation_account"])
    assert tool.main(arguments(other, tmp_path / "strict", "--strict")) == 1
    assert not (tmp_path / "strict").exists()


def test_missing_and_broken_images_are_named_and_the_rest_goes_on(tool, folder, whole, tmp_path, capsys):
    other = changed(folder, tmp_path, lambda content: None)
    (other / "images" / "0.png").unlink()
    (other / "images" / "2.png").write_bytes(b"no image")
    output = tmp_path / "out"
    assert tool.main(arguments(other, output)) == 1
    error = capsys.readouterr()
    assert re.search("missing: .*0.png", error.err) and re.search("failed: .*2.png", error.err)
    assert f"{COUNT} images, 2 failed" in error.out
    run = told(output)
    assert [Path(one["file_name"]).name for one in run["failures"]] == ["0.png", "2.png"]
    assert run["counts"]["images"] == COUNT - 2
    # Put right, they are all that is done.
    for name in ("0.png", "2.png"):
        shutil.copy(folder / "images" / name, other / "images" / name)
    assert tool.main(arguments(other, output, "--resume")) == 0
    assert told(output)["errors"] == told(whole)["errors"] and told(output)["failures"] == []


@pytest.mark.parametrize(
    "options, message",
    [
        (("--dataset", "nothing"), "either --dataset, or --images"),
        (("--methods", "beauty"), "beauty"),
        (("--attributes", "left"), "--attributes must have score among them"),
        (("--iou-threshold", "0.1"), "--iou-threshold must be above 0.1, .*; got 0.1: .5 is usual"),
        (("--area", "9", "1"), "--area must be MIN and MAX; got 9 and 1: exchange them"),
        (("--num-gpus", "2"), "--num-gpus must be at most 1 on the CPU"),
    ],
)
def test_wrong_arguments(tool, folder, tmp_path, options, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        tool.main(arguments(folder, tmp_path / "out", *options))
    assert re.search(message, capsys.readouterr().err) and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_give_the_same_to_the_last_digit(fresh, folder, whole, tmp_path):
    fresh(script=ROOT / "tools" / "analyze.py", arguments=arguments(folder, tmp_path, "--num-processes", "2"))
    assert numbers(tmp_path) == numbers(whole)


def test_a_run_anew_shows_its_own_images(tool, folder, tmp_path):
    """Other images of the same ids, older than what an earlier run drew."""
    images = shutil.copytree(folder / "images", tmp_path / "images")
    for name in ("coco.json", "random.pth"):
        (tmp_path / name).symlink_to(folder / name)
    drawn = []
    for value in (10, 240):
        for path in images.iterdir():
            Image.fromarray(np.full_like(read_image_bgr(path), value)).save(path)
            os.utime(path, (1e9, 1e9))
        assert tool.main(arguments(tmp_path, tmp_path / "out")) == 0
        files = sorted((tmp_path / "out" / "report" / "images").rglob("*.jpg"))
        drawn.append([int(read_image_bgr(file).mean()) for file in files])
    assert set(drawn[0]) == {10} and set(drawn[1]) == {240} and len(drawn[0]) == len(drawn[1]) > 0
