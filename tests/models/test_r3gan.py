import pytest
import torch
from dense_critic import Dense
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.models.r3gan import R3GAN
from medsynth.networks.convolutional import ConvCritic, ConvGenerator
from medsynth.synthesis import Training


class LinearCritic(nn.Module):
    """Its gradient has the norm 3 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(3.0))

    def forward(self, image: Tensor) -> Tensor:
        return 16 * self.slope * image.flatten(1).mean(1)


def begun(critic: nn.Module | None = None, *, penalty_weight: float = 2.0) -> R3GAN:
    generator = ConvGenerator(resolution=16, width=2, latent_dim=4)
    model = R3GAN(generator=generator, critic=critic or LinearCritic(), latent_dim=4, penalty_weight=penalty_weight)
    model.begin(Training(batch_size=8, seed=0, optimizers={"critic": torch.optim.Adam, "generator": torch.optim.Adam}))
    return model


def test_both_penalties_of_a_linear_critic_are_known():
    terms = begun().critic_loss(Batch(image=torch.zeros(8, 1, 16, 16), row=torch.arange(8)))
    assert terms["r1"].item() == pytest.approx(2 / 2 * 9, rel=1e-5)
    assert terms["r2"].item() == pytest.approx(2 / 2 * 9, rel=1e-5)


def test_both_penalties_leave_autocast():
    critic = Dense(3.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = begun(critic).critic_loss(Batch(image=torch.zeros(8, 1, 16, 16), row=torch.arange(8)))
    assert critic.types == [torch.float32] * 2
    for name in ("r1", "r2"):
        assert terms[name].item() == pytest.approx(2 / 2 * 3.01**2, rel=1e-5)


def test_a_critic_that_mixes_samples_is_refused():
    critic = ConvCritic(resolution=16, width=2, norm="batch")
    with pytest.raises(UserError, match=r"model.critic.norm=batch mixes samples, which a gradient penalty forbids"):
        begun(critic)
    begun(critic, penalty_weight=0.0)


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
