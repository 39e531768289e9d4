import pytest
import torch
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.models.ebgan import EBGAN
from medsynth.networks.autoencoder import Autoencoder
from medsynth.synthesis import Training


class Greys(nn.Module):
    """Generates one grey for all latents."""

    def __init__(self, grey: float) -> None:
        super().__init__()
        self.grey = nn.Parameter(torch.tensor(grey))

    def forward(self, latent: Tensor) -> Tensor:
        return self.grey.expand(len(latent), 1, 4, 4)


class Shifting(Autoencoder):
    """Reconstructs (1 - s) x for every image x: the energy of a grey g is s |g|."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share))

    def features(self, image: Tensor) -> Tensor:
        return image.flatten(1)

    def decode(self, features: Tensor) -> Tensor:
        return (1 - self.share) * features.unflatten(1, (1, 4, 4))


def begun(*, margin: float = 0.3, pulling_away_weight: float = 0.1, grey: float = 0.5) -> EBGAN:
    model = EBGAN(
        generator=Greys(grey),
        critic=Shifting(0.2),
        latent_dim=3,
        margin=margin,
        pulling_away_weight=pulling_away_weight,
    )
    optimizers = {"critic": torch.optim.Adam, "generator": torch.optim.Adam}
    model.begin(Training(batch_size=8, seed=0, optimizers=optimizers))
    return model


def batch() -> Batch:
    return Batch(image=torch.full((8, 1, 4, 4), -0.8), row=torch.arange(8))


def test_its_terms_are_known_for_a_critic_that_keeps_four_fifths():
    model = begun()
    critic = model.critic_loss(batch())
    assert critic["real"].item() == pytest.approx(0.2 * 0.8)
    assert critic["fake"].item() == pytest.approx(0.3 - 0.2 * 0.5)
    assert model.generator_loss(batch())["fake"].item() == pytest.approx(0.2 * 0.5)


def test_fakes_above_the_margin_leave_the_critic_alone():
    model = begun(margin=0.05)
    term = model.critic_loss(batch())["fake"]
    term.backward()
    assert term.item() == 0
    assert isinstance(model.critic, Shifting)
    assert model.critic.share.grad is not None
    assert not model.critic.share.grad.any()


def test_equal_images_pay_the_whole_pulling_away_term():
    assert begun().generator_loss(batch())["pulling_away"].item() == pytest.approx(0.1)


def test_the_plain_ebgan_has_no_pulling_away_term():
    assert begun(pulling_away_weight=0.0).generator_loss(batch()).keys() == {"fake"}


def test_impossible_margins_are_refused():
    with pytest.raises(UserError, match=r"model.margin=0.0 must be a number above 0"):
        begun(margin=0.0)
    with pytest.raises(UserError, match=r"model.pulling_away_weight=-1.0 must be a number of at least 0"):
        begun(pulling_away_weight=-1.0)


def test_real_means_a_low_energy():
    batch = Batch(image=torch.tensor([0.5, -1.0])[:, None, None, None].expand(-1, 1, 4, 4), row=torch.arange(2))
    torch.testing.assert_close(begun().realness(batch), torch.tensor([-0.1, -0.2]))  # -s |g|
