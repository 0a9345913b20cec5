"""Training data as a function of a seed and a place in the stream, so that a resumed run sees what it would have seen.

Detectron2's own stream begins anew with every start of a process, and its random resizes and flips depend on which
worker draws them.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, MapDataset, build_detection_train_loader
from detectron2.data.build import _train_loader_from_config, trivial_batch_collator
from detectron2.utils import comm

from ..data.training import training_records

# What the parts of a run draw their numbers for: data, or a training step.
DATA, STEP = 0, 1


def seed_generators(*numbers: int) -> None:
    """Seeds the generators of Python, NumPy and torch by some whole numbers together."""
    seeds = np.random.SeedSequence(numbers).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    torch.manual_seed(int(seeds[2]))


@contextmanager
def own_generators(*numbers: int) -> Iterator[None]:
    """The same inside; outside, the generators go on as if nothing had been drawn."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        seed_generators(*numbers)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


class SeededDataset(torch.utils.data.Dataset):
    """A data set whose samples are drawn by the place that they have in the stream of a process.

    Args:
        dataset: maps numbers to samples, with random changes.
        seed: of the run.
    """

    def __init__(self, dataset: torch.utils.data.Dataset, seed: int):
        self.dataset, self.seed, self.rank = dataset, seed, comm.get_rank()

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # those with numbers have a length

    def __getitem__(self, place: tuple[int, int]) -> Any:
        """The sample for (place in the stream, number in the data set)."""
        position, index = place
        with own_generators(self.seed, DATA, self.rank, position):
            return self.dataset[index]


class StreamOfBatches(torch.utils.data.Sampler):
    """Batches of images of one orientation, grouped as Detectron2 groups them, but before they are loaded.

    Args:
        sampler: numbers without end.
        groups: the group of each number; only those of one group share a batch.
        batch_size: images of a batch, of this process.

    Attributes:
        start: how many batches are passed over; those who resume a run set it.
    """

    def __init__(self, sampler: torch.utils.data.Sampler, groups: Sequence[int], batch_size: int):
        self.sampler, self.groups, self.batch_size, self.start = sampler, groups, batch_size, 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        waiting: dict[int, list[tuple[int, int]]] = {}
        complete = 0
        for position, index in enumerate(self.sampler):
            batch = waiting.setdefault(self.groups[index], [])
            batch.append((position, index))
            if len(batch) == self.batch_size:
                waiting[self.groups[index]] = []
                complete += 1
                if complete > self.start:
                    yield batch


def build_train_loader(cfg: CfgNode):
    """The loader of training data; with a ``SEED`` that is not negative, one that depends on nothing else.

    Detectron2's own where there is no seed, or the data set is no list of records.
    """
    if cfg.SEED < 0:
        return build_detection_train_loader(cfg, dataset=training_records(cfg))
    share, rest = divmod(cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size())
    if share == 0 or rest:
        raise ValueError(
            f"`SOLVER.IMS_PER_BATCH` must be a multiple of the {comm.get_world_size()} processes; got "
            f"{cfg.SOLVER.IMS_PER_BATCH}: change one of them"
        )
    records = training_records(cfg)
    if not isinstance(records, list):
        return build_detection_train_loader(cfg, dataset=records)
    with own_generators(cfg.SEED, DATA):  # the samplers draw their seeds when they are made
        parts = _train_loader_from_config(cfg, dataset=records)
    grouped = parts["aspect_ratio_grouping"]
    groups = [int(grouped and record["width"] > record["height"]) for record in records]
    dataset = MapDataset(DatasetFromList(records, copy=False), parts["mapper"])
    return torch.utils.data.DataLoader(
        SeededDataset(dataset, cfg.SEED),
        batch_sampler=StreamOfBatches(parts["sampler"], groups, share),
        num_workers=parts["num_workers"],
        collate_fn=trivial_batch_collator,
        # Else a loader draws from everybody's generator when it begins, which a resumed run does in another step.
        generator=torch.Generator(),
    )
