"""How real critics find images, over all of conf/model: of each image alone, and nothing of the model changes."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import pytest
import torch

from medsynth.augment.ada import ADA
from medsynth.batch import Batch, Request
from medsynth.checkpoint import build_model, fit_to_data
from medsynth.cli import conf_dir
from medsynth.networks.minibatch_stddev import MinibatchStddev
from medsynth.synthesis import Training

MODELS = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))
LABELLED = (
    "cgan",
    "clapgan",
    "cr3gan",
    "cwgan_gp",
    "multi_hinge",
    "projection",
)  # whose critics see labels; acgan's only guesses them
STEPS = 12
Compose = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.parametrize("name", MODELS)


BUILT: dict[tuple[str, int], Any] = {}  # composing takes longer than all else here


def built(compose: Compose, name: str, *, channels: int = 1) -> Any:
    """A copy of the model, in training mode."""
    if (name, channels) not in BUILT:
        torch.manual_seed(0)
        config = fit_to_data(compose(model=name)["model"], channels=channels, classes=2, covariates=0)
        BUILT[name, channels] = build_model(config)
    return deepcopy(BUILT[name, channels])


def batch(*, channels: int = 1) -> Batch:
    stream = torch.Generator().manual_seed(1)
    image = torch.rand(8, channels, 16, 16, generator=stream) * 2 - 1
    return Batch(image=image, row=torch.arange(8), label=torch.arange(8) % 2)


def part(whole: Batch, rows: slice) -> Batch:
    return cast(Batch, {key: value[rows] for key, value in whole.items()})


def test_only_a_model_without_critic_has_no_answer(name: str, compose: Compose):
    found = built(compose, name).realness(batch())
    assert (found is None) == (name == "vae")
    if found is not None:
        assert found.shape == (8,)
        assert found.isfinite().all()
        assert found.std() > 0


def test_an_answer_depends_on_its_image_alone(name: str, compose: Compose):
    model, whole = built(compose, name), batch()
    if (found := model.realness(whole)) is None:
        return
    model.realness(Batch(image=torch.ones(2, 1, 16, 16), row=torch.arange(2), label=torch.tensor([0, 1])))
    singles = torch.cat([model.realness(part(whole, slice(k, k + 1))) for k in range(8)])
    torch.testing.assert_close(singles, found, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.realness(part(whole, slice(3, 8))), found[3:], rtol=1e-4, atol=1e-5)


def test_nothing_of_the_model_changes(name: str, compose: Compose):
    model = built(compose, name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    groups = [layer.group for layer in model.modules() if isinstance(layer, MinibatchStddev)]
    modes = [layer.training for layer in model.modules()]
    random = torch.get_rng_state()
    found = model.realness(batch())
    assert found is None or not found.requires_grad
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [layer.training for layer in model.modules()] == modes
    assert [layer.group for layer in model.modules() if isinstance(layer, MinibatchStddev)] == groups
    assert all(weight.requires_grad for player in model.players() for weight in model.weights(player))


def test_augmentation_of_the_critic_does_not_show(name: str, compose: Compose):
    model = built(compose, name)
    plain = model.realness(batch())
    optimizers = {player: torch.optim.Adam for player in model.players()}
    model.begin(Training(batch_size=8, seed=0, optimizers=optimizers, critic_augment=ADA(p=1.0, target=None)))
    again = model.realness(batch())
    assert (plain is None and again is None) or torch.equal(plain, again)


def test_labels_count_where_the_critic_sees_them(name: str, compose: Compose):
    model, whole = built(compose, name), batch()
    other = cast(Batch, {**whole, "label": 1 - whole["label"]})
    found, wrong = model.realness(whole), model.realness(other)
    assert found is None or torch.equal(found, wrong) == (name not in LABELLED)


def test_a_critic_that_learnt_finds_real_images_more_real(name: str, compose: Compose):
    """Twelve steps of the critics alone: greys with a bright bar against an untrained generator's images.

    Energies learn more slowly that an image near 0, which any autoencoder returns, is fake.
    """
    model = built(compose, name)
    if not model.has_boundary:
        return
    whole = batch()
    whole["image"] = whole["image"] * 0.05 - 0.5
    whole["image"][..., 5:8] = 0.8
    if model.realness(whole) is None:
        return
    model.begin(Training(batch_size=8, seed=0, optimizers=dict.fromkeys(model.players(), torch.optim.Adam)))
    critics = [phase for phase in model.phases() if phase.player.startswith("critic")]
    optimizers = {phase.player: torch.optim.Adam(model.weights(phase.player), lr=5e-3) for phase in critics}
    for _ in range(STEPS):
        for phase in critics:
            optimizers[phase.player].zero_grad()
            with model._only(phase.player):
                torch.stack(list(phase.loss(whole).values())).sum().backward()
            optimizers[phase.player].step()
            model.on_phase_end(phase, {})
        model.clock.advance()
    latent = torch.randn(8, model.latent_dim, generator=torch.Generator().manual_seed(2))
    fake = cast(Batch, {**whole, "image": model.eval().generate(Request(latent=latent, label=whole["label"])).detach()})
    assert model.realness(whole).mean() > model.realness(fake).mean()
