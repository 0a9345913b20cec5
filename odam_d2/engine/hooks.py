"""What happens around every training step."""

from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .stream import STEP, seed_generators


def bare_model(model: nn.Module) -> nn.Module:
    """The detector inside what distributes it over processes."""
    return model.module if isinstance(model, DistributedDataParallel) else model


class SeedEachStep(HookBase):
    """Draws the chance of each step (which proposals are sampled) from the run's seed and the iteration's number.

    Args:
        seed: of the run, not negative.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def before_step(self) -> None:
        """See :class:`HookBase`."""
        seed_generators(self.seed, STEP, comm.get_rank(), self.trainer.iter)


class KeepLossNormalizer(HookBase):
    """Puts the running number of positives that dense detectors divide their losses by into checkpoints.

    Detectron2 keeps it in a plain attribute, so that a resumed run would begin with a guess. Of several processes, all
    go on with the main one's.
    """

    def state_dict(self) -> dict[str, Any]:
        """See :class:`HookBase`."""
        value = getattr(bare_model(self.trainer.model), "loss_normalizer", None)
        return {} if value is None else {"loss_normalizer": value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the number from a checkpoint."""
        bare_model(self.trainer.model).loss_normalizer = state["loss_normalizer"]


class RequireFiniteLosses(HookBase):
    """Stops a training whose losses are no numbers any more, before they reach the weights."""

    def before_train(self) -> None:
        """See :class:`HookBase`."""
        self._handle = self.trainer.model.register_forward_hook(self._check)

    def after_train(self) -> None:
        """See :class:`HookBase`."""
        self._handle.remove()

    def _check(self, model: nn.Module, inputs: tuple, losses: Any) -> None:
        """Raises FloatingPointError with the losses, the iteration and the images."""
        if not model.training or not isinstance(losses, dict):
            return
        if bool(torch.isfinite(torch.as_tensor(sum(losses.values())))):
            return
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        broken = {k: v for k, v in values.items() if not torch.isfinite(torch.tensor(v))} or values
        told = ", ".join(f"{name} = {value}" for name, value in broken.items())
        images = [entry.get("image_id", entry.get("file_name")) for entry in inputs[0]]
        raise FloatingPointError(
            f"losses must be finite; got {told} at iteration {self.trainer.iter} for the images with image_id "
            f"{images}: look at these, lower SOLVER.BASE_LR, or enable SOLVER.CLIP_GRADIENTS"
        )
