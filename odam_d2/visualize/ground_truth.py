"""The annotated objects of an image beside what was detected in it."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from detectron2.structures import Boxes, Instances, pairwise_ioa, pairwise_iou

from ..data.categories import class_numbers
from .storage import class_name

# A detection finds an annotated object where the two overlap by at least this intersection over union.
MATCH_IOU = 0.5


@dataclass(frozen=True)
class Annotation:
    """One annotated object.

    Attributes:
        box: XYXY in the original image's pixels.
        label: name of the class in the annotations.
        class_id: the detector's number of the class, -1 if the detector doesn't know it.
        crowd: whether it stands for a group.
    """

    box: tuple[float, float, float, float]
    label: str
    class_id: int
    crowd: bool = False


class CocoAnnotations:
    """A COCO file of annotated boxes, asked by image.

    Attributes:
        class_names: the name of each of the detector's classes, by its number.
        strangers: names of annotated categories that the detector has no class for.
    """

    def __init__(
        self, path: str | os.PathLike, class_names: Sequence[str] | None = None, num_classes: int | None = None
    ):
        """Reads the file.

        Args:
            path: a json file in the COCO format.
            class_names: the detector's classes by number; categories are found among them by name. Default: the
                file's categories by rising id, which is how Detectron2 numbers them for training.
            num_classes: how many classes the detector has, which names and categories are checked against; None where
                no detector is there.

        Raises:
            ValueError: if the file can't be read or isn't in the COCO format, or its categories or `class_names` can't
                be the detector's classes; see :func:`odam_d2.data.categories.class_numbers`.
        """
        with _reading(path):
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            names = {c["id"]: str(c["name"]) for c in sorted(content["categories"], key=lambda c: c["id"])}
            annotated = {item["category_id"] for item in content["annotations"]}
        if num_classes is None:
            num_classes = len(names) if class_names is None else len(class_names)
        numbers = class_numbers(names, annotated, class_names, num_classes, str(path))
        by_number = {number: names[key] for key, number in numbers.items()}
        self.class_names = tuple(class_names or (by_number[number] for number in range(num_classes)))
        self.strangers = [name for key, name in names.items() if key in annotated and key not in numbers]
        self._images: dict[str, list[dict]] = {}
        by_id: dict[int, list[Annotation]] = {}
        with _reading(path):
            for image in content["images"]:
                objects = by_id.setdefault(image["id"], [])
                record = {"path": PurePosixPath(image["file_name"]), "image": image, "objects": objects}
                self._images.setdefault(record["path"].name, []).append(record)
            for item in content["annotations"]:
                x, y, width, height = (float(v) for v in item["bbox"])
                label, number = names[item["category_id"]], numbers.get(item["category_id"], -1)
                crowd = bool(item.get("iscrowd", 0))
                by_id[item["image_id"]].append(Annotation((x, y, x + width, y + height), label, number, crowd))

    def find(self, path: str | os.PathLike, height: int, width: int) -> list[Annotation] | None:
        """The annotated objects of an image.

        Args:
            path: the image; found by its file name, and by its folders where several images share that.
            height: of the image, in pixels.
            width: of the image, in pixels.

        Returns:
            Its objects; None if the file doesn't know the image.

        Raises:
            ValueError: if several images could be meant, or the annotated image is of another size.
        """
        parts = Path(path).resolve().parts
        fitting = [r for r in self._images.get(Path(path).name, []) if _is_tail(r["path"].parts, parts)]
        fitting = fitting or self._images.get(Path(path).name, [])
        if not fitting:
            return None
        longest = max(len(r["path"].parts) for r in fitting)
        best = [r for r in fitting if len(r["path"].parts) == longest]
        if len(best) > 1:
            raise ValueError(
                f"the annotations must name an image once; got {[str(r['path']) for r in best]} for {str(path)!r}: "
                "give file names with their folders"
            )
        size = (best[0]["image"].get("height", height), best[0]["image"].get("width", width))
        if size != (height, width):
            raise ValueError(
                f"the image must have its annotated size of {size[1]} x {size[0]}; got {width} x {height} for "
                f"{str(path)!r}: its boxes would lie elsewhere"
            )
        return best[0]["objects"]


@contextmanager
def _reading(path: str | os.PathLike) -> Iterator[None]:
    """Turns what goes wrong with a file that isn't COCO's into one error that says so."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"`path` must be a json file in the COCO format; got {str(path)!r}: {reason}") from error


