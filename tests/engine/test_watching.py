"""The same objects, explained again and again while a detector learns."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.utils.events import EventStorage

from odam_d2.engine.watching import WatchExplanations
from odam_d2.evaluation.metrics.discrimination import object_discrimination_index
from odam_d2.explain import build_explainer
from tests.helpers import compact_detector, given, synthetic_dataset, zoo_config


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    with synthetic_dataset("test_watching", "scene", "val", tmp_path_factory.mktemp("data"), 3) as name:
        yield name


def hook_on(dataset, *opts):
    cfg = zoo_config(
        "COCO-Detection/retinanet_R_50_FPN_1x.yaml", "DATASETS.TEST", (dataset,), "INPUT.MIN_SIZE_TEST", 128,
        "ODAM.TRAIN.WATCH_PERIOD", 2, "ODAM.TRAIN.WATCH_IMAGES", 2, "ODAM.TRAIN.WATCH_DRAWN", 3, *opts,
    )  # fmt: skip
    return WatchExplanations.from_config(cfg)


def look(hook, model, iteration=1, max_iter=9):
    """What a look puts into the storage: scalars, and images by name."""
    with EventStorage(iteration) as storage:
        hook.trainer = SimpleNamespace(model=model, iter=iteration, max_iter=max_iter, storage=storage)
        hook.after_step()
        return {k: v for k, (v, _) in storage.latest().items()}, {name: one for name, one, _ in storage._vis_data}


@pytest.mark.filterwarnings("ignore:maps are approximate")
@pytest.mark.parametrize("name", ["faster_rcnn", "fcos"])
def test_odi_of_annotated_objects_and_images_of_some(dataset, name):
    model, hook = compact_detector(name).train(), hook_on(dataset)
    scalars, images = look(hook, model)
    assert model.training and all(p.requires_grad for p in model.parameters())

    # The same in plain: the annotated boxes are given, of two images one by one.
    box, mask, names = [], [], []
    for number, record in enumerate(DatasetCatalog.get(dataset)[:2]):
        kept = [one for one in record["annotations"] if not one["iscrowd"]]
        boxes = given((480, 640), [one["bbox"] for one in kept], [one["category_id"] for one in kept])
        (result,) = build_explainer(model, attributes=("score",))([hook.inputs[number]], [boxes])
        maps, rows = result["instances"].heatmaps.to_image("score"), torch.arange(len(kept))
        truth = hook.truths[number]
        box += object_discrimination_index(maps, rows, truth.inside_boxes).tolist()
        mask += object_discrimination_index(maps, rows, truth.masks).tolist()
        names += [f"odam/image_{record['image_id']}_object_{id_}" for id_ in truth.ids]
    assert scalars["odam/watched_objects"] == len(names) > 3
    assert scalars["odam/ODI_box"] == pytest.approx(sum(box) / len(box), rel=1e-5)
    assert scalars["odam/ODI_mask"] == pytest.approx(sum(mask) / len(mask), rel=1e-5)

    assert list(images) == names[:3]
    for image in images.values():
        assert image.shape[0] == 3 and image.dtype.name == "uint8" and image.std() > 0

    # Later, after the detector has changed: the same objects, other values.
    torch.nn.init.normal_(next(m for n, m in model.named_modules() if n.endswith("cls_score")).weight)
    later, again = look(hook, model, iteration=3)
    assert list(again) == list(images) and any((again[k] != images[k]).any() for k in again)
    assert later["odam/watched_objects"] == scalars["odam/watched_objects"]
    assert later["odam/ODI_box"] != scalars["odam/ODI_box"]


def test_when_it_looks(dataset):
    model, hook = compact_detector("faster_rcnn"), hook_on(dataset, "ODAM.TRAIN.WATCH_IMAGES", 1)
    looked = [k for k in range(5) if look(hook, model, iteration=k, max_iter=5)[0]]
    assert looked == [1, 3, 4]  # after the second, the fourth and the last


@pytest.mark.filterwarnings("ignore:maps are approximate")
def test_objects_that_no_location_stands_for_are_left_out(dataset):
    hook = hook_on(dataset, "ODAM.TRAIN.WATCH_IMAGES", 1, "ODAM.TRAIN.WATCH_DRAWN", 0)
    truth = hook.truths[0]
    truth.boxes[1] = torch.tensor([1.0, 1.0, 3.0, 3.0])  # between FCOS's locations
    scalars, images = look(hook, compact_detector("fcos"))
    assert scalars["odam/watched_objects"] == len(truth.boxes) - 1 and not images


def test_images_that_cannot_be_read_are_left_out(dataset):
    hook = hook_on(dataset)
    hook.inputs.records[0] = {**hook.inputs.records[0], "file_name": "nowhere.jpg"}
    scalars, images = look(hook, compact_detector("faster_rcnn"))
    assert scalars["odam/watched_objects"] == len(hook.truths[1].boxes) and len(images) == 3
    hook.inputs.records[1] = hook.inputs.records[0]
    assert look(hook, compact_detector("faster_rcnn"))[0] == {"odam/watched_objects": 0.0}


def test_without_a_test_set_there_is_nothing_to_watch():
    cfg = zoo_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml", "DATASETS.TEST", ())
    with pytest.raises(ValueError, match="`DATASETS.TEST` must name a data set to watch"):
        WatchExplanations.from_config(cfg)


def test_objects_of_other_classes_than_the_detectors_are_refused(dataset):
    """A detector of one class, data of three: a dog is no person."""
    model = compact_detector("faster_rcnn", "MODEL.ROI_HEADS.NUM_CLASSES", 1)
    with pytest.raises(ValueError, match=r"got 3 names, \['person', 'dog', 'car'\], for 1 classes"):
        look(hook_on(dataset), model)
