"""The clock waits for GPUs before it looks."""

import time

import torch

from odam_d2.utils.clock import now


def test_the_clock_runs_forward():
    begin = now()
    time.sleep(0.01)
    assert 0.01 <= now() - begin < 5


def test_gpus_are_waited_for_before_the_time_is_taken(monkeypatch):
    order = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: order.append("waited"))
    monkeypatch.setattr(time, "perf_counter", lambda: order.append("looked") or 7.0)
    assert now() == 7.0 and order == ["waited", "looked"]
