"""Out of memory: half as many at a time, said once, and the same maps."""

import pytest
import torch

from odam_d2.explain import build_explainer
from odam_d2.explain.memory import Halving, out_of_memory
from tests.helpers import compact_detector, given, random_input


def short_of_memory(most: int, seen: list):
    """Work that fits `most` at a time."""

    def work(part):
        seen.append(len(part))
        if len(part) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return part.tolist()

    return work


def test_halves_until_it_fits_and_says_so_once():
    seen, halving = [], Halving()
    with pytest.warns(UserWarning, match="with 8 maps or detections at a time: going on with 4") as caught:
        found = list(halving(torch.arange(11), 8, short_of_memory(3, seen)))
        again = list(halving(torch.arange(4), 4, short_of_memory(3, [])))
    # 8 and 4 do not fit; 2 do, to the end.
    assert seen == [8, 4, 2, 2, 2, 2, 2, 1] and [k for part in found for k in part] == list(range(11))
    assert again == [[0, 1], [2, 3]] and len(caught) == 1


def test_one_that_does_not_fit_is_an_error():
    with pytest.warns(UserWarning, match="going on with 1"), pytest.raises(torch.cuda.OutOfMemoryError):
        list(Halving()(torch.arange(2), 2, short_of_memory(0, [])))


def test_another_error_is_not_swallowed():
    def work(part):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(Halving()(torch.arange(2), 2, work))
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))


def test_nothing_to_do():
    assert list(Halving()(torch.arange(0), 4, short_of_memory(0, []))) == []


@pytest.mark.parametrize(
    "name, module, function",
    [
        ("faster_rcnn", "roi", "pooled_gradient_times_features"),
        ("retinanet", "dense_gradients", "DenseChunk"),
    ],
)
def test_the_fast_engines_go_on_with_the_same_maps(name, module, function, monkeypatch):
    model = compact_detector(name)
    inputs = [random_input(128, 160)]
    boxes = given((128, 160), [[20, 20, 84, 84], [30, 24, 94, 88], [24, 30, 88, 94]], [0, 1, 2])
    explainer = build_explainer(model, attributes=("score", "left"))
    expected = explainer(inputs, [boxes])[0]["instances"].heatmaps

    path = f"odam_d2.explain.engines.{module}.{function}"
    stock = getattr(__import__(f"odam_d2.explain.engines.{module}", fromlist=[function]), function)

    def tight(first, *args):
        count = len(first) if isinstance(first, torch.Tensor) else len(first.detections)
        if count > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return stock(first, *args)

    monkeypatch.setattr(path, tight)
    with pytest.warns(UserWarning, match="out of memory"):
        found = explainer(inputs, [boxes])[0]["instances"].heatmaps
    explainer(inputs, [boxes])  # said once: another warning would be an error
    assert torch.allclose(found.values, expected.values, atol=float(expected.values.max()) * 1e-5)
