"""Group norm carried along, against autograd: whole where nothing is left out, else within what is promised."""

import pytest
import torch
from torch import nn

from odam_d2 import model_zoo
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.explain import build_explainer
from odam_d2.explain.engines.carried_gradients import CarriedGradients
from odam_d2.explain.targets import target_scalars
from tests.explain.engines.test_dense import GIVEN, INPUTS, SIDES, dense_detector, errors, trained_like, trained_norms
from tests.helpers import given, random_input


@pytest.fixture
def nothing_left_out(monkeypatch):
    monkeypatch.setattr(CarriedGradients, "tolerance", 0.0)


def tower(groups: int = 16, layers: int = 4, affine: bool = True, architecture: str = "OdamFCOS"):
    """A detector whose towers have as many convolutions of 32 channels, each with group norm."""
    keys = ("ODAM.FCOS.NUM_CONVS", layers, "MODEL.RETINANET.NUM_CONVS", layers)
    model = dense_detector(architecture, "GN", *keys)
    for subnet in (model.head.cls_subnet, model.head.bbox_subnet):
        for place in [k for k, layer in enumerate(subnet) if type(layer) is nn.GroupNorm]:
            subnet[place] = nn.GroupNorm(groups, 32, affine=affine)
            if affine:
                nn.init.uniform_(subnet[place].weight, -0.5, 1.5)
                nn.init.uniform_(subnet[place].bias, -0.2, 0.5)
    return model


def carried(model, inputs, instances, attributes, **settings):
    return errors(model, inputs, instances, attributes, group_norm="carried", **settings)


@pytest.mark.usefixtures("nothing_left_out")
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_towers_of_any_height_at_every_level_and_border(layers):
    model = tower(layers=layers)
    inputs = [random_input(448, 640)]
    assert len(set(model.trace(inputs, [GIVEN]).level_index[:, 0].tolist())) >= 4
    assert max(carried(model, inputs, [GIVEN], ("score", *SIDES))) < 1e-4


@pytest.mark.usefixtures("nothing_left_out")
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("groups", [1, 8, 32])
def test_any_number_of_groups_with_and_without_weights(groups, affine):
    assert max(carried(tower(groups, 2, affine), INPUTS[:1], [GIVEN], ("score", "left", "centerness"))) < 1e-4


@pytest.mark.usefixtures("nothing_left_out")
def test_a_retinanet_with_several_anchors_a_cell():
    assert max(carried(tower(architecture="RetinaNet"), INPUTS[:1], [GIVEN], ("score", "left"))) < 1e-4


@pytest.mark.usefixtures("nothing_left_out")
def test_several_images_one_box_and_none(monkeypatch):
    model, attributes = tower(layers=2), ("score", "logit", *SIDES, "x1", "y2")  # more than the branches have outputs
    assert max(carried(model, INPUTS, None, attributes)) < 1e-4
    one, none = given((448, 640), [[100, 100, 164, 164]], [3]), given((256, 192), [], [])
    assert max(carried(model, INPUTS, [one, none], ("score",))) < 1e-4
    empty = given((448, 640), [], [])
    assert carried(model, INPUTS, [empty, none], ("score",)) == []
    monkeypatch.setattr("odam_d2.explain.engines.dense.CHUNK_FLOATS", 1)
    assert max(carried(model, INPUTS[:1], [GIVEN], ("score", "left"))) < 1e-4


@pytest.mark.usefixtures("nothing_left_out")
def test_smoothed_gradients():
    assert max(carried(tower(layers=2), INPUTS[:1], [GIVEN], ("score", "right"), smoothing=0.15)) < 1e-4


@pytest.mark.usefixtures("nothing_left_out")
@pytest.mark.parametrize("place", [1, 4, 7])
def test_beside_another_norm(place):
    """The lowest, a middle or the highest layer has batch norm."""
    model = tower(layers=3)
    for subnet in (model.head.cls_subnet, model.head.bbox_subnet):
        subnet[place] = nn.BatchNorm2d(32).eval()
        trained_norms(subnet[place])
    assert max(carried(model, INPUTS[:1], [GIVEN], ("score", "left"))) < 1e-4


@pytest.mark.usefixtures("nothing_left_out")
def test_where_one_branch_has_no_group_norm():
    model = tower(layers=2)
    for place in (1, 4):
        model.head.bbox_subnet[place] = nn.BatchNorm2d(32).eval()
    assert max(carried(model, INPUTS[:1], [GIVEN], ("score", "left"))) < 1e-4


