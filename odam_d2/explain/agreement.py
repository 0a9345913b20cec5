"""Whether the scores that are explained are the scores that the detector reported.

Shape letters: D detections over the batch.
"""

import torch

from ..structures import DetectionTrace, Predictions

# Relative to the larger of both, and absolute: the same numbers by kernels of another size.
RELATIVE, ABSOLUTE = 1e-4, 1e-6
# Units in the last place that two ways to a score may differ by in the precision of the features.
UNITS = 64


class ScoresDifferError(RuntimeError):
    """What would be explained is not what was reported."""


def require_reported_scores(predictions: Predictions, trace: DetectionTrace) -> None:
    """Compares (D,) scores on the way to a gradient with those in the results of the trace; costs no forward pass.

    Args:
        predictions: what is about to be differentiated.
        trace: with ``scores`` in its ``instances``; nothing is compared where it holds none, or they are
            not its own.

    Raises:
        ScoresDifferError: if one differs by more than a relative 1e-4, or 64 units in the last place of the features'
            precision where that is more.
    """
    if not (trace.reported and trace.instances and len(trace)):
        return
    reported = torch.cat([found.scores for found in trace.instances]).detach().float()
    explained = predictions.scores.detach().float().to(reported.device)
    precision = next(iter(trace.features.values())).dtype
    relative = max(RELATIVE, UNITS * torch.finfo(precision).eps) if precision.is_floating_point else RELATIVE
    if reported.is_cuda and torch.backends.cudnn.allow_tf32:
        relative = max(relative, UNITS * 2.0**-11)  # tensor cores keep ten bits of each factor
    apart = (explained - reported).abs() - relative * torch.maximum(explained.abs(), reported.abs())
    # NaN is for those to tell who look for it.
    if bool((apart > ABSOLUTE).any()):
        index = int(apart.nan_to_num(-1.0).argmax())
        raise ScoresDifferError(
            f"the score that is explained must be the one that was reported; got {float(explained[index]):.6g} for box "
            f"{index} of the batch, reported as {float(reported[index]):.6g}: a part of the detector lets boxes see "
            "each other, or says something else when it is asked again"
        )
