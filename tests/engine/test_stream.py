"""Training data that depend on a seed and a place in the stream alone."""

import random

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm

from odam_d2 import model_zoo
from odam_d2.engine.stream import SeededDataset, StreamOfBatches, build_train_loader, own_generators
from tests.helpers import synthetic_dataset


class Chance(torch.utils.data.Dataset):
    """Draws a number from each generator."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return index, random.random(), float(np.random.rand()), float(torch.rand(1))


def test_samples_depend_on_seed_and_place_alone(monkeypatch):
    dataset = SeededDataset(Chance(), seed=3)
    first = [dataset[position, 2] for position in range(4)]
    random.seed(9)
    assert [dataset[position, 2] for position in (3, 1)] == [first[3], first[1]]
    assert all(len({sample[k] for sample in first}) == 4 for k in (1, 2, 3))
    assert SeededDataset(Chance(), seed=4)[0, 2] != first[0]
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    assert SeededDataset(Chance(), seed=3)[0, 2][1] != first[0][1]
    assert dataset[0, 4] == (4, *first[0][1:]) and len(dataset) == 5


def test_generators_outside_go_on_as_if_nothing_had_been_drawn():
    expected = (random.random(), float(np.random.rand()), float(torch.rand(1)))
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with pytest.raises(KeyError), own_generators(1, 2):
        random.random(), np.random.rand(), torch.rand(1)
        raise KeyError
    assert (random.random(), float(np.random.rand()), float(torch.rand(1))) == expected


def take(iterable, count):
    return [batch for batch, _ in zip(iterable, range(count))]


@pytest.mark.parametrize("start", [0, 3])
def test_batches_are_detectron2s(start):
    wide = [True, False, True, True, False, True, False]
    records = [{"number": k, "width": 2 if w else 1, "height": 1.5} for k, w in enumerate(wide)]
    sampler = TrainingSampler(7, seed=1)
    batches = StreamOfBatches(sampler, [int(w) for w in wide], 2)
    batches.start = start
    theirs = AspectRatioGroupedDataset((records[index] for index in sampler), 2)
    expected = [[record["number"] for record in batch] for batch in take(theirs, 12)][start:]
    found = take(batches, 12 - start)
    assert [[index for _, index in batch] for batch in found] == expected
    # Places in the stream count what was drawn, whether or not it was passed over.
    order = take(sampler, 100)
    assert all(order[position] == index for batch in found for position, index in batch)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    with synthetic_dataset("test_stream", "scene", "val", tmp_path_factory.mktemp("data"), 5) as name:
        yield name


def config(dataset, **keys):
    cfg = model_zoo.get_config("synthetic/faster_rcnn_compact_FPN", trained=False)
    cfg.DATASETS.TRAIN, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = (dataset,), 2, 0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.SEED = (64, 80, 96, 112), 7
    cfg.merge_from_list([part for pair in keys.items() for part in pair])
    return cfg


def seen(loader, count):
    """What a loader gives, as something that can be compared."""
    return [[(one["image_id"], one["image"].shape, int(one["image"].sum())) for one in b] for b in take(loader, count)]


def test_a_loader_can_begin_in_the_middle_and_workers_change_nothing(dataset):
    whole = seen(build_train_loader(config(dataset)), 6)
    assert len({image for batch in whole for image in batch}) > 8  # sizes and flips vary
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    loader = build_train_loader(config(dataset))
    loader.batch_sampler.start = 4
    assert seen(loader, 2) == whole[4:]
    assert seen(build_train_loader(config(dataset, **{"DATALOADER.NUM_WORKERS": 1})), 3) == whole[:3]
    assert seen(build_train_loader(config(dataset, SEED=8)), 3) != whole[:3]


class Stream(torch.utils.data.IterableDataset):
    """Records without end, and without numbers."""

    def __iter__(self):
        while True:
            yield from DatasetCatalog.get("test_stream")


def test_a_data_set_that_is_no_list_is_left_to_detectron2(dataset):
    DatasetCatalog.register("test_stream_endless", Stream)
    loader = build_train_loader(config("test_stream_endless"))
    DatasetCatalog.remove("test_stream_endless")
    assert len(take(loader, 1)[0]) == 2 and not isinstance(getattr(loader, "batch_sampler", None), StreamOfBatches)


def test_other_samplers_and_no_seed(dataset):
    factors = config(dataset, **{"DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler"})
    assert seen(build_train_loader(factors), 3) == seen(build_train_loader(factors), 3)
    unseeded = build_train_loader(config(dataset, SEED=-1))
    assert not isinstance(getattr(unseeded, "batch_sampler", None), StreamOfBatches)
    assert len(take(unseeded, 1)[0]) == 2


def test_a_batch_must_be_shared_out_evenly(dataset, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    with pytest.raises(ValueError, match="`SOLVER.IMS_PER_BATCH` must be a multiple of the 3 processes; got 2"):
        build_train_loader(config(dataset))
