"""The loop's own tricks, on a model of one weight a player."""

from functools import partial
from typing import Any

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.augment.critic_augment import Fixed
from medsynth.batch import Batch, Request
from medsynth.errors import UserError
from medsynth.synthesis import Phase, SynthesisModule, Terms, Training


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


class TwoCritics(SynthesisModule):
    """Both critics' losses are their weight times the mean pixel."""

    latent_dim = 1

    def __init__(self) -> None:
        super().__init__()
        self.coarse, self.fine = Scale(), Scale()

    def players(self) -> dict[str, list[nn.Module]]:
        return {"critic/8": [self.coarse], "critic/16": [self.fine]}

    def phases(self) -> list[Phase]:
        return [Phase("critic/8", self.coarse_loss), Phase("critic/16", self.fine_loss)]

    def coarse_loss(self, batch: Batch) -> Terms:
        self.heard(-batch["image"].flatten(1).mean(1), batch["image"].flatten(1).mean(1), player="critic/8")
        return {"pixel": (self.coarse.weight * batch["image"].mean()).sum()}

    def fine_loss(self, batch: Batch) -> Terms:
        self.heard(batch["image"].flatten(1).mean(1), -batch["image"].flatten(1).mean(1), player="critic/16")
        return {"pixel": (self.fine.weight * batch["image"].mean()).sum()}

    def generate(self, request: Request) -> Float[Tensor, "b c h w"]:
        return request["latent"][:, :, None, None]


class Listening(Fixed):
    """Adds one to every picture and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Tensor, Tensor]] = []

    def transformed(self, image: Tensor, draws: Any, rows: Tensor, *, name: str, masks: int) -> Tensor:
        return image + 1

    def adapt(self, real: Tensor, fake: Tensor, *, batch_size: int) -> None:
        self.told.append((real, fake))


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Steps a TwoCritics on batches of `size` ones without a Trainer; returns it with its optimizers."""

    def begin(training: Training, *, batches: int, size: int = 4) -> tuple[TwoCritics, list[torch.optim.Optimizer]]:
        model = TwoCritics()
        model.begin(training)
        optimizers = model.configure_optimizers()
        monkeypatch.setattr(TwoCritics, "optimizers", lambda self: optimizers)
        monkeypatch.setattr(TwoCritics, "manual_backward", lambda self, loss: loss.backward())
        monkeypatch.setattr(TwoCritics, "_without_sync", lambda self: torch.enable_grad())
        monkeypatch.setattr(TwoCritics, "global_rank", 0)
        for number in range(batches):
            model.training_step(Batch(image=torch.ones(size, 1, 2, 2), row=torch.arange(size)), number)
        return model, optimizers

    return begin


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1.0)


def slow(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def test_a_player_takes_its_own_optimizer_or_that_of_its_kind(stepped: Any):
    model, _ = stepped(Training(batch_size=4, seed=0, optimizers={"critic": sgd, "critic/16": slow}), batches=1)
    assert model.coarse.weight.item() == pytest.approx(0.0)
    assert model.fine.weight.item() == pytest.approx(0.9)


def test_a_player_without_an_optimizer_is_named():
    with pytest.raises(UserError, match=r"optimizer has no entry for the player critic/8; it has generator"):
        TwoCritics().begin(Training(batch_size=4, seed=0, optimizers={"generator": sgd}))


def test_learning_rates_halve_exponentially_with_the_images_seen(stepped: Any):
    training = Training(batch_size=4, seed=0, optimizers={"critic": sgd}, lr_half_life=8)
    model, (optimizer, _) = stepped(training, batches=3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5)  # the third batch begins at 8 images
    assert model.coarse.weight.item() == pytest.approx(1 - (1 + 0.5**0.5 + 0.5))


def test_a_critics_logits_reach_its_own_augmentation_once_a_batch_whatever_the_micro_batches(stepped: Any):
    training = Training(batch_size=4, seed=0, optimizers={"critic": sgd}, accumulate=2, critic_augment=Listening())
    model, _ = stepped(training, batches=3)
    for player, side in (("critic/8", -1.0), ("critic/16", 1.0)):
        told = model.critic_augments[player].told
        assert [(len(real), len(fake)) for real, fake in told] == [(4, 4)] * 3
        assert all((real == side).all() and (fake == -side).all() for real, fake in told)


def test_what_a_critic_sees_is_augmented_at_every_level():
    model = TwoCritics()
    model.begin(Training(batch_size=2, seed=0, optimizers={"critic": sgd}, critic_augment=Listening()))
    levels = tuple(torch.zeros(2, 1, side, side) for side in (4, 8))
    see = partial(model.see, rows=torch.arange(2), name="real", player="critic/8")
    seen = (*see(levels), see(levels[0]))
    assert all(torch.equal(image, torch.ones_like(image)) for image in seen)
