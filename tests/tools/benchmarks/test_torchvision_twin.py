"""tools/benchmarks/torchvision_twin.py: a twin finds what Detectron2's detector finds."""

import pytest
import torch

from tests.helpers import compact_detector, load_tool, random_input


@pytest.fixture(scope="module")
def twin_of():
    return load_tool("benchmarks/torchvision_twin").twin_of


def test_boxes_scores_and_classes_are_detectron2s(twin_of):
    model = compact_detector("faster_rcnn", detections=10)
    twin = twin_of(model, 96, 128)
    entry = random_input(96, 128)
    with torch.no_grad():
        expected = model([entry])[0]["instances"]
        image = entry["image"].flip(0) if model.input_format == "BGR" else entry["image"]
        (found,) = twin([image / 255])
    assert len(expected) == 10
    assert torch.allclose(found["boxes"], expected.pred_boxes.tensor, atol=1e-3)
    assert torch.allclose(found["scores"], expected.scores, atol=1e-5)
    assert torch.equal(found["labels"], expected.pred_classes + 1)


def test_levels_have_names_of_their_own(twin_of):
    twin = twin_of(compact_detector("faster_rcnn"), 96, 128)
    heard = []
    for name, level in twin.backbone.levels.items():
        level.register_forward_hook(lambda _module, _inputs, output, name=name: heard.append((name, output.shape[-1])))
    with torch.no_grad():
        twin([torch.rand(3, 96, 128)])
    names, widths = zip(*heard, strict=True)
    assert names[-1] == "pool" and names[:-1] == tuple(str(k) for k in range(len(names) - 1))
    # Finest first, each half as wide as the last.
    assert all(a == 2 * b for a, b in zip(widths, widths[1:], strict=False))


@pytest.mark.parametrize("name, part", [("retinanet", "a GeneralizedRCNN"), ("cascade_rcnn", "without cascade")])
def test_what_torchvision_lacks_is_refused(twin_of, name, part):
    with pytest.raises(ValueError, match=part):
        twin_of(compact_detector(name), 96, 128)
