"""Hypothesis strategies for files as people have them: valid COCO, `.odgt` and image files, and what is left of them.

A case holds the bytes to read, and of what was not touched enough to check that it comes out as it went in.
"""

import copy
import io
import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import ExifTags, Image
from pycocotools import mask as mask_util

# Stand for what Python's own writer of JSON can't write: a number of more digits, and deeper lists, than it reads.
TOKENS = {"@digits@": "9" * 5000, "@deep@": "[" * 3000 + "]" * 3000}
# Values that tools and people write in place of others.
ODD = (
    *TOKENS, None, True, False, "", " ", "0", "12", " 7.0", "1e3", "NaN", "Infinity", "null", "[1, 2]", "\u0661\u0662",
    "\ud800", "a\0b", "x" * 5000, "..", "C:\\photos\\a.jpg", "<script>", "$x$", "\n",
    0, -1, 1, 2, 3.5, -0.0, 1e-320, 1e10, 1e308, -1e308, math.nan, math.inf, -math.inf, 2**31, 2**63, 10**30, 10**400,
    [], {}, [[]], [None], [1, 2, 3], [math.nan] * 4, [0, 0, 0, 0], [5, 5, -3, 4], ["1", "2", "3", "4"],
    [1e30, 1e30, 1e30, 1e30], [1, 2, 3, 4, 5], [[0, 0, 9e9, 0, 9e9, 9e9]],
    {"size": [4, 4], "counts": [16]}, {"size": [4, 4], "counts": "0"}, {"size": [10**6, 10**6], "counts": [0]},
    {"counts": "`" * 40}, {"size": "4", "counts": None},
)  # fmt: skip
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1")
HEIGHT, WIDTH = 24, 32  # of the images of files of annotations
COCO_NAMES, ODGT_IDS = ("1.png", "2.png", "3.png"), ("270,人", "271,人", "272,人", "273,人")
IMAGES = (*COCO_NAMES, *(f"{ident}.jpg" for ident in ODGT_IDS))  # what such files name


@dataclass
class Case:
    """Something to read.

    Attributes:
        data: the bytes of the file.
        content: what was valid, as Python's objects; None for images.
        untouched: places in `content` that no change reached; None where bytes changed, which can reach anything.
    """

    data: bytes
    content: Any = None
    untouched: set[tuple] | None = field(default_factory=set)


# ---- valid content ----


@st.composite
def boxes(draw, beyond: int = 0) -> list[float]:
    """(x, y, width, height) in the image, or up to `beyond` pixels outside of it."""
    x, y = draw(st.integers(-beyond, WIDTH - 3)), draw(st.integers(-beyond, HEIGHT - 3))
    width, height = draw(st.integers(2, WIDTH + beyond - x)), draw(st.integers(2, HEIGHT + beyond - y))
    found: list[float] = [x, y, width, height]
    return [value + 0.5 for value in found[:2]] + [width - 1.5, height - 1.5] if draw(st.booleans()) else found


@st.composite
def masks(draw, box: list[float]) -> Any:
    """Polygons or run lengths of a box, in all of COCO's forms; None for no mask."""
    x, y, width, height = box
    polygons = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    pixels[int(y) : int(y + height), int(x) : int(x + width)] = 1
    packed = mask_util.encode(pixels)
    flat = np.flatnonzero(np.diff(np.concatenate([[2], pixels.ravel(order="F"), [2]])))
    runs = ([] if pixels[0, 0] == 0 else [0]) + np.diff(flat).tolist()
    return draw(
        st.sampled_from(
            (
                None,
                polygons,
                polygons + [[x, y, x + 1, y, x + 1, y + 1]],
                {"size": [HEIGHT, WIDTH], "counts": runs},
                {"size": [HEIGHT, WIDTH], "counts": packed["counts"].decode()},
            )
        )
    )