def _is_tail(tail: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return parts[len(parts) - len(tail) :] == tail


def to_instances(annotations: Sequence[Annotation], height: int, width: int) -> Instances:
    """Annotated objects as boxes to explain; crowds, empty boxes and classes unknown to the detector are left out.

    Returns:
        ``gt_boxes`` and ``gt_classes`` in the original image's frame.
    """
    usable = [a for a in annotations if a.class_id >= 0 and not a.crowd and a.box[2] > a.box[0] and a.box[3] > a.box[1]]
    return Instances(
        (height, width),
        gt_boxes=Boxes(torch.tensor([a.box for a in usable], dtype=torch.float32).reshape(-1, 4)),
        gt_classes=torch.tensor([a.class_id for a in usable], dtype=torch.int64),
    )


def match_objects(
    instances: Instances, annotations: Sequence[Annotation], class_names: Sequence[str]
) -> dict[int, int]:
    """Which detection finds which annotated object.

    One to one and greedy, as COCO does: by falling score each detection takes the free object of its class that it
    overlaps most, from an IoU of .5 on.

    Args:
        instances: R detections with ``pred_boxes``, ``scores``, ``pred_classes``, in the original image's frame.
        annotations: the annotated objects of the image.
        class_names: the name of each class, by its number; objects and detections meet by these names.

    Returns:
        The number of the object by the number of the detection, for the detections that find one.
    """
    overlap, _ = _overlaps(instances, annotations, class_names)
    free, found = torch.ones(len(annotations), dtype=torch.bool), {}
    for k in instances.scores.cpu().argsort(descending=True, stable=True).tolist() if len(annotations) else ():
        best, which = (overlap[k] * free).max(0)
        if best >= MATCH_IOU:
            free[which] = False
            found[k] = int(which)
    return found


def judge_detections(
    instances: Instances, annotations: Sequence[Annotation], class_names: Sequence[str]
) -> list[dict[str, float | str]]:
    """Says of each detection which annotated object it finds, if any; see :func:`match_objects`.

    Args:
        instances: R detections with ``pred_boxes``, ``scores``, ``pred_classes``, in the original image's frame.
        annotations: the annotated objects of the image.
        class_names: the name of each class, by its number; objects and detections meet by these names.

    Returns:
        R dicts. ``iou`` is the largest with any object of the class (0 without one). ``verdict`` is "match";
        "duplicate" if its object is taken; "crowd" if at least half of it lies in a crowd of its class; else "miss".
    """
    overlap, in_crowd = _overlaps(instances, annotations, class_names)
    found, verdicts = match_objects(instances, annotations, class_names), []
    for k in range(len(instances)):
        if k in found:
            verdicts.append("match")
        elif (overlap[k] >= MATCH_IOU).any():
            verdicts.append("duplicate")
        else:
            verdicts.append("crowd" if (in_crowd[k] >= 0.5).any() else "miss")
    largest = overlap.amax(1) if len(annotations) else torch.zeros(len(instances))
    return [{"iou": float(iou), "verdict": verdict} for iou, verdict in zip(largest, verdicts, strict=True)]


def _overlaps(
    instances: Instances, annotations: Sequence[Annotation], class_names: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, O) IoU of detections with objects, and share of detections in crowds; zero where classes differ."""
    boxes = Boxes(instances.pred_boxes.tensor.cpu())
    labels = [class_name(c, class_names) for c in instances.pred_classes.tolist()]
    truth = Boxes(torch.tensor([a.box for a in annotations], dtype=torch.float32).reshape(-1, 4))
    same = torch.tensor([[label == a.label for a in annotations] for label in labels], dtype=torch.bool)
    same = same.reshape(len(boxes), len(annotations))
    crowd = torch.tensor([a.crowd for a in annotations], dtype=torch.bool)
    return pairwise_iou(boxes, truth) * (same & ~crowd), pairwise_ioa(truth, boxes).T * (same & crowd)
