import pytest
import torch
from dense_critic import Dense
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.models.wgan_gp import WGANGP
from medsynth.networks.convolutional import ConvCritic, ConvGenerator
from medsynth.synthesis import Training

BATCH = Batch(image=torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1, row=torch.arange(8))


class LinearCritic(nn.Module):
    """f(x) = slope * sum(x) / sqrt(pixels): its gradient has the norm `slope` everywhere."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, image: Tensor) -> Tensor:
        return self.slope * image.flatten(1).sum(1) / image[0].numel() ** 0.5


class QuadraticCritic(nn.Module):
    """f(x) = curvature * |x|^2 / 2: its gradient is curvature * x."""

    def __init__(self, curvature: float) -> None:
        super().__init__()
        self.curvature = nn.Parameter(torch.tensor(curvature))

    def forward(self, image: Tensor) -> Tensor:
        return self.curvature * image.flatten(1).square().sum(1) / 2


def begun(critic: nn.Module) -> WGANGP:
    generator = ConvGenerator(resolution=16, width=2, latent_dim=4)
    model = WGANGP(generator=generator, critic=critic, latent_dim=4, gp_weight=10.0)
    model.begin(Training(batch_size=8, seed=0, optimizers={"critic": torch.optim.Adam, "generator": torch.optim.Adam}))
    return model


def test_the_critics_loss_of_a_linear_critic_is_known():
    model = begun(LinearCritic(3.0))
    terms = model.critic_loss(BATCH)
    assert terms["gradient_penalty"].item() == pytest.approx(10 * (3 - 1) ** 2, rel=1e-5)
    apart = model.generator(model.draws.normal("critic", BATCH["row"], 4)) - BATCH["image"]
    assert terms["wasserstein"].item() == pytest.approx(3 * apart.flatten(1).sum(1).mean().item() / 16, rel=1e-3)


def test_the_penalty_is_taken_at_a_random_point_of_its_own_between_each_real_and_fake_image():
    model = begun(QuadraticCritic(0.5))
    epsilon = model.draws.uniform("interpolation", BATCH["row"])[:, None, None, None]
    fake = model.generator(model.draws.normal("critic", BATCH["row"], 4))
    slopes = 0.5 * (epsilon * BATCH["image"] + (1 - epsilon) * fake).flatten(1).norm(dim=1)
    terms = model.critic_loss(BATCH)
    assert terms["gradient_penalty"].item() == pytest.approx(10 * (slopes - 1).square().mean().item(), rel=1e-5)
    assert len(epsilon.unique()) == 8


def test_batch_norm_in_the_critic_is_refused():
    with pytest.raises(UserError, match="norm=batch mixes samples"):
        WGANGP(generator=ConvGenerator(resolution=16, width=2), critic=ConvCritic(resolution=16, width=2, norm="batch"))


def test_the_generator_moves_every_fifth_batch():
    model = WGANGP(generator=ConvGenerator(resolution=16, width=2), critic=LinearCritic(1.0))
    assert [(phase.player, phase.every) for phase in model.phases()] == [("critic", 1), ("generator", 5)]


def test_the_penalty_leaves_autocast():
    critic = Dense(3.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = begun(critic).critic_loss(BATCH)
    assert critic.types == [torch.bfloat16, torch.bfloat16, torch.float32]  # real, fake, and between them
    assert terms["gradient_penalty"].item() == pytest.approx(10 * (3.01 - 1) ** 2, rel=1e-5)