@pytest.mark.usefixtures("nothing_left_out")
def test_an_activation_that_never_varies():
    model = tower(groups=32, layers=2)
    with torch.no_grad():
        for subnet in (model.head.cls_subnet, model.head.bbox_subnet):
            subnet[0].weight[3:5] = 0.0  # the normalised activations of these groups are zero
    assert max(carried(model, INPUTS[:1], [GIVEN], ("score", "left"))) < 1e-4


@pytest.mark.usefixtures("nothing_left_out")
def test_gradients_are_autograds_on_the_whole_grid():
    model, attributes = tower(layers=2), ("score", "logit", "left")
    trace = model.trace(INPUTS[:1], [GIVEN])
    explainer = build_explainer(model, attributes=attributes, engine="dense", group_norm="carried")
    engine = explainer.choose_engine(trace)
    features = {name: feature.detach().requires_grad_() for name, feature in trace.features.items()}
    targets = target_scalars(trace.head.predict(features, trace), attributes)
    seen = []
    for chunk in engine.gradient_windows(trace, attributes, 0.0):
        for detection, found in zip(chunk.detections.tolist(), chunk.gradients, strict=True):
            seen.append(detection)
            feature = features[trace.level_names[trace.level_index[detection, 0]]]
            for number, target in enumerate(targets):
                (expected,) = torch.autograd.grad(target[detection], feature, retain_graph=True)
                assert torch.allclose(found[number], expected[0], atol=1e-5 * float(expected.abs().max()), rtol=0)
    assert sorted(seen) == list(range(len(GIVEN)))


def test_where_nothing_is_worth_carrying_maps_are_those_of_frozen_statistics(monkeypatch, recwarn):
    monkeypatch.setattr(CarriedGradients, "tolerance", 10.0)
    model = tower(layers=2)
    frozen, found = (
        build_explainer(model, attributes=("score", "left"), group_norm=name)(INPUTS[:1], [GIVEN])[0]["instances"]
        for name in ("frozen", "carried")
    )
    assert torch.equal(found.heatmaps.windows, frozen.heatmaps.windows)
    assert torch.equal(found.heatmaps.values, frozen.heatmaps.values)


def test_methods_of_gradients_see_what_odam_sees():
    """HiResCAM is gradient times features, too, but from the gradients themselves."""
    model = tower(layers=3)
    odam, hirescam = (
        build_explainer(model, name, ("score", "left"), group_norm="carried")(INPUTS[:1], [GIVEN])[0]["instances"]
        for name in ("odam", "hirescam")
    )
    odam, hirescam = odam.heatmaps, hirescam.heatmaps
    assert torch.allclose(odam.values, hirescam.values, atol=1e-5 * float(odam.values.max()))


def relative_distances(model, inputs, attributes, group_norm):
    """For each stride, relative L2 distances of all maps of detections from the exact ones."""
    found, exact = (
        build_explainer(model, attributes=attributes, group_norm=name)(inputs)[0]["instances"].heatmaps
        for name in (group_norm, "exact")
    )
    distances = {}
    for name in attributes:
        ours, theirs = (maps.to_image(name, normalize=False, size=maps.image_size) for maps in (found, exact))
        relative = (ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1)
        for stride, distance in zip(exact.strides[:, 0].tolist(), relative.tolist(), strict=True):
            distances.setdefault(stride, []).append(distance)
    return distances


@pytest.mark.filterwarnings("ignore:maps are approximate")
def test_a_trained_detector_is_within_two_hundredths_on_every_level(recwarn):
    model = model_zoo.get("synthetic/fcos_compact_FPN", trained=True, device="cpu")
    model.test_score_thresh = 0.4
    image = torch.as_tensor(SyntheticScenes("scene", "val")[0][0].transpose(2, 0, 1).astype("float32"))
    inputs = [{"image": image, "height": image.shape[1], "width": image.shape[2]}]
    far, near = (relative_distances(model, inputs, ("score", "left"), name) for name in ("frozen", "carried"))
    assert len(near) >= 3
    for stride, distances in near.items():
        assert torch.tensor(distances).median() < 0.02 < torch.tensor(far[stride]).median()


def test_nothing_is_said_of_it(recwarn):
    model = trained_like(dense_detector("OdamFCOS", "GN"))
    build_explainer(model, attributes=("score",), group_norm="carried")([random_input(192, 256)])
    assert not [warning for warning in recwarn if "group norm" in str(warning.message)]
