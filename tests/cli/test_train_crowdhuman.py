"""The CrowdHuman recipes with data laid out as CrowdHuman is, here synthetic images in its format."""

import json
from pathlib import Path

import pytest

from odam_d2 import model_zoo
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.data.synthetic.writers import encode_jpeg, write_images

ROOT = Path(__file__).parents[2]
# What the recipes and the bundled detectors, which know people as their first class, don't share.
COMPACT = {
    "faster_rcnn": [
        "MODEL.BACKBONE.NAME", "build_compact_resnet_fpn_backbone", "MODEL.ROI_HEADS.NUM_CLASSES", "3",
        "MODEL.ROI_BOX_HEAD.FC_DIM", "256", "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", "0",
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[0.5, 1.0, 2.0]]",
    ],
    "fcos": [
        "MODEL.BACKBONE.NAME", "build_compact_retinanet_resnet_fpn_backbone", "ODAM.FCOS.NUM_CLASSES", "3",
        "ODAM.FCOS.NUM_CONVS", "2",
    ],
}  # fmt: skip
FAST = [
    "MODEL.FPN.OUT_CHANNELS", "64", "MODEL.RESNETS.NORM", "BN", "MODEL.DEVICE", "cpu",
    "MODEL.PIXEL_STD", "[57.375, 57.12, 58.395]", "INPUT.MIN_SIZE_TEST", "480", "DATALOADER.NUM_WORKERS", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """A folder for DETECTRON2_DATASETS with `crowdhuman/annotation_val.odgt` and `crowdhuman/Images/<ID>.jpg`."""
    root = tmp_path_factory.mktemp("datasets")
    scenes, folder = SyntheticScenes("crowd", "val", 2), root / "crowdhuman"
    samples = [
        (encode_jpeg(image), {**record, "file_name": f"27{number},c9db.jpg"})
        for number, (image, record) in enumerate(scenes[index] for index in range(2))
    ]
    write_images(samples, str(folder), ["person"])
    (folder / "annotations.odgt").rename(folder / "annotation_val.odgt")
    (folder / "images").rename(folder / "Images")
    (folder / "coco.json").unlink()
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("family", "odam_nms"), [("faster_rcnn", False), ("faster_rcnn", True), ("fcos", True)])
def test_eval_only_prints_the_table(family, odam_nms, datasets, tmp_path, fresh):
    weights = model_zoo.get_checkpoint_path(f"synthetic/{family}_compact_FPN")
    command = [
        "--eval-only",
        "--config-file", str(ROOT / "configs" / "crowdhuman" / f"{family}_R_50_FPN.yaml"),
        "OUTPUT_DIR", str(tmp_path), "MODEL.WEIGHTS", weights, "ODAM.NMS.ENABLED", str(odam_nms),
        *FAST, *COMPACT[family],
    ]  # fmt: skip
    variables = {"DETECTRON2_DATASETS": str(datasets)}
    done = fresh(script=ROOT / "tools" / "train_net.py", arguments=command, variables=variables)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    table = {row[0]: row[1:] for row in cells if len(row) == 7}
    assert table["people"] == ["number", "AP", "recall", "MR^-2", "JI", "JI at score"]
    written = json.loads((tmp_path / "inference" / "crowdhuman_val_metrics.json").read_text())["percent"]
    rows = ["all", "bare", "partial", "heavy", "crowd_bare", "crowd_partial", "crowd_heavy"]
    assert list(written) == rows == [name for name in table if name in rows]
    for name in rows:
        assert int(table[name][0]) == written[name]["objects"] > 0
        figures = [written[name][figure] for figure in ("AP", "recall", "MR", "JI")]
        assert table[name][1:5] == [f"{figure:.3f}" for figure in figures]
    # Trained on other images and on what is visible of people, they find many of them all the same.
    assert written["all"]["recall"] > 50 and written["all"]["AP"] > 30 and 0 < written["all"]["MR"] < 100
    detected = (tmp_path / "inference" / "crowdhuman_val_detections.odgt").read_text().splitlines()
    assert [json.loads(line)["ID"] for line in detected] == ["270,c9db", "271,c9db"]
