import pytest
import torch
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.models.began import BEGAN
from medsynth.networks.autoencoder import Autoencoder
from medsynth.synthesis import Training


class Constant(nn.Module):
    """Generates one grey for all latents."""

    def __init__(self, grey: float) -> None:
        super().__init__()
        self.grey = nn.Parameter(torch.tensor(grey))

    def forward(self, latent: Tensor) -> Tensor:
        return self.grey.expand(len(latent), 1, 4, 4)


class Shifting(Autoencoder):
    """Reconstructs (1 - s) x for every image x: the error of a grey g is s |g|."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share))

    def features(self, image: Tensor) -> Tensor:
        return image.flatten(1)

    def decode(self, features: Tensor) -> Tensor:
        return (1 - self.share) * features.unflatten(1, (1, 4, 4))


def begun(*, gamma: float = 0.5, k_step: float = 0.1, **more: float) -> BEGAN:
    model = BEGAN(generator=Constant(0.5), critic=Shifting(0.2), latent_dim=3, gamma=gamma, k_step=k_step, **more)
    optimizers = {"critic": torch.optim.Adam, "generator": torch.optim.Adam}
    model.begin(Training(batch_size=8, seed=0, optimizers=optimizers))
    return model


def batch() -> Batch:
    return Batch(image=torch.full((8, 1, 4, 4), -0.8), row=torch.arange(8))


def both_phases(model: BEGAN) -> None:
    for phase in model.phases():
        model.on_phase_end(phase, {name: term.detach() for name, term in phase.loss(batch()).items()})


def test_its_terms_are_known_for_a_critic_that_keeps_four_fifths():
    model = begun()
    model.k.fill_(0.3)
    critic = model.critic_loss(batch())
    assert critic["real"].item() == pytest.approx(0.2 * 0.8)
    assert critic["fake"].item() == pytest.approx(-0.3 * 0.2 * 0.5)
    assert model.generator_loss(batch())["fake"].item() == pytest.approx(0.2 * 0.5)


def test_k_moves_by_the_imbalance():
    model = begun(gamma=0.9)
    both_phases(model)
    assert model.k.item() == pytest.approx(0.1 * (0.9 * 0.16 - 0.1), rel=1e-4)


def test_pushing_images_apart_leaves_the_balance_alone():
    plain, pushing = begun(gamma=0.9), begun(gamma=0.9, pulling_away_weight=0.3)
    assert plain.generator_loss(batch()).keys() == {"fake"}
    assert pushing.generator_loss(batch())["pulling_away"].item() == pytest.approx(0.3)  # all are one grey
    both_phases(plain)
    both_phases(pushing)
    assert pushing.k.item() == plain.k.item() > 0


def test_k_stays_within_nought_and_one():
    too_bad = begun(gamma=0.1)  # fakes are reconstructed worse than wanted
    both_phases(too_bad)
    assert too_bad.k.item() == 0
    too_good = begun(gamma=1.0, k_step=1000.0)
    both_phases(too_good)
    assert too_good.k.item() == 1


def test_the_measure_of_convergence_is_logged():
    model = begun(gamma=0.9)
    both_phases(model)
    both_phases(model)
    figures = model.read_terms()
    assert figures["train/critic/convergence"] == pytest.approx(0.16 + 0.9 * 0.16 - 0.1, rel=1e-4)
    assert figures["train/critic/k"] == pytest.approx(1.5 * 0.1 * (0.9 * 0.16 - 0.1), rel=1e-4)


def test_k_is_saved_with_the_weights():
    assert "k" in begun().state_dict()


def test_critic_and_generator_see_latents_of_their_own():
    model = begun()
    rows = torch.arange(8)
    asked: list[Tensor] = []
    model.generator.register_forward_pre_hook(lambda layer, inputs: asked.append(inputs[0]))
    model.critic_loss(batch())
    model.generator_loss(batch())
    assert torch.equal(asked[0], model.draws.normal("critic", rows, 3))
    assert not torch.equal(asked[0], asked[1])


def test_impossible_balances_are_refused():
    with pytest.raises(UserError, match=r"model.gamma=1.5 must be between 0 and 1"):
        begun(gamma=1.5)
    with pytest.raises(UserError, match=r"model.k_step=-1.0 must be a number of at least 0"):
        begun(k_step=-1.0)


def test_real_means_a_small_error():
    model = begun()
    batch = Batch(image=torch.tensor([0.5, -1.0])[:, None, None, None].expand(-1, 1, 4, 4), row=torch.arange(2))
    torch.testing.assert_close(model.realness(batch), torch.tensor([-0.1, -0.2]))  # -s |g|
    assert model.k == 0