@st.composite
def coco_content(draw) -> dict[str, Any]:
    """A valid COCO file."""
    images = [
        {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for number, name in enumerate(COCO_NAMES[: draw(st.integers(1, 3))], 1)
    ]
    names = ("person", "dog", "人")[: draw(st.integers(1, 3))]
    categories = [{"id": 10 * number + 1, "name": name, "supercategory": "thing"} for number, name in enumerate(names)]
    annotations = []
    for number in range(draw(st.integers(0, 5))):
        box = draw(boxes())
        annotations.append({
            "id": number + 1, "image_id": draw(st.sampled_from(images))["id"],
            "category_id": draw(st.sampled_from(categories))["id"], "bbox": box, "area": box[2] * box[3],
            "iscrowd": draw(st.sampled_from((0, 0, 0, 1))),
        })  # fmt: skip
        mask = draw(masks(box))
        if mask is not None:
            annotations[-1]["segmentation"] = mask
    return {"info": {"year": 2026}, "images": images, "annotations": annotations, "categories": categories}


@st.composite
def odgt_line(draw, number: int) -> dict[str, Any]:
    """A valid line of an `.odgt` file."""
    people = []
    for place in range(draw(st.integers(0, 4))):
        full = draw(boxes(beyond=6))
        seen = [*full[:2], full[2], full[3] / draw(st.sampled_from((1, 2)))]
        people.append({
            "tag": draw(st.sampled_from(("person", "person", "mask"))), "fbox": full, "vbox": seen,
            "hbox": [*full[:2], 1, 1], "head_attr": {"ignore": 0, "occ": 1, "unsure": 0},
            "extra": {"box_id": place, "occ": 0},
        })  # fmt: skip
    line = {"ID": ODGT_IDS[number], "gtboxes": people}
    return line | ({"height": HEIGHT, "width": WIDTH} if draw(st.booleans()) else {})


# ---- changes ----


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """Paths of keys to everything inside a tree."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [place for key in keys for place in ((*path, key), *places(tree[key], (*path, key)))]


def at(tree: Any, path: tuple) -> Any:
    """What lies at a path."""
    for key in path:
        tree = tree[key]
    return tree


@st.composite
def changed(draw, content: Any, most: int = 3) -> tuple[Any, set[tuple]]:
    """A tree after up to `most` changes, and the paths that they were made at."""
    tree, touched = copy.deepcopy(content), set()
    for _ in range(draw(st.integers(0, most))):
        found = places(tree)
        if not found:
            break
        path = draw(st.sampled_from(found))
        parent, key = at(tree, path[:-1]), path[-1]
        value = parent[key]
        way = draw(st.sampled_from(("odd", "odd", "text", "wrap", "move", "remove", "twice", "rename", "deep")))
        touched.add(path)
        if way == "odd":
            parent[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif way == "text":
            parent[key] = draw(st.sampled_from((str, json.dumps, lambda one: f" {one} ")))(value)
        elif way == "wrap":
            parent[key] = copy.deepcopy(draw(st.sampled_from(([value], {"value": value}, [value, value]))))
        elif way == "move":
            parent[key] = copy.deepcopy(at(tree, draw(st.sampled_from(found))))
        elif way == "deep":
            for _ in range(draw(st.sampled_from((1, 3, 30)))):
                value = [value]
            parent[key] = value
        elif way == "twice" and isinstance(parent, list):
            parent.append(copy.deepcopy(value))
        elif way == "rename" and isinstance(parent, dict):
            new = draw(st.sampled_from(("name", "bbox", "id", "ID", key.upper(), "", "rotation")))
            parent[new] = parent.pop(key)
            touched.add((*path[:-1], new))
        else:  # later entries of a list move up: what stood behind this one is touched, too
            touched |= {(*path[:-1], later) for later in range(key, len(parent))} if isinstance(key, int) else set()
            del parent[key]
    return tree, touched


@st.composite
def changed_bytes(draw, data: bytes, most: int = 4) -> bytes:
    """Bytes after 1 to `most` changes: cut off, cut out, doubled, overwritten."""
    for _ in range(draw(st.integers(1, most))):
        if not data:
            break
        begin = draw(st.integers(0, len(data) - 1))
        end = min(begin + draw(st.sampled_from((1, 1, 1, 2, 4, 16, 200))), len(data))
        new = draw(
            st.sampled_from(
                (b"", b"\0" * (end - begin), b"\xff" * (end - begin), data[begin:end] * 2, bytes([data[begin] ^ 1]))
            )
            | st.binary(min_size=end - begin, max_size=end - begin)
        )
        data = data[:begin] if draw(st.integers(0, 7)) == 0 else data[:begin] + new + data[end:]
    return data


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")


@st.composite
def _written(draw, text: str, content: Any, touched: set[tuple]) -> Case:
    encoding = draw(st.sampled_from(ENCODINGS))
    data = _encoded(text, encoding)
    untouched: set[tuple] | None = {path for path in places(content) if not _meets(path, touched)}
    if encoding in ("latin-1", "utf-16-le"):
        untouched = None
    if draw(st.integers(0, 4)) == 0:
        data, untouched = draw(changed_bytes(data)), None
    return Case(data, content, untouched)


def _meets(path: tuple, touched: set[tuple]) -> bool:
    """Whether a change was made at a path, above or below it."""
    return any(path[: len(other)] == other or other[: len(path)] == path for other in touched)


def _dumped(content: Any, ascii_only: bool) -> str:
    text = json.dumps(content, ensure_ascii=ascii_only)
    for token, meaning in TOKENS.items():
        text = text.replace(json.dumps(token), meaning)
    return text


@st.composite
def coco_files(draw) -> Case:
    """COCO files with changed values, types, nesting, encodings and bytes; about one in ten is as it was."""
    content = draw(coco_content())
    tree, touched = draw(changed(content))
    return draw(_written(_dumped(tree, draw(st.booleans())), content, touched))


@st.composite
def odgt_files(draw) -> Case:
    """`.odgt` files likewise, with blank, doubled and foreign lines in between."""
    content = [draw(odgt_line(number)) for number in range(draw(st.integers(1, len(ODGT_IDS))))]
    tree, touched = draw(changed(content))
    lines = [_dumped(line, draw(st.booleans())) for line in tree]
    for _ in range(draw(st.integers(0, 2))):
        lines.insert(
            draw(st.integers(0, len(lines))), draw(st.sampled_from(("", "  ", "\t", "[]", "{", "null", "\ufeff")))
        )
    text = draw(st.sampled_from(("\n", "\r\n", "\n\n"))).join(lines) + draw(st.sampled_from(("", "\n", "\n\n")))
    return draw(_written(text, content, touched))


# ---- images ----

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
_MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "TIFF": ("RGB", "RGBA", "L", "P", "1", "I;16", "F", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
}


@st.composite
def valid_images(draw, kind: str) -> bytes:
    """The bytes of an image of a format, of some mode, orientation and compression."""
    height, width = draw(st.sampled_from(((9, 13), (16, 16), (1, 20), (20, 1), (33, 7))))
    noise = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mode = draw(st.sampled_from(_MODES[kind]))
    colour = Image.fromarray(noise)
    image = colour.convert("I").convert("I;16") if mode == "I;16" else colour.convert(mode)
    options: dict[str, Any] = {}
    orientation = draw(st.integers(0, 8))
    if orientation:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options["exif"] = exif
    if kind == "TIFF":
        options["compression"] = draw(st.sampled_from(("raw", "tiff_lzw", "tiff_deflate", "packbits")))
    if kind == "WEBP":
        options["lossless"] = draw(st.booleans())
    if kind == "JPEG":
        options["progressive"] = draw(st.booleans())
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@st.composite
def image_files(draw) -> Case:
    """Images with changed bytes, more often among the first hundred, where headers are; some are as they were."""
    data = draw(valid_images(draw(st.sampled_from(FORMATS))))
    if draw(st.integers(0, 9)) == 0:
        return Case(data, None, set())
    head = draw(st.sampled_from((len(data), 40, 120, 400)))
    return Case(draw(changed_bytes(data[:head], most=2)) + data[head:], None, None)


STRATEGIES = {"coco": coco_files(), "odgt": odgt_files(), "image": image_files()}
