"""What is asked of the maps for each type of error, and what is told of the answer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ..ops.nms import duplicates
from ..structures import SIDES, HeatMaps
from .mistakes import Answer, Kind, Mistake, Scene
from .verdicts import Verdict

# Cosines of two maps from which on words call them alike, and different below.
_ALIKE, _DIFFERENT = 0.7, 0.4
# Share of an area from which on words say that it lies in another.
_MOSTLY = 0.8
# How many of the objects in a box words name.
_NAMED = 3


class WrongClass(Kind):
    """Errors of class, at the right place or not.

    Figures: ``said`` and ``true``, the classes' numbers; ``score_said`` and ``score_true`` on the same box, as given;
    ``likeness``, the cosine of both maps; ``heat_said`` and ``heat_true``, see :meth:`Scene.heat`; ``iou`` with the
    object.
    """

    def asks(self, scene: Scene, row: int) -> dict[str, tuple[Tensor, int]]:
        true = int(scene.truth.classes[scene.object_of(row)])
        said = {"said": (scene.boxes[row], int(scene.classes[row]))}
        return {**said, "true": (scene.boxes[row], true)} if true >= 0 else said

    def tell(self, scene: Scene, row: int, answers: Mapping[str, Answer]) -> Mistake:
        number, verdict = scene.object_of(row), scene.errors.verdicts[row]
        said, true = int(scene.classes[row]), int(scene.truth.classes[number])
        attribute = scene.class_attribute
        figures: dict[str, Any] = {"said": said, "true": true, "iou": float(scene.errors.iou[row])}
        for role in ("said", "true"):
            answer = answers.get(role)
            figures[f"score_{role}"] = None if answer is None else answer.score
            figures[f"heat_{role}"] = answer and scene.heat(answer.maps, scene.boxes[row], number, attribute)
        words = f"{scene.name(said)} ({float(scene.scores[row]):.2f}) in place of {scene.object_name(number)}"
        if len(answers) == 2:
            figures["likeness"] = likeness(scene, answers["said"].maps, answers["true"].maps, attribute)
            words += f", which has {answers['true'].score:.2f} on the same box: {_compared(figures['likeness'])}"
        else:
            figures["likeness"] = None
            words += ": the detector has no maps of the true class on this box"
        if verdict is Verdict.BOTH:
            words += f"; and the place is off (IoU {figures['iou']:.2f})"
        maps = {role: answer.maps for role, answer in answers.items()}
        return Mistake(row, verdict, scene.id_of(number), attribute, maps, figures, f"{words}.")


class WrongPlace(Kind):
    """Errors of place: the side that is off most, in units of the object's width or height.

    Figures: ``iou``; ``offsets``, by side, pixels by which the detection reaches further than the annotated box,
    negative where it reaches less far; ``relative``, these as shares of the object's width or height; ``side``;
    ``holds``, ids of other objects that lie in the box; ``heat_detected`` and ``heat_annotated`` of that side's maps,
    see :meth:`Scene.heat`; ``likeness``, their cosine.
    """

    def asks(self, scene: Scene, row: int) -> dict[str, tuple[Tensor, int]]:
        return {"annotated": (scene.truth.boxes[scene.object_of(row)], int(scene.classes[row]))}

    def tell(self, scene: Scene, row: int, answers: Mapping[str, Answer]) -> Mistake:
        number, box = scene.object_of(row), scene.boxes[row]
        annotated = scene.truth.boxes[number]
        offsets = ((box - annotated) * box.new_tensor([-1.0, -1.0, 1.0, 1.0])).tolist()
        sides = (annotated[2:] - annotated[:2]).repeat(2).tolist()
        relative = [offset / side for offset, side in zip(offsets, sides)]
        worst = max(range(4), key=lambda k: abs(relative[k]))
        side = SIDES[worst]
        inside = scene.share_of_each_object(box)
        held = [g for g in range(len(inside)) if g != number and float(inside[g]) >= _MOSTLY]
        figures: dict[str, Any] = {
            "iou": float(scene.errors.iou[row]),
            "offsets": dict(zip(SIDES, offsets)),
            "relative": dict(zip(SIDES, relative)),
            "side": side,
            "holds": [scene.truth.ids[g] for g in held],
            "heat_detected": None,
            "heat_annotated": None,
            "likeness": None,
        }
        reach = "out" if relative[worst] > 0 else "in"
        size = "width" if side in ("left", "right") else "height"
        words = (
            f"{scene.name(scene.classes[row])} ({float(scene.scores[row]):.2f}) on {scene.object_name(number)}, "
            f"IoU {figures['iou']:.2f}: its {side} side lies {abs(offsets[worst]):.0f} pixels "
            f"({abs(relative[worst]):.0%} of the object's {size}) too far {reach}"
        )
        if held:
            named = [scene.object_name(g) for g in held[:_NAMED]]
            more = [f"{len(held) - _NAMED} more"] if len(held) > _NAMED else []
            words += f", and the box holds {' and '.join([*named, *more])} as well"
        maps: dict[str, HeatMaps] = {}
        if side in scene.heatmaps.attributes:
            maps["detected"] = scene.heatmaps[row]
            figures["heat_detected"] = scene.heat(maps["detected"], box, number, side)
            words += "; " + _where(scene, figures["heat_detected"], "the heat of that side", number)
            if "annotated" in answers:
                maps["annotated"] = answers["annotated"].maps
                figures["heat_annotated"] = scene.heat(maps["annotated"], annotated, number, side)
                figures["likeness"] = likeness(scene, maps["detected"], maps["annotated"], side)
                words += f", {_where(scene, figures['heat_annotated'], 'of the annotated box', number)}"
            else:
                words += "; the detector has no prediction that stands for the annotated box"
        return Mistake(row, scene.errors.verdicts[row], scene.id_of(number), side, maps, figures, f"{words}.")


class SecondBox(Kind):
    """Duplicates: how alike their maps are to those of the detection that took the object, and what Odam-NMS says.

    Figures: ``rival``, that detection; ``iou_with_rival``; ``likeness``, the cosine of both maps, of Odam-NMS's
    attribute if there are such; ``removed``, whether Odam-NMS drops this detection beside the rival;
    ``iou_threshold``, ``low`` and ``high`` it does so by.
    """

    def tell(self, scene: Scene, row: int, answers: Mapping[str, Answer]) -> Mistake:
        del answers
        number, rival = scene.object_of(row), int(scene.errors.rivals[row])
        known = scene.nms.attribute in scene.heatmaps.attributes
        attribute = scene.nms.attribute if known else scene.class_attribute
        alike = scene.heatmaps[[rival, row]].similarity(attribute, scene.nms.stride).detach().cpu()
        iou = box_iou(scene.boxes[[rival, row]], scene.boxes[[rival, row]])
        threshold, low, high = scene.nms.thresholds
        removed = bool(duplicates(iou, alike, threshold, low, high)[0, 1])
        figures = {
            "rival": rival,
            "iou_with_rival": float(iou[0, 1]),
            "likeness": float(alike[0, 1]),
            "removed": removed,
            "iou_threshold": threshold,
            "low": low,
            "high": high,
        }
        words = (
            f"another {scene.name(scene.classes[row])} ({float(scene.scores[row]):.2f}) on "
            f"{scene.object_name(number)}, beside one of {float(scene.scores[rival]):.2f} that it overlaps by "
            f"{figures['iou_with_rival']:.2f}: their maps have a likeness of {figures['likeness']:.2f}, and Odam-NMS "
            f"would {'remove' if removed else 'keep'} it"
        )
        maps = {"detection": scene.heatmaps[row], "rival": scene.heatmaps[rival]}
        return Mistake(row, Verdict.DUPLICATE, scene.id_of(number), attribute, maps, figures, f"{words}.")


class Background(Kind):
    """Detections where nothing is annotated: where their heat lies.

    Figures: ``iou`` with the nearest object; ``inside`` the box, ``around`` it (as far again as half its sides) and
    ``elsewhere``, shares that add up to 1, None without heat; ``other``, the object with the most heat if that is at
    least .05: ``annotation_id``, ``share``, ``in_box``, ``in_mask``, and ``holds``, how much of the detection's box
    lies in the object's.
    """

    def tell(self, scene: Scene, row: int, answers: Mapping[str, Answer]) -> Mistake:
        del answers
        box, maps, attribute = scene.boxes[row], scene.heatmaps[row], scene.class_attribute
        half = (box[2:] - box[:2]) / 2
        inside, grown = (
            scene.heat(maps, one, -1, attribute) for one in (box, torch.cat([box[:2] - half, box[2:] + half]))
        )
        near, far = inside["inside"], grown["inside"]
        figures: dict[str, Any] = {
            "iou": float(scene.errors.iou[row]),
            "inside": near,
            "around": None if near is None else far - near,
            "elsewhere": None if near is None else 1.0 - far,
            "other": inside["other"],
        }
        place = "where nothing is annotated"
        if figures["iou"] > 0:
            nearest = scene.object_name(scene.object_of(row))
            place = f"that fits no object (the nearest is {nearest}, IoU {figures['iou']:.2f})"
        words = f"{scene.name(scene.classes[row])} ({float(scene.scores[row]):.2f}) {place}"
        if near is None:
            words += ": its map is zero"
        else:
            words += (
                f": {near:.0%} of its heat lies in its box, {figures['around']:.0%} around it, "
                f"{figures['elsewhere']:.0%} elsewhere"
            )
        if inside["other"] is not None:
            number = scene.truth.ids.index(inside["other"]["annotation_id"])
            held = float(scene.share_in_each_object(box)[number])
            figures["other"] = {**inside["other"], "holds": held}
            words += f"; {inside['other']['share']:.0%} on {scene.object_name(number)}"
            words += ", of which the box is a part" if held >= _MOSTLY else ""
        nearest_id = scene.id_of(scene.object_of(row))
        maps_by_role = {"detection": maps}
        return Mistake(row, Verdict.BACKGROUND, nearest_id, attribute, maps_by_role, figures, f"{words}.")


KINDS: dict[Verdict, Kind] = {
    Verdict.CLASSIFICATION: WrongClass(),
    Verdict.LOCALISATION: WrongPlace(),
    Verdict.BOTH: WrongClass(),
    Verdict.DUPLICATE: SecondBox(),
    Verdict.BACKGROUND: Background(),
}


def likeness(scene: Scene, one: HeatMaps, other: HeatMaps, attribute: str) -> float:
    """Cosine of the maps of two detections of the image, on Odam-NMS's grid; 0 where one has no heat."""
    return float(HeatMaps.cat([one, other]).similarity(attribute, scene.nms.stride)[0, 1])


def _compared(alike: float) -> str:
    kind = "the same" if alike >= _ALIKE else "different" if alike < _DIFFERENT else "partly the same"
    return f"both look at {kind} places (likeness {alike:.2f})"


def _where(scene: Scene, heat: Mapping[str, Any], what: str, own: int) -> str:
    if heat["own"] is None:
        return f"{what} is zero"
    words = f"{what}: {heat['own']:.0%} on the object"
    if heat["other"] is not None:
        number = scene.truth.ids.index(heat["other"]["annotation_id"])
        words += f" and {heat['other']['share']:.0%} on {scene.object_name(number)}"
    return words
