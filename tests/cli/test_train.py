"""tools/train_net.py, end to end on a handful of small synthetic images."""

import json
import re
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.events import EventStorage

from odam_d2 import model_zoo
from odam_d2.engine.trainer import CPUAutocastTrainer, OdamTrainer
from tests.helpers import load_command, synthetic_dataset


@pytest.fixture(scope="module")
def tool():
    return load_command("train")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    with synthetic_dataset("test_train_net", "scene", "val", tmp_path_factory.mktemp("data"), 3) as name:
        yield name


def run(tool, dataset, output, *more, flags=()):
    config = model_zoo.get_config_file("synthetic/faster_rcnn_compact_FPN")
    options = [
        "OUTPUT_DIR", str(output), "DATASETS.TRAIN", f"('{dataset}',)", "DATASETS.TEST", f"('{dataset}',)",
        "INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", "96", "SOLVER.IMS_PER_BATCH", "2",
        "DATALOADER.NUM_WORKERS", "0", "SOLVER.WARMUP_ITERS", "1", "MODEL.DEVICE", "cpu",
    ]  # fmt: skip
    args = tool.argument_parser().parse_args(["--config-file", config, *flags, *options, *more])
    return tool.train(args)


def metrics(output):
    lines = (Path(output) / "metrics.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_trains_evaluates_resumes_and_evaluates_again(tool, dataset, tmp_path):
    output = tmp_path / "run"
    run(tool, dataset, output, "SOLVER.MAX_ITER", "2", "SOLVER.CHECKPOINT_PERIOD", "1")
    trained = {k.removeprefix("bbox/"): v for row in metrics(output) for k, v in row.items() if k.startswith("bbox/")}
    assert set(trained) >= {"AP", "AP50", "AP75", "AP-person", "AP-dog", "AP-car"}
    assert (output / "config.yaml").is_file() and (output / "model_final.pth").is_file()
    assert all(torch.isfinite(torch.tensor(row["total_loss"])) for row in metrics(output) if "total_loss" in row)

    again = run(tool, dataset, output, "MODEL.WEIGHTS", str(output / "model_final.pth"), flags=("--eval-only",))
    assert again["bbox"] == pytest.approx(trained, nan_ok=True)

    run(tool, dataset, output, "SOLVER.MAX_ITER", "3", flags=("--resume",))
    checkpoint = torch.load(output / "model_final.pth", weights_only=False)
    assert checkpoint["iteration"] == 2  # the third; the first two were not run again


@pytest.mark.parametrize("amp, step", [("True", CPUAutocastTrainer), ("False", None)])
def test_mixed_precision_on_cpus_is_what_the_config_says(tool, dataset, tmp_path, amp, step):
    args = tool.argument_parser().parse_args(
        ["--config-file", model_zoo.get_config_file("synthetic/faster_rcnn_compact_FPN"), "OUTPUT_DIR", str(tmp_path),
         "MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", amp, "DATASETS.TRAIN", f"('{dataset}',)",
         "INPUT.MIN_SIZE_TRAIN", "(96,)", "SOLVER.IMS_PER_BATCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    )  # fmt: skip
    trainer = OdamTrainer(tool.setup(args).node)
    assert (type(trainer._trainer) is CPUAutocastTrainer) == (step is CPUAutocastTrainer)
    seen = []
    trainer.model.backbone.register_forward_hook(lambda m, i, o: seen.append(o["p2"].dtype))
    with EventStorage(0):
        trainer._trainer.run_step()
    assert seen == [torch.bfloat16 if step else torch.float32]


def test_import_runs_before_the_config_is_read(tool, dataset, tmp_path):
    (tmp_path / "my_backbone.py").write_text("raise RuntimeError('imported')\n")
    with pytest.raises(ImportError, match="imported"):
        run(tool, dataset, tmp_path / "out", flags=("--import", str(tmp_path / "my_backbone.py")))


@pytest.mark.parametrize(
    "options, message",
    [
        (("DATASETS.TRAIN", "('nothing',)"), r"DATASETS must name registered data sets; got \['nothing'\]"),
        (("MODEL.WEIGHTS", "gone.pth"), "MODEL.WEIGHTS must be a checkpoint; got 'gone.pth', which doesn't exist"),
        (("MODEL.NOTHING", "1"), "MODEL.NOTHING, which neither Detectron2 nor the node ODAM has"),
        (("--config-file", "nothing"), "got 'nothing': choose one of .*synthetic/faster_rcnn_compact_FPN"),
        (("--import", "gone.py"), "got 'gone.py', which failed with"),
    ],
)
def test_a_set_up_that_fails_is_one_sentence(tool, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.setattr(tool, "start", lambda args: pytest.fail("nothing may start"))
    usual = ["--config-file", "synthetic/faster_rcnn_compact_FPN"]
    assert tool.main([*usual, *options]) == 1
    assert re.fullmatch(f"error: .*{message}.*\n", capsys.readouterr().err)


def test_what_is_right_starts(tool, monkeypatch):
    started = []
    monkeypatch.setattr(tool, "start", started.append)
    assert tool.main(["--config-file", "synthetic/fcos_compact_FPN", "--resume", "OUTPUT_DIR", "x"]) == 0
    (args,) = started
    assert args.resume and not args.eval_only and args.opts == ["OUTPUT_DIR", "x"] and args.num_gpus == 1
    with pytest.raises(SystemExit, match="2"):
        tool.main(["--config-file", "synthetic/fcos_compact_FPN", "--num-machines", "2"])


@pytest.mark.parametrize("flags, trained", [((), False), (("--eval-only",), True)])
def test_evaluation_takes_trained_weights_where_the_zoo_has_them(tool, flags, trained):
    name = "synthetic/faster_rcnn_compact_FPN_crowd"
    start = model_zoo.get_config(name, trained=False).MODEL.WEIGHTS
    config = tool.training_config(tool.argument_parser().parse_args(["--config-file", name, *flags]))
    assert config.weights == (model_zoo.get_checkpoint_url(name) if trained else start)
    mine = tool.argument_parser().parse_args(["--config-file", name, *flags, "MODEL.WEIGHTS", start])
    assert tool.training_config(mine).weights == start


def test_unknown_evaluator_is_named(tmp_path):
    MetadataCatalog.get("test_odd").set(evaluator_type="odd")
    cfg = model_zoo.get_config("synthetic/faster_rcnn_compact_FPN", trained=False)
    with pytest.raises(ValueError, match=r"one of \['city.*'coco', .*'lvis', 'pascal_voc', 'sem_seg'\]; got 'odd'"):
        OdamTrainer.build_evaluator(cfg, "test_odd", str(tmp_path))
    MetadataCatalog.remove("test_odd")


def test_the_protocol_of_crowds_is_a_key(tmp_path):
    MetadataCatalog.get("test_crowd_key").set(evaluator_type="crowdhuman")
    DatasetCatalog.register("test_crowd_key", list)
    cfg = model_zoo.get_config("synthetic/faster_rcnn_compact_FPN", trained=False)
    assert OdamTrainer.build_evaluator(cfg, "test_crowd_key", str(tmp_path)).protocol == "toolkit"
    cfg.ODAM.TEST.CROWD_PROTOCOL = "strict"
    assert OdamTrainer.build_evaluator(cfg, "test_crowd_key", str(tmp_path)).protocol == "strict"
    cfg.ODAM.TEST.CROWD_PROTOCOL = "loose"
    for build in (OdamTrainer, lambda cfg: OdamTrainer.build_evaluator(cfg, "test_crowd_key", str(tmp_path))):
        with pytest.raises(ValueError, match=r"`protocol` must be one of \['strict', 'toolkit'\]; got 'loose'"):
            build(cfg)
    DatasetCatalog.remove("test_crowd_key")
    MetadataCatalog.remove("test_crowd_key")


def test_evaluates_with_odam_nms_in_the_place_of_nms(tool, dataset, tmp_path):
    options = ["MODEL.WEIGHTS", model_zoo.get_checkpoint_path("synthetic/faster_rcnn_compact_FPN")]
    options += ["INPUT.MIN_SIZE_TEST", "240", "ODAM.NMS.IOU_THRESH", "0.5", "ODAM.NMS.LOW", "-1", "ODAM.NMS.HIGH", "2"]
    figures = {}
    for enabled, low in ((False, "-1"), (True, "-1"), (True, "1")):
        output = tmp_path / f"{enabled}{low}"
        changed = [*options, "ODAM.NMS.ENABLED", str(enabled), "ODAM.NMS.LOW", low]
        figures[enabled, low] = run(tool, dataset, output, *changed, flags=("--eval-only",))["bbox"]
    stock, same, other = figures.values()
    assert same == pytest.approx(stock, nan_ok=True) and stock["AP"] > 10
    # Overlap drops nothing unless maps are the same.
    assert other["AP"] < stock["AP"]
