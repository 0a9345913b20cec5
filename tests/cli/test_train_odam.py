"""tools/train_net.py with Odam-Train: the quick recipes, a run that goes on, and two processes."""

import json
import math
from pathlib import Path

import pytest
import torch
from detectron2 import model_zoo as stock_zoo
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import hooks
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from odam_d2 import model_zoo
from odam_d2.engine import OdamTrainer
from tests.helpers import load_command, synthetic_dataset

ROOT = Path(__file__).parents[2]
QUICK = sorted(path.stem for path in (ROOT / "configs" / "quick").glob("*.yaml"))


@pytest.fixture(scope="module")
def tool():
    return load_command("train")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    with synthetic_dataset("test_train_net_odam", "crowd", "demo", tmp_path_factory.mktemp("data"), 3) as name:
        yield name


def run(tool, recipe, dataset, output, *more, flags=()):
    config = model_zoo.get_config_file(f"quick/{recipe}")
    options = ["OUTPUT_DIR", str(output), "DATASETS.TRAIN", f"('{dataset}',)", "DATASETS.TEST", f"('{dataset}',)"]
    options += ["MODEL.DEVICE", "cpu"]
    return tool.train(tool.argument_parser().parse_args(["--config-file", config, *flags, *options, *more]))


def logged(output):
    rows = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    return {key: value for row in rows for key, value in row.items()}


@pytest.mark.filterwarnings("ignore:maps are approximate")
@pytest.mark.parametrize("recipe", QUICK)
def test_quick_recipes_train_log_and_draw(tool, dataset, tmp_path, recipe):
    run(tool, recipe, dataset, tmp_path)
    found = logged(tmp_path)
    for kind in ("consistency", "separation"):
        assert math.isfinite(found[f"loss_odam_{kind}"]) and found[f"odam/{kind}"] > 0
    assert 0 < found["odam/ODI_box"] < 1 and 0 < found["odam/ODI_mask"] < 1 and found["odam/watched_objects"] > 10
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["scalars"]) >= {"loss_odam_consistency", "loss_odam_separation", "odam/ODI_box"}
    images = [tag for tag in events.Tags()["images"] if tag.startswith("odam/image_")]
    assert len(images) == 2
    # Drawn after the second and the fourth iteration.
    assert all([one.step for one in events.Images(tag)] == [1, 3] for tag in images)
    assert (tmp_path / "model_final.pth").is_file()


class Loss(hooks.HookBase):
    """Writes down the losses of every iteration."""

    def __init__(self, seen):
        self.seen = seen

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.seen[self.trainer.iter] = {k: v for k, (v, _) in latest.items() if "loss" in k or k == "odam/weight"}


@pytest.fixture()
def curves(monkeypatch):
    """Appends a dict of iteration -> losses for every run of the test."""
    seen, build_hooks = [], OdamTrainer.build_hooks

    def with_loss(self):
        seen.append({})
        return [Loss(seen[-1]), *build_hooks(self)]

    monkeypatch.setattr(OdamTrainer, "build_hooks", with_loss)
    return seen


@pytest.mark.parametrize("recipe", ["faster_rcnn_odam_train", "fcos_odam_train"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tool, dataset, tmp_path, curves, recipe):
    quick = ("SOLVER.MAX_ITER", "4", "SOLVER.CHECKPOINT_PERIOD", "2", "ODAM.TRAIN.WATCH_PERIOD", "0",
             "INPUT.MIN_SIZE_TRAIN", "(128, 144, 160)", "DATASETS.TEST", "()")  # fmt: skip
    run(tool, recipe, dataset, tmp_path / "whole", *quick)
    # What a run leaves that ends after its second iteration.
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / "model_0000001.pth").write_bytes((tmp_path / "whole" / "model_0000001.pth").read_bytes())
    (stopped / "last_checkpoint").write_text("model_0000001.pth")
    run(tool, recipe, dataset, stopped, *quick, flags=("--resume",))

    whole, resumed = curves
    for losses in whole.values():
        total = sum(value for key, value in losses.items() if key.startswith("loss_"))
        assert total == pytest.approx(losses["total_loss"], rel=1e-6)
        assert losses["loss_odam_consistency"] > 0 and losses["loss_odam_separation"] > 0
    assert list(whole) == [0, 1, 2, 3] and list(resumed) == [2, 3]
    assert {k: v["odam/weight"] / whole[3]["odam/weight"] for k, v in whole.items()} == pytest.approx(
        {0: 0.25, 1: 0.5, 2: 0.75, 3: 1.0}
    )
    assert all(resumed[k] == whole[k] for k in (2, 3))
    final = [torch.load(folder / "model_final.pth", weights_only=False) for folder in (tmp_path / "whole", stopped)]
    assert all(torch.equal(value, final[1]["model"][key]) for key, value in final[0]["model"].items())


