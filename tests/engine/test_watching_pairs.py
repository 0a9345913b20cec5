"""AUC on hard pairs while a detector learns."""

from types import SimpleNamespace

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.events import EventStorage

from odam_d2 import model_zoo
from odam_d2.data.synthetic import catalog
from odam_d2.data.synthetic import folder as rendered
from odam_d2.engine.watching_pairs import WatchHardPairs


def test_a_look_writes_the_areas_and_leaves_the_detector_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(rendered, "_WORKERS", 0)
    name = "test_watching_pairs"
    catalog.register_synthetic(name, "crowd", "val", str(tmp_path / name), 2)
    try:
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
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    assert set(told) == {"odam/AUC_maps", "odam/AUC_iou", "odam/AUC_both"} and all(0 <= v <= 1 for v in told.values())
    assert model.training and model.odam_nms is None
