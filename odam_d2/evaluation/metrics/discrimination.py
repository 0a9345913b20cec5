"""How well the maps of neighbours keep apart: the object discrimination index.

Shape letters: R maps, G objects of the same image, (h, w) the image.
Source: Zhao and Chan, ICLR 2023 (arXiv 2304.06354), section 4.
"""

import torch
from torch import Tensor
from torchvision.ops import distance_box_iou


def object_discrimination_index(maps: Tensor, objects: Tensor, inside: Tensor) -> Tensor:
    """Energy in the *other* objects of the image over the energy in all of its objects [-].

    A pixel that an object shares with others counts as its own; the paper does not say whose it is.

    Args:
        maps: (R, h, w) float, not negative.
        objects: (R,) int64, the object that each map explains.
        inside: (G, h, w) bool, the box or the mask of each object.

    Returns:
        (R,) float32 in [0, 1]; 1 for a map without energy in any object; NaN where the object is alone in its image.
    """
    heat = maps.flatten(1).double()
    pixels = inside.flatten(1)
    anywhere = (heat * pixels.any(0)).sum(1) if len(pixels) else heat.new_zeros(len(heat))
    own = (heat * pixels[objects]).sum(1)
    index = torch.where(anywhere > 0, 1.0 - own / anywhere.clamp(min=1e-300), 1.0)
    return torch.where(torch.tensor(len(inside) > 1, device=maps.device), index, float("nan")).float()


def energy_in_objects(maps: Tensor, inside: Tensor) -> Tensor:
    """(R, G) float32: the share of each map's sum in each object; a map of all zeros has none."""
    heat = maps.flatten(1).double()
    total = heat.sum(1, keepdim=True)
    share = heat.new_zeros(len(maps), len(inside))
    # One after the other: all of them as doubles would be eight times the masks.
    for number, pixels in enumerate(inside.flatten(1)):
        share[:, number] = heat @ pixels.double()
    return torch.where(total > 0, share / total.clamp(min=1e-300), 0.0).float()


def pairs_of_objects(maps: Tensor, objects: Tensor, inside: Tensor, boxes: Tensor) -> Tensor:
    """For each map and each *other* object of the image: how near they are, and how much heat strays there.

    Args:
        maps: (R, h, w) float, not negative.
        objects: (R,) int64, the object that each map explains.
        inside: (G, h, w) bool.
        boxes: (G, 4) XYXY of the objects.

    Returns:
        (P, 4) float32, a row for each pair: the map's row, the other object, the DIoU of the two objects' boxes (Zheng
        et al., AAAI 2020; from -1, far apart, to 1), and the share of the map's sum inside the other object.
    """
    share = energy_in_objects(maps, inside)
    nearness = distance_box_iou(boxes[objects], boxes)
    row, other = (torch.arange(len(boxes), device=boxes.device) != objects[:, None]).nonzero().unbind(1)
    return torch.stack([row.float(), other.float(), nearness[row, other], share[row, other]], 1)
