import pytest
import torch
from dense_critic import Dense
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.models.wgan_gp import WGANGP
from medsynth.networks.convolutional import ConvCritic, ConvGenerator
from medsynth.synthesis import Training


class LinearCritic(nn.Module):
    """f(x) = slope * sum(x) / sqrt(pixels): its gradient has the norm `slope` everywhere."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, image: Tensor) -> Tensor:
        return self.slope * image.flatten(1).sum(1) / image[0].numel() ** 0.5


def test_the_critics_loss_of_a_linear_critic_is_known():
    generator = ConvGenerator(resolution=16, width=2, latent_dim=4)
    model = WGANGP(generator=generator, critic=LinearCritic(3.0), latent_dim=4, gp_weight=10.0)
    model.begin(Training(batch_size=8, seed=0, optimizers={"critic": torch.optim.Adam, "generator": torch.optim.Adam}))
    terms = model.critic_loss(Batch(image=torch.zeros(8, 1, 16, 16), row=torch.arange(8)))
    assert terms["gradient_penalty"].item() == pytest.approx(10 * (3 - 1) ** 2, rel=1e-5)
    fake = model.generator(model.draws.normal("critic", torch.arange(8), 4))
    assert terms["wasserstein"].item() == pytest.approx(3 * fake.flatten(1).sum(1).mean().item() / 16, rel=1e-3)


def test_batch_norm_in_the_critic_is_refused():
    with pytest.raises(UserError, match="norm=batch mixes samples"):
        WGANGP(generator=ConvGenerator(resolution=16, width=2), critic=ConvCritic(resolution=16, width=2, norm="batch"))


def test_the_generator_moves_every_fifth_batch():
    model = WGANGP(generator=ConvGenerator(resolution=16, width=2), critic=LinearCritic(1.0))
    assert [(phase.player, phase.every) for phase in model.phases()] == [("critic", 1), ("generator", 5)]


def test_the_penalty_leaves_autocast():
    critic = Dense(3.01)
    model = WGANGP(generator=ConvGenerator(resolution=16, width=2, latent_dim=4), critic=critic, latent_dim=4)
    model.begin(Training(batch_size=2, seed=0, optimizers={"critic": torch.optim.Adam, "generator": torch.optim.Adam}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = model.critic_loss(Batch(image=torch.zeros(2, 1, 16, 16), row=torch.arange(2)))
    assert critic.types == [torch.bfloat16, torch.bfloat16, torch.float32]  # real, fake, and between them
    assert terms["gradient_penalty"].item() == pytest.approx(10 * (3.01 - 1) ** 2, rel=1e-5)
