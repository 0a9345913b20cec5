"""Weights as whole numbers, with a scale for each output channel: the arithmetic alone."""

import torch

# How far below a channel's largest weight its scale is looked for: few levels pay for cutting off the tails.
_SHARES = tuple(0.93**k for k in range(42))


def quantise(weight: torch.Tensor, levels: int = 255) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights to whole numbers: ``weight[c]`` is nearly ``steps[c] * scale[c]``.

    The scale of a channel is the one, of those tried, with the smallest sum of squared errors; what is beyond the last
    level is cut off there. A channel of zeros has scale 0.

    Args:
        weight: (C, ...), floating; output channels first.
        levels: how many whole numbers there are, symmetric about 0.

    Returns:
        ``steps``, int8 (C, ...), and ``scale``, float32 (C,).

    Raises:
        ValueError: if `levels` is not an odd number in 3 .. 255, or `weight` has no channels' axis, is not floating, or
            not finite.
    """
    if not 3 <= levels <= 255 or levels % 2 == 0:
        raise ValueError(f"`levels` must be an odd number in 3 .. 255; got {levels}: 255 fill a byte")
    if not weight.is_floating_point() or weight.dim() == 0:
        raise ValueError(
            f"`weight` must be floating, (C, ...); got {weight.dtype} {tuple(weight.shape)}: leave such a tensor be"
        )
    if not torch.isfinite(weight).all():
        raise ValueError("`weight` must be finite; got NaN or inf: look at the training run that it comes from")
    if weight.numel() == 0:
        return torch.zeros(weight.shape, dtype=torch.int8), torch.zeros(weight.shape[0])
    half = levels // 2
    # Squares of large weights leave float32's range.
    rows = weight.detach().cpu().double().reshape(len(weight), -1)
    largest = rows.abs().amax(1, keepdim=True)
    steps, scale = torch.zeros_like(rows), torch.zeros_like(largest)
    error = rows.square().sum(1, keepdim=True)
    for share in _SHARES:
        tried = (largest * share / half).float().double()
        found = _nearest(rows, tried, half)
        # The best scale for these whole numbers; for it the nearest may be others.
        squares = found.square().sum(1, keepdim=True)
        fitted = ((rows * found).sum(1, keepdim=True) / squares.clamp(min=1)).float().double()
        for candidate, whole in ((tried, found), (fitted, _nearest(rows, fitted, half))):
            remaining = (rows - whole * candidate).square().sum(1, keepdim=True)
            better = remaining < error
            error = torch.where(better, remaining, error)
            steps, scale = torch.where(better, whole, steps), torch.where(better, candidate, scale)
    return steps.to(torch.int8).reshape(weight.shape), scale.flatten().float()


def _nearest(rows: torch.Tensor, scale: torch.Tensor, half: int) -> torch.Tensor:
    # A scale can be 0: of zeros, or of weights that underflow.
    divided = torch.where(scale > 0, rows / scale, 0.0)
    return divided.round().clamp(-half, half)


def dequantise(steps: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The weights that :func:`quantise` made whole numbers of, but for the rounding.

    Args:
        steps: int8 (C, ...).
        scale: float32 (C,).

    Returns:
        float32 (C, ...).
    """
    return steps.float() * scale.reshape(-1, *(1,) * (steps.dim() - 1))
