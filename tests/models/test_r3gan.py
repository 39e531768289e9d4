import pytest
import torch
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.models.r3gan import R3GAN
from medsynth.networks.convolutional import ConvGenerator
from medsynth.synthesis import Training


class LinearCritic(nn.Module):
    """Its gradient has the norm 3 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(3.0))

    def forward(self, image: Tensor) -> Tensor:
        return 16 * self.slope * image.flatten(1).mean(1)


def begun() -> R3GAN:
    generator = ConvGenerator(resolution=16, width=2, latent_dim=4)
    model = R3GAN(generator=generator, critic=LinearCritic(), latent_dim=4, penalty_weight=2.0)
    model.begin(Training(batch_size=8, seed=0, optimizers={"critic": torch.optim.Adam, "generator": torch.optim.Adam}))
    return model


def test_both_penalties_of_a_linear_critic_are_known():
    terms = begun().critic_loss(Batch(image=torch.zeros(8, 1, 16, 16), row=torch.arange(8)))
    assert terms["r1"].item() == pytest.approx(2 / 2 * 9, rel=1e-5)
    assert terms["r2"].item() == pytest.approx(2 / 2 * 9, rel=1e-5)


def test_each_real_image_is_paired_with_its_own_synthetic_one():
    model = begun()
    image = torch.rand(8, 1, 16, 16)
    fake = model.generator(model.draws.normal("critic", torch.arange(8), 4))
    expected = torch.nn.functional.softplus(model.critic(fake) - model.critic(image)).mean()
    terms = model.critic_loss(Batch(image=image, row=torch.arange(8)))
    assert terms["relativistic"].item() == pytest.approx(expected.item())


def test_a_negative_weight_is_refused():
    with pytest.raises(UserError, match=r"penalty_weight=-1.0 must be a number of at least 0"):
        R3GAN(generator=nn.Identity(), critic=nn.Identity(), penalty_weight=-1.0)
