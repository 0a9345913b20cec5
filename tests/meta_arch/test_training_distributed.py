"""Two processes that share a batch learn from heat maps what one process learns from all of it."""

import json
import math
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from odam_d2 import model_zoo
from odam_d2.data.synthetic import catalog
from odam_d2.data.synthetic import folder as rendered
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.utils.processes import launch_on_cpu
from tests.helpers import compact_detector, load_command, training_input

DETECTORS = {
    # All positives are sampled, so chance decides nothing but their order.
    "faster_rcnn": ("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 2000, "ODAM.TRAIN.SECOND_ORDER", True),
    "retinanet": (),
}
IMAGES = [
    [[10, 10, 70, 110], [50, 20, 110, 115]],  # two neighbours
    [],
    [[20, 20, 120, 100]],
    [[5, 5, 60, 60], [40, 30, 100, 110], [70, 5, 150, 100]],
]


class ExplanationsAlone(nn.Module):
    """A detector whose other losses are left out."""

    def __init__(self, name):
        super().__init__()
        # Batch norm in training would look at the other images.
        self.detector = compact_detector(name, "MODEL.RESNETS.NORM", "FrozenBN", "ODAM.TRAIN.WEIGHT", 0.5,
                                         *DETECTORS[name]).train()  # fmt: skip

    def forward(self, inputs):
        return {name: loss for name, loss in self.detector(inputs).items() if "odam" in name}


def inputs_of(numbers):
    return [training_input(128, 160, IMAGES[k], [0] * len(IMAGES[k]), seed=k) for k in numbers]


def learn(model, numbers):
    """Losses, and gradients of their sum by parameter."""
    torch.manual_seed(0)
    with EventStorage(0):
        losses = model(inputs_of(numbers))
    sum(losses.values()).backward()
    gradients = {name.removeprefix("module."): p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: loss.detach() for name, loss in losses.items()}, gradients


def train(folder):
    """The whole tool, on two images that are there."""
    catalog.register_synthetic("test_distributed", "crowd", "demo", f"{folder}/images", 2)
    tool = load_command("train")
    options = ["DATASETS.TRAIN", "('test_distributed',)", "DATASETS.TEST", "()", "SOLVER.MAX_ITER", "2", "MODEL.DEVICE",
               "cpu", "MODEL.WEIGHTS", "", "OUTPUT_DIR", f"{folder}/run", "ODAM.TRAIN.WATCH_PERIOD", "0"]  # fmt: skip
    recipe = model_zoo.get_config_file("quick/fcos_odam_train")
    tool.train(tool.argument_parser().parse_args(["--config-file", recipe, *options]))


def work(folder, shares):
    torch.set_num_threads(1)
    rank = comm.get_rank()
    train(folder)
    results = {}
    for name in DETECTORS:
        model = DistributedDataParallel(ExplanationsAlone(name), broadcast_buffers=False, find_unused_parameters=True)
        results[name] = learn(model, shares[rank])
    torch.save(results, Path(folder) / f"{rank}.pt")


SHARES = [[0, 1], [2, 3]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes leave: a finished training, and what they learn from their shares."""
    folder, workers = tmp_path_factory.mktemp("distributed"), rendered._WORKERS
    rendered._WORKERS = 0
    rendered.render_dataset(SyntheticScenes("crowd", "demo", 2), "test_distributed", str(folder / "images"))
    rendered._WORKERS = workers
    launch_on_cpu(work, 2, (str(folder), SHARES))
    return folder


def test_a_training_in_two_processes(folder):
    found = json.loads((folder / "run" / "metrics.json").read_text().splitlines()[-1])
    assert found["iteration"] == 1 and math.isfinite(found["total_loss"]) and found["loss_odam_consistency"] > 0
    assert (folder / "run" / "model_final.pth").is_file()


def test_losses_and_gradients_are_those_of_the_joint_batch(folder):
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name in DETECTORS:
        losses, gradients = learn(ExplanationsAlone(name), sum(SHARES, []))
        assert all(float(loss) > 0 for loss in losses.values())
        for key, loss in losses.items():
            # Gradients are averaged over processes, and so are the losses that are logged.
            assert float(sum(one[name][0][key] for one in found)) / 2 == pytest.approx(float(loss), rel=1e-5, abs=1e-7)
        moved = {key for key, gradient in gradients.items() if gradient.any()}
        assert len(moved) > 10
        for key in moved:
            largest = float(gradients[key].abs().max())
            for one in found:
                assert torch.allclose(one[name][1][key], gradients[key], atol=1e-4 * largest), key
