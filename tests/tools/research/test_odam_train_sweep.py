"""The variants of Odam-Train that are compared."""

import pytest

from odam_d2.meta_arch.training import training_arguments
from tests.helpers import load_tool


@pytest.fixture(scope="module")
def tool():
    return load_tool("research/odam_train_sweep")


def test_every_variant_is_a_config_that_trains(tool, tmp_path):
    args = tool.argument_parser().parse_args(["--iterations", "7", "--seed", "3", "--protocol", "strict"])
    for variant in tool.VARIANTS:
        cfg = tool.read_config(args, variant, tmp_path)
        assert (cfg.SOLVER.MAX_ITER, cfg.SEED, cfg.OUTPUT_DIR) == (7, 3, str(tmp_path))
        assert cfg.ODAM.TEST.CROWD_PROTOCOL == "strict"
        losses = training_arguments(cfg)
        assert bool(losses) == (not variant.startswith("stock"))


def test_variants_are_listed(tool, capsys):
    assert tool.main(["--list"]) == 0
    assert capsys.readouterr().out.startswith("stock: ODAM.TRAIN.WEIGHT 0.0\n")


def test_what_is_finished_is_not_done_again(tool, tmp_path, capsys):
    name = "faster_rcnn_stock_300_seed0"
    (tmp_path / f"{name}.json").write_text("{}")
    assert tool.main(["--variants", "stock", "--output", str(tmp_path), "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{name}: finished before\n"
