"""AUC on hard pairs while a detector learns."""

from types import SimpleNamespace

from detectron2.utils.events import EventStorage

from odam_d2 import model_zoo
from odam_d2.engine.watching_pairs import WatchHardPairs
from tests.helpers import synthetic_dataset


def test_a_look_writes_the_areas_and_leaves_the_detector_as_it_was(tmp_path):
    with synthetic_dataset("test_watching_pairs", "crowd", "val", tmp_path, 2) as name:
        cfg = model_zoo.get_config("synthetic/faster_rcnn_compact_FPN_crowd")
        cfg.MODEL.DEVICE = "cpu"
        cfg.merge_from_list(["DATASETS.TEST", (name,), "ODAM.TRAIN.WATCH_PERIOD", 2, "ODAM.TRAIN.WATCH_IMAGES", 2])
        hook = WatchHardPairs.from_config(cfg)
        model = model_zoo.get("synthetic/faster_rcnn_compact_FPN_crowd", device="cpu").train()
        with EventStorage() as storage:
            hook.trainer = SimpleNamespace(model=model, iter=0, max_iter=9, storage=storage)
            hook.after_step()
            assert not storage.latest()  # not yet
            hook.trainer.iter = 1
            hook.after_step()
            told = {key: value for key, (value, _) in storage.latest().items()}
    assert set(told) == {"odam/AUC_maps", "odam/AUC_iou", "odam/AUC_both"} and all(0 <= v <= 1 for v in told.values())
    assert model.training and model.odam_nms is None
