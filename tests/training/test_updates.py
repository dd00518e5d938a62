"""The parts of a gang that need no second process."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gang_runs import curve, fit
from lorgnette.config import Augment
from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device
from lorgnette.resolve import load
from lorgnette.training.augment import augment
from lorgnette.training.batches import MemoryFeed, open_feed
from lorgnette.training.feed import Part
from lorgnette.training.shares import PartFeed, ShareFeed, deal, ranges
from lorgnette.training.updates.flat import Flat
from lorgnette.training.updates.whole import Present, WholeDropout, make_whole

CPU = Device(torch.device("cpu"), "float32")


@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 9))
def test_ranges_lose_no_row(items: int, shard: int, members: int) -> None:
    rows = np.arange(items) * 2
    offsets = np.append(np.arange(0, 2 * items, shard), 2 * items)
    found = ranges(rows, offsets, members)
    assert len(found) == members
    assert np.concatenate([np.arange(*span) for span in found]).tolist() == list(range(items))


def test_ranges_end_where_shards_do() -> None:
    offsets = np.arange(0, 1001, 10)
    assert ranges(np.arange(1000), offsets, 3) == [(0, 330), (330, 670), (670, 1000)]
    assert ranges(np.arange(1000), offsets[::25], 3) == [(0, 333), (333, 667), (667, 1000)]


@given(
    classes=st.integers(2, 5), items=st.integers(8, 60), shard=st.integers(3, 400),
    members=st.integers(1, 4),
)  # fmt: skip
def test_everybody_is_dealt_every_class(classes: int, items: int, shard: int, members: int) -> None:
    labels = np.repeat(np.arange(classes), items).astype(np.int32)  # sorted by class
    rows = np.arange(len(labels)) * 3 + 1
    offsets = np.append(np.arange(0, rows[-1] + 1, shard), rows[-1] + 1)
    hands = deal(rows, labels, offsets, members, classes)
    assert sorted(np.concatenate(hands).tolist()) == list(range(len(rows)))
    for hand in hands:
        assert (np.diff(hand) > 0).all()
        assert len(np.unique(labels[hand])) == classes
    assert len(deal(np.arange(900), np.zeros(900, np.int32), np.arange(0, 901, 5), 2, 2)) == 2


def feed_of(items: int) -> MemoryFeed:
    return MemoryFeed(torch.arange(items)[:, None].float(), torch.arange(items), CPU)


@pytest.mark.parametrize("skip", [0, 2])
def test_parts_of_a_batch_make_the_batch_of_one_process(skip: int) -> None:
    whole = feed_of(50)
    spans = [(0, 3), (3, 30), (30, 50)]
    parts = [
        PartFeed(MemoryFeed(whole.pixels[a:b], whole.labels[a:b], CPU), a, 50) for a, b in spans
    ]
    assert {part.steps(8) for part in parts} == {whole.steps(8)}
    assert {part.order for part in parts} == {whole.order}
    batches = zip(*(part.epoch(1, 2, 8, skip) for part in parts), strict=True)
    empty = 0
    for expected, found in zip(whole.epoch(1, 2, 8, skip), batches, strict=True):
        made = torch.full((len(expected.labels), 1), -1.0)
        for items, labels, part in found:
            assert part is not None
            assert part.whole == len(expected.labels)
            made[part.places] = items
            assert torch.equal(items[:, 0].long(), labels)
            empty += not len(labels)
        assert torch.equal(made, expected.items)
    assert empty  # a member without an item of a batch is among what is tried


@pytest.mark.parametrize("joined", [True, False])
def test_shares_have_as_many_steps_and_lose_no_row(dataset: Dataset, joined: bool) -> None:
    rows = np.arange(len(dataset))
    labels = np.arange(len(dataset), dtype=np.int32)
    spans, counts = [(0, 4), (4, 50), (50, 120)], (4, 46, 70)
    budget = 20 * dataset.item_bytes()  # the first share fits
    shares = [
        ShareFeed(open_feed(dataset, rows[a:b], labels[a:b], CPU, budget), counts, i, joined, "x")
        for i, (a, b) in enumerate(spans)
    ]
    epochs = [list(share.epoch(3, 1, 16)) for share in shares]
    steps = shares[0].steps(16)
    assert [len(epoch) for epoch in epochs] == [steps] * 3
    seen = torch.cat([batch.labels for epoch in epochs for batch in epoch])
    assert sorted(seen.tolist()) == list(range(120))
    if not joined:
        assert all(len(batch.labels) for epoch in epochs for batch in epoch)
        assert steps == 4
        return
    for batches in zip(*epochs, strict=True):
        places = torch.cat([batch.part.places for batch in batches if batch.part])
        assert places.tolist() == list(range(batches[0].whole))
    again = [batch.labels.tolist() for batch in shares[2].epoch(3, 1, 16, skip=3)]
    assert again == [batch.labels.tolist() for batch in epochs[2][3:]]


def test_a_server_is_fed_nothing() -> None:
    feed = ShareFeed(None, (10, 12), -1, False, "in memory")
    assert (feed.items, feed.steps(4)) == (22, 3)
    assert list(feed.epoch(0, 0, 4)) == list(feed.once(4)) == []


EVERYTHING = [
    Augment(flip_horizontal=True, flip_vertical=True, contrast=0.3, invert=0.5, cutout=0.3),
    Augment(flip_horizontal=True, rotation=20, translation=0.1, zoom_in=0.2, contrast=0.3),
]


@pytest.mark.parametrize("settings", EVERYTHING)
def test_an_image_is_changed_alike_whoever_has_it(settings: Augment) -> None:
    images = torch.rand(9, 3, 12, 12) * 255
    whole = augment(images, settings, torch.Generator().manual_seed(5))
    for places in ([4, 0, 7], [8], []):
        part = Part(torch.tensor(places, dtype=torch.int64), 9)
        found = augment(images[part.places], settings, torch.Generator().manual_seed(5), part)
        assert torch.allclose(found, whole[part.places], atol=1e-4)


def test_dropout_draws_what_one_process_draws() -> None:
    values = torch.randn(10, 33)
    torch.manual_seed(3)
    expected = nn.Dropout(0.4)(values)
    present = Present()
    layer = WholeDropout(0.4, present)
    for places in ([1, 5, 9], [0], []):
        present.part = Part(torch.tensor(places, dtype=torch.int64), 10)
        torch.manual_seed(3)
        own = values[present.part.places]
        if places:
            assert torch.equal(layer(own), expected[present.part.places])
    assert torch.equal(layer.eval()(values), values)


def test_names_and_weights_stay() -> None:
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.Flatten(), nn.Dropout(0.5)
    )
    before = {name: value.data_ptr() for name, value in network.state_dict().items()}
    made = network.eval()(torch.ones(2, 3, 5, 5))
    make_whole(network, Present())
    assert {name: value.data_ptr() for name, value in network.state_dict().items()} == before
    assert torch.allclose(network(torch.ones(2, 3, 5, 5)), made)


def test_a_network_as_a_vector() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network[1].weight.requires_grad_(False)
    flat = Flat(network)
    assert flat.size == 3 * 4 * 9 + 4 + 4 + 4 + 4
    held = flat.read()
    flat.write(held * 2)
    assert torch.equal(flat.read(), held * 2)
    first = next(flat.views(held))
    assert first.stride() == network[0].weight.stride()
    assert torch.equal(first * 2, network[0].weight)
    network(torch.ones(2, 3, 5, 5)).square().sum().backward()
    gradient = next(flat.views(flat.gradients()))
    assert torch.equal(gradient, network[0].weight.grad)


def test_gradients_that_add_up_are_those_of_a_larger_batch(
    dataset: Dataset, tmp_path: Path
) -> None:
    still = ["flip_horizontal=false", "rotation=0", "translation=0", "zoom_in=0", "zoom_out=0",
             "contrast=0"]  # fmt: skip
    more = ["model.family=mlp", "model.units=[8]", "train.device=cpu", "train.epochs=3",
            "train.schedule.name=constant", "train.optimizer.lr=0.01", "train.precision=float32",
            *(f"train.augment.{setting}" for setting in still)]  # fmt: skip
    found = {}
    for batch, added in ((16, 1), (8, 2), (8, 1), (7, 1), (7, 14)):
        words = [f"train.batch_size={batch}", f"train.update.accumulate={added}"]
        _, run = fit(dataset, load(settings=[*more, *words]), tmp_path / f"{batch}-{added}")
        found[batch, added] = curve(run)
    assert found[8, 2] == pytest.approx(found[16, 1], abs=1e-5)
    assert not np.allclose(found[8, 1], found[16, 1], atol=1e-3)
    assert np.isfinite(found[7, 14]).all()  # one step an epoch
