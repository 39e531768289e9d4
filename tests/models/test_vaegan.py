from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.losses import NonSaturating
from medsynth.models.vaegan import VAEGAN
from medsynth.networks.critic import Critic
from medsynth.synthesis import Training


class Exact(nn.Module):
    """Encodes an image of one grey as its three copies, with no variance."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.gain * image.flatten(1).mean(1, keepdim=True).expand(-1, 3)
        return mean, torch.full_like(mean, -60.0)


class First(nn.Module):
    """Generates an image full of `gain` times the latent's first number."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, latent: Tensor) -> Tensor:
        return (self.gain * latent[:, :1, None, None]).expand(-1, 1, 4, 4)


class Corner(Critic):
    """Its features are the first five pixels; its logit is always 0."""

    feature_count = 5

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def features(self, image: Tensor) -> Tensor:
        return image.flatten(1)[:, :5]


def begun(*, gain: float = 1.0, reconstruction_weight: float = 0.1, generator: nn.Module | None = None) -> VAEGAN:
    model = VAEGAN(
        encoder=Exact(),
        generator=generator or First(gain),
        critic=Corner(),
        loss=NonSaturating(),
        latent_dim=3,
        reconstruction_weight=reconstruction_weight,
    )
    optimizers = {player: torch.optim.Adam for player in ("encoder", "generator", "critic")}
    model.begin(Training(batch_size=8, seed=0, optimizers=optimizers))
    return model


def batch() -> Batch:
    return Batch(image=torch.full((8, 1, 4, 4), 0.4), row=torch.arange(8))


def test_its_players_move_in_the_papers_order():
    assert [phase.player for phase in begun().phases()] == ["encoder", "generator", "critic"]


def test_a_perfect_reconstruction_costs_nothing():
    model = begun()
    assert model.encoder_loss(batch())["reconstruction"].item() == pytest.approx(0, abs=1e-9)
    assert model.generator_loss(batch())["reconstruction"].item() == pytest.approx(0, abs=1e-9)


def test_errors_are_measured_at_the_critics_features():
    error = 5 * (0.4 - 0.2) ** 2 / 2
    model = begun(gain=0.5)
    assert model.encoder_loss(batch())["reconstruction"].item() == pytest.approx(error, rel=1e-5)
    assert model.generator_loss(batch())["reconstruction"].item() == pytest.approx(0.1 * error, rel=1e-5)


def test_the_encoder_is_told_by_the_prior_and_the_features_alone():
    terms = begun().encoder_loss(batch())
    assert terms.keys() == {"divergence", "reconstruction"}
    assert terms["divergence"].item() == pytest.approx(3 * (0.4**2 - 1 + 60) / 2, rel=1e-5)


def test_an_undecided_critic_pays_for_both_kinds_of_fakes_as_for_one():
    model = begun()
    assert model.critic_loss(batch())["adversarial"].item() == pytest.approx(1.3862944)
    assert model.generator_loss(batch())["adversarial"].item() == pytest.approx(0.6931472)


def test_each_loss_reaches_its_player():
    for player, loss in (("encoder", "encoder_loss"), ("generator", "generator_loss"), ("critic", "critic_loss")):
        model = begun(gain=0.5)
        with model._only(player):
            torch.stack(list(getattr(model, loss)(batch()).values())).sum().backward()
        moved = {name for name in model.players() if any(weight.grad is not None for weight in model.weights(name))}
        assert moved == {player}


def test_impossible_weights_are_refused():
    with pytest.raises(UserError, match=r"model.reconstruction_weight=-1.0 must be a number of at least 0"):
        begun(reconstruction_weight=-1.0)


def test_labels_are_refused_that_its_encoder_would_not_see():
    generator, critic = First(1.0), Corner()
    generator.needs = critic.needs = frozenset({"label"})  # type: ignore[assignment]
    with pytest.raises(UserError, match="model=vaegan takes no label: its encoder sees images alone"):
        VAEGAN(encoder=Exact(), generator=generator, critic=critic, loss=NonSaturating(), latent_dim=3)


def test_running_averages_are_those_of_images_from_the_prior():
    generator = nn.Sequential(nn.BatchNorm1d(3), First(1.0))
    model, expected = begun(generator=generator), deepcopy(generator[0])
    for draw in ("generator", "critic"):
        expected(model.draws.normal(draw, torch.arange(8), 3))
    for phase in model.phases():
        phase.loss(batch())
    torch.testing.assert_close(generator[0].running_mean, expected.running_mean)
    assert generator[0].momentum == 0.1
