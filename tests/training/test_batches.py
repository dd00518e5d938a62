from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device
from lorgnette.training import batches
from lorgnette.training.batches import (
    Feed,
    MappedFeed,
    MemoryFeed,
    StreamFeed,
    batch_sizes,
    open_feed,
)

CPU = Device(torch.device("cpu"), "float32")
IMAGE_BYTES = 24 * 24 * 3


@given(items=st.integers(1, 10_000), batch=st.integers(1, 500))
def test_batches_are_as_equal_as_possible(items: int, batch: int) -> None:
    sizes = batch_sizes(items, batch)
    assert sizes.sum() == items
    assert sizes.max() <= batch
    assert sizes.max() - sizes.min() <= 1


@pytest.fixture(params=["memory", "mapped", "stream", "stream-tiny"])
def feed(request: pytest.FixtureRequest, dataset: Dataset) -> Feed:
    rows = np.arange(0, len(dataset), 2)
    labels = np.arange(len(rows), dtype=np.int32)  # so that an item can be told by its label
    images = {"stream": 50, "stream-tiny": 1}.get(request.param, 10_000)
    mapped = request.param == "mapped"
    found = open_feed(dataset, rows, labels, CPU, images * IMAGE_BYTES, mapped=mapped)
    kinds = {"memory": MemoryFeed, "mapped": MappedFeed}
    assert isinstance(found, kinds.get(request.param, StreamFeed))
    return found


def test_shared_pixels_come_in_the_order_of_own_ones(dataset: Dataset) -> None:
    rows, labels = np.arange(0, len(dataset), 2), np.arange(60, dtype=np.int32)
    own, shared = (
        open_feed(dataset, rows, labels, CPU, 10_000 * IMAGE_BYTES, mapped=mapped)
        for mapped in (False, True)
    )
    for one, other in (
        (own.epoch(1, 2, 7, 3), shared.epoch(1, 2, 7, 3)),
        (own.once(16), shared.once(16)),
    ):
        for mine, theirs in zip(one, other, strict=True):
            assert torch.equal(mine[0], theirs[0])
            assert torch.equal(mine[1], theirs[1])


def ids(feed: Feed, seed: int, epoch: int, skip: int = 0) -> list[list[int]]:
    return [labels.tolist() for _, labels, _ in feed.epoch(seed, epoch, 7, skip)]


def test_an_epoch_shows_every_item_once(feed: Feed) -> None:
    found = ids(feed, 0, 0)
    assert sorted(chain(*found)) == list(range(60))
    assert [len(batch) for batch in found] == batch_sizes(60, 7).tolist()


def test_the_order_depends_on_seed_and_epoch(feed: Feed) -> None:
    assert ids(feed, 0, 0) == ids(feed, 0, 0)
    assert ids(feed, 0, 0) != ids(feed, 0, 1)
    assert ids(feed, 0, 0) != ids(feed, 1, 0)
    assert list(chain(*ids(feed, 0, 0))) != list(range(60))


@pytest.mark.parametrize("skip", [1, 4, 8, 9])
def test_skipped_batches_are_the_first_ones(feed: Feed, skip: int) -> None:
    assert ids(feed, 3, 2, skip) == ids(feed, 3, 2)[skip:]


def test_pixels_belong_to_their_labels(feed: Feed, dataset: Dataset) -> None:
    for pixels, labels, part in feed.epoch(0, 0, 7):
        assert part is None
        assert pixels.dtype == torch.uint8
        expected = dataset.read(np.arange(0, len(dataset), 2)[labels.numpy()])
        assert (pixels.numpy() == expected).all()


def test_once_goes_through_in_order(feed: Feed) -> None:
    labels = [batch.tolist() for _, batch, _ in feed.once(25)]
    assert list(chain(*labels)) == list(range(60))
    assert [len(batch) for batch in labels] == [25, 25, 10]


@pytest.mark.parametrize("images", [40, 64])
def test_a_stream_mixes_classes_however_small_its_buffer(dataset: Dataset, images: int) -> None:
    # the source is sorted by class, so that a shard alone holds one class
    feed = open_feed(dataset, np.arange(len(dataset)), dataset.labels(), CPU, images * IMAGE_BYTES)
    assert isinstance(feed, StreamFeed)
    for epoch in range(3):
        shares = [labels.float().mean().item() for _, labels, _ in feed.epoch(0, epoch, 20)]
        assert all(0.1 < share < 0.9 for share in shares)


def test_windows_of_shards(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MIXED_SHARDS", 2)
    rows = np.arange(len(dataset))
    labels = np.arange(len(dataset), dtype=np.int32)
    feed = open_feed(dataset, rows, labels, CPU, 20 * IMAGE_BYTES)
    whole = ids(feed, 5, 1)
    assert sorted(chain(*whole)) == list(range(120))
    assert len({item // 16 for item in chain(*whole[:4])}) == 2  # two shards at a time
    for skip in (3, 5, 12, 17):
        assert ids(feed, 5, 1, skip) == whole[skip:]