def test_ones_own_coco_data_need_three_lines(tool, tmp_path):
    demo = ROOT / "datasets" / "demo"
    (tmp_path / "my_data.py").write_text(
        "from detectron2.data.datasets import register_coco_instances\n"
        f"register_coco_instances('my_train', {{}}, {str(demo / 'annotations.json')!r}, {str(demo / 'images')!r})\n"
    )
    recipe = Path(model_zoo.get_config_file("quick/faster_rcnn_odam_train"))
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        f"_BASE_: {json.dumps(str(recipe))}\n"
        "MODEL: {ROI_HEADS: {NUM_CLASSES: 3}}\n"
        "DATASETS:\n  TRAIN: ('my_train',)\n  TEST: ('my_train',)\n"
    )
    options = ["OUTPUT_DIR", str(tmp_path / "out"), "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", "2"]
    flags = ["--config-file", str(mine), "--import", str(tmp_path / "my_data.py")]
    tool.train(tool.argument_parser().parse_args([*flags, *options]))
    DatasetCatalog.remove("my_train")
    MetadataCatalog.remove("my_train")
    found = logged(tmp_path / "out")
    assert found["loss_odam_consistency"] > 0 and "bbox/AP" in found and 0 < found["odam/ODI_box"] < 1


def test_a_stock_recipe_needs_one_key_more(tool, tmp_path):
    config = stock_zoo.get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    names = {}
    for key, value in (("TRAIN.WEIGHT", "0.0"), ("TRAIN.WEIGHT", "0.2"), ("NMS.ENABLED", "True")):
        options = ["OUTPUT_DIR", str(tmp_path), "MODEL.DEVICE", "cpu", f"ODAM.{key}", value]
        cfg = tool.setup(tool.argument_parser().parse_args(["--config-file", config, *options])).node
        names[value] = (cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME)
    ours = ("OdamRCNN", "OdamStandardROIHeads")
    assert names == {"0.0": ("GeneralizedRCNN", "StandardROIHeads"), "0.2": ours, "True": ours}


def test_detectors_that_cannot_be_trained_by_explanations_are_named():
    cfg = model_zoo.get_config("quick/retinanet_odam_train", trained=False)
    assert OdamTrainer.build_model(cfg).odam_losses.weight == 0.5
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    with pytest.raises(ValueError, match="`MODEL.META_ARCHITECTURE` must train by explanations.*got 'RetinaNet'"):
        OdamTrainer.build_model(cfg)
    cfg.ODAM.TRAIN.WEIGHT, cfg.ODAM.NMS.ENABLED = 0.0, True
    with pytest.raises(ValueError, match="ODAM.NMS.ENABLED must be .*; got RetinaNet: "):
        OdamTrainer.build_model(cfg)


@pytest.mark.parametrize("gpu, machines, expected", [(False, 1, "cpu"), (True, 1, "gpu"), (False, 2, "gpu")])
def test_processes_share_the_cpu_where_there_is_no_gpu(tool, monkeypatch, gpu, machines, expected):
    started = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(tool, "launch_on_cpu", lambda main, count, args: started.append(("cpu", main, count, args)))
    monkeypatch.setattr(tool, "launch", lambda main, count, args, **_: started.append(("gpu", main, count, args)))
    args = tool.argument_parser().parse_args(["--config-file", "x", "--num-gpus", "2", "--num-machines", str(machines)])
    tool.start(args)
    assert started == [(expected, tool.train, 2, (args,))]
