"""Detectors that are seen as others: those that are already built, and those in front of which images are padded."""

from __future__ import annotations

from dataclasses import replace

from ...meta_arch import BuiltDetector
from ...meta_arch.padded import PaddedDetector
from .replay import Replayed, replay


@replay.register
def _of_built(detector: BuiltDetector, batched_inputs: list[dict]) -> Replayed:
    return detector.ask(lambda form: replay(form, batched_inputs))


@replay.register
def _of_padded(detector: PaddedDetector, batched_inputs: list[dict]) -> Replayed:
    inner, padded = detector.in_parts(batched_inputs)
    now = replay(inner, padded)
    found = detector.brought_back([image.detections for image in now.images], batched_inputs)
    images = [
        replace(image, detections=result, image_size=size)
        for image, (result, size) in zip(now.images, found, strict=True)
    ]
    return Replayed(images, now.trace_of)
