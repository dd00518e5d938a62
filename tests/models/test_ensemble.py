"""Ensembles as networks: what they answer, how ties end, what is on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lorgnette.config import CnnConfig, MlpConfig, ModelConfig, PerceptronConfig, ResnetConfig
from lorgnette.devices import Device
from lorgnette.errors import ConfigError, ModelError
from lorgnette.model import Model, ModelSpec
from lorgnette.models import build, count_parameters
from lorgnette.models.ensemble import (
    Ensemble,
    EnsembleConfig,
    MemberConfig,
    ballots,
    combine,
    resize,
)
from lorgnette.resolve import load
from lorgnette.storage import Storage

CPU = Device(torch.device("cpu"), "float32")
RNG = np.random.default_rng(0)


def spec_of(
    config: ModelConfig | EnsembleConfig, classes: int = 2, size: int = 8, features: int = 0,
    mean: float = 100.0, deviation: float = 50.0,
) -> ModelSpec:  # fmt: skip
    width = features or 3
    return ModelSpec(
        model=config,
        classes=tuple(f"class {k}" for k in range(classes)),
        features=tuple(f"v{k}" for k in range(features)),
        impute=bool(features),
        size=0 if features else size,
        color="rgb",
        fit="crop",
        mean=(mean,) * width,
        deviation=(deviation,) * width,
    )


def single(seed: int, spec: ModelSpec, device: Device = CPU) -> Model:
    """A network with random weights that are large enough to have opinions."""
    torch.manual_seed(seed)
    network = build(spec.model, spec.input_shape, len(spec.classes))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.7)
    return Model.of(spec, network, device)


def together(
    models: list[Model], how: str = "average", weights: list[int] | None = None,
    device: Device = CPU,
) -> Model:  # fmt: skip
    members = tuple(
        MemberConfig.model_validate(
            {
                "model": model.spec.model.model_dump(),
                "size": model.spec.size,
                "mean": model.spec.mean,
                "deviation": model.spec.deviation,
                "weight": weight,
            }
        )
        for model, weight in zip(models, weights or [1] * len(models), strict=True)
    )
    config = EnsembleConfig.model_validate({"combine": how, "members": members})
    first = models[0].spec
    spec = first.model_copy(
        update={
            "model": config,
            "size": max(model.spec.size for model in models),
            "mean": (0.0,) * len(first.mean),
            "deviation": (1.0,) * len(first.mean),
        }
    )
    return Model.of(spec, Ensemble(config, [model.network for model in models]), device)


def images(n: int = 20, size: int = 8) -> np.ndarray:
    return RNG.integers(0, 256, (n, size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("config", "classes"),
    [
        (CnnConfig(filters=(4,)), 2),  # one logit
        (CnnConfig(filters=(4,), output="softmax"), 2),
        (ResnetConfig(widths=(4, 8), blocks=0), 3),
        (PerceptronConfig(), 4),
    ],
)
def test_one_member_alone_is_what_it_was(config: ModelConfig, classes: int) -> None:
    model = single(1, spec_of(config, classes))
    items = images()
    alone = model.probabilities(items)
    assert alone.std() > 0.01
    for how in ("average", "vote"):
        answers = together([model], how).probabilities(items)
        assert answers.shape == (20, classes)
        np.testing.assert_array_equal(answers.argmax(1), alone.argmax(1))
    np.testing.assert_allclose(together([model]).probabilities(items), alone, atol=1e-6)


def test_the_average_is_weighted_and_each_member_standardises_in_its_own_way() -> None:
    one = single(1, spec_of(CnnConfig(filters=(4,))))
    other = single(2, spec_of(MlpConfig(units=(6,)), mean=30.0, deviation=80.0))
    items = images()
    expected = (3 * one.probabilities(items) + other.probabilities(items)) / 4
    found = together([one, other], weights=[3, 1]).probabilities(items)
    np.testing.assert_allclose(found, expected, atol=1e-6)


# Each row of `answers` is a member's probabilities for one item of three classes.
@pytest.mark.parametrize(
    ("answers", "weights", "winner", "shares"),
    [
        ([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.0, 1.0, 0.0]], [1, 1, 1], 0, [2 / 3, 1 / 3, 0]),
        # One vote each: the mean probability decides, for the last class here.
        ([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.0, 0.1, 0.9]], [1, 1, 1], 2, None),
        # The highest mean is that of a class without a vote: it cannot win.
        ([[0.51, 0.0, 0.49], [0.0, 0.52, 0.48]], [1, 1], 1, None),
        # Equal means too: the first class.
        ([[0.2, 0.8, 0.0], [0.2, 0.0, 0.8]], [1, 1], 1, None),
        # A member that counts twice breaks a tie.
        ([[0.9, 0.1, 0.0], [0.4, 0.0, 0.6]], [1, 2], 2, [1 / 3, 0, 2 / 3]),
        # A member that cannot decide votes for the first of its best.
        ([[0.4, 0.4, 0.2]], [1], 0, [1, 0, 0]),
    ],
)
def test_votes(
    answers: list[list[float]], weights: list[int], winner: int, shares: list[float] | None
) -> None:
    found = combine(torch.tensor(answers)[:, None], torch.tensor(weights), "vote")[0]
    assert int(found.argmax()) == winner
    assert float(found.sum()) == pytest.approx(1)
    if shares is not None:
        assert found.tolist() == pytest.approx(shares)
    else:
        # The winner of a tie is a hundredth of a vote ahead of each other one.
        votes = (ballots(torch.tensor(answers)) * torch.tensor(weights)[:, None]).sum(0)
        lead = 0.01 / (sum(weights) + 0.01)
        rivals = [k for k in range(3) if votes[k] == votes.max() and k != winner]
        assert rivals
        assert all(float(found[winner] - found[k]) == pytest.approx(lead, rel=1e-3) for k in rivals)


def test_votes_of_many_members_end_as_the_tie_was_decided() -> None:
    # Fifty members; the shares go through a logarithm and a softmax and must not lose the lead.
    models = [single(seed, spec_of(PerceptronConfig(), 2, size=4)) for seed in range(50)]
    items = images(400, 4)
    answers = np.stack([model.probabilities(items) for model in models])
    votes = (answers.argmax(2)[..., None] == np.arange(2)).sum(0)
    tied = votes[:, 0] == votes[:, 1]
    assert tied.sum() > 5
    found = together(models, "vote").probabilities(items).argmax(1)
    expected = np.where(tied, answers.mean(0).argmax(1), votes.argmax(1))
    np.testing.assert_array_equal(found, expected)


def test_smaller_members_see_smaller_images() -> None:
    small = single(1, spec_of(MlpConfig(units=(6,)), size=4))
    large = single(2, spec_of(MlpConfig(units=(6,)), size=8))
    items = images(size=8)
    model = together([small, large])
    assert model.spec.size == 8
    areas = items.reshape(20, 4, 2, 4, 2, 3).astype(np.float32).mean((2, 4))
    inputs = torch.from_numpy(areas).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logit = small.network((inputs - 100) / 50)[:, 0]
    expected = (torch.sigmoid(logit).numpy() + large.probabilities(items)[:, 1]) / 2
    np.testing.assert_allclose(model.probabilities(items)[:, 1], expected, atol=1e-5)


def test_resizing_keeps_what_is_even_and_leaves_the_size_alone() -> None:
    even = torch.full((2, 3, 12, 12), 77.0)
    for size in (6, 5, 4):  # whole fractions and another
        found = resize(even, size)
        assert found.shape == (2, 3, size, size)
        torch.testing.assert_close(found, torch.full_like(found, 77.0))
    assert resize(even, 12) is even
    vectors = torch.rand(4, 7)
    assert resize(vectors, 0) is vectors


def test_a_number_that_a_vector_lacks_is_each_members_own_mean() -> None:
    one = single(1, spec_of(MlpConfig(units=(6,)), features=3, mean=5.0, deviation=2.0))
    other = single(2, spec_of(MlpConfig(units=(6,)), features=3, mean=-1.0, deviation=1.0))
    items = RNG.normal(2, 3, (10, 3)).astype(np.float32)
    items[::3, 1] = np.nan
    expected = (one.probabilities(items) + other.probabilities(items)) / 2
    found = together([one, other]).probabilities(items)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.isfinite(found).all()


def test_what_nobody_believes_stays_finite() -> None:
    model = single(1, spec_of(PerceptronConfig(), 3, size=4))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(1e4)
    for how in ("average", "vote"):
        ensemble = together([model], how)
        with torch.inference_mode():
            logits = ensemble.network(torch.rand(9, 3, 4, 4) * 255)
        assert torch.isfinite(logits).all()
        assert logits.min() < -80
        p = ensemble.probabilities(images(9, 4))
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
        assert (p == 0).any()


def test_half_precision_is_that_of_the_members() -> None:
    device = Device(torch.device("cpu"), "bfloat16")
    models = [single(seed, spec_of(CnnConfig(filters=(4,)), size=8), device) for seed in range(3)]
    items = images(40)
    expected = np.mean([model.probabilities(items) for model in models], axis=0)
    found = together(models, device=device).probabilities(items)
    assert found.dtype == np.float32
    # The members compute in half precision, what puts them together does not.
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_it_is_saved_and_loaded_like_any_model(tmp_path: Path) -> None:
    models = [single(seed, spec_of(CnnConfig(filters=(4,)))) for seed in range(3)]
    model = together(models, "vote", weights=[1, 4, 2])
    storage = Storage.at(tmp_path)
    model.save(storage)
    found = Model.load(storage, CPU)
    assert found.spec == model.spec
    assert found.spec.is_ensemble
    assert not models[0].spec.is_ensemble
    items = images()
    np.testing.assert_array_equal(found.probabilities(items), model.probabilities(items))
    assert count_parameters(found.network) == 3 * count_parameters(models[0].network)
    # Each network once, however often it counts; what standardises is in the text beside it.
    assert set(found.network.state_dict()) == {
        f"members.{n}.{key}" for n in range(3) for key in models[0].network.state_dict()
    }
    data = json.loads((tmp_path / "model.json").read_text())
    assert [member["weight"] for member in data["model"]["members"]] == [1, 4, 2]


def test_weights_of_another_ensemble_are_refused(tmp_path: Path) -> None:
    models = [single(seed, spec_of(CnnConfig(filters=(4,)))) for seed in range(3)]
    together(models).save(Storage.at(tmp_path))
    weights = (tmp_path / "model.safetensors").read_bytes()
    together(models[:2]).save(Storage.at(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="damaged"):
        Model.load(Storage.at(tmp_path), CPU)


def test_impossible_ensembles_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="one member or more, got none"):
        build(EnsembleConfig(members=()), (3, 8, 8), 2)
    member = MemberConfig(model=MlpConfig(), size=16, mean=(0.0,) * 3, deviation=(1.0,) * 3)
    with pytest.raises(ConfigError, match="got 16 pixels for a member and 8 for the ensemble"):
        build(EnsembleConfig(members=(member,)), (3, 8, 8), 2)


def test_an_ensemble_cannot_be_trained() -> None:
    with pytest.raises(ConfigError, match="There is no model family 'ensemble'"):
        load(settings=["model.family=ensemble"])


def test_modules_of_members_are_found() -> None:
    model = together([single(seed, spec_of(CnnConfig(filters=(4,)))) for seed in range(2)])
    assert sum(isinstance(module, nn.Conv2d) for module in model.network.modules()) == 2
    assert not model.network.training
