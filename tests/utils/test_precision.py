"""Mixed precision is on where it was asked for, and off where it wasn't."""

import torch

from odam_d2.utils.precision import low_precision

CPU = torch.device("cpu")


def test_products_are_bfloat16_on_a_cpu():
    with low_precision(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_disabled_it_keeps_somebody_elses_away():
    with low_precision(CPU), low_precision(CPU, enabled=False):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_half_precision_on_a_gpu():
    assert low_precision(torch.device("cuda"), enabled=False).fast_dtype == torch.float16
