import pytest
import torch
from dense_critic import Dense
from torch import Tensor, nn

from medsynth.augment.ada import ADA
from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.losses import LeastSquares, NonSaturating
from medsynth.models.gan import GAN
from medsynth.networks.convolutional import ConvCritic, ConvGenerator
from medsynth.networks.critic import Critic
from medsynth.synthesis import Training

BATCH = Batch(image=torch.linspace(-1, 1, 8 * 256).view(8, 1, 16, 16), row=torch.arange(8))


class LinearCritic(Critic):
    """f(x) = slope * mean(x) * 16: its gradient has the norm `slope` everywhere; its feature is the mean pixel."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope, self.feature_count = nn.Parameter(torch.tensor(slope)), 1

    def features(self, image: Tensor) -> Tensor:
        return image.flatten(1).mean(1, keepdim=True)

    def head(self, features: Tensor) -> Tensor:
        return 16 * self.slope * features


def begun(critic_augment: ADA | None = None, **settings: object) -> GAN:
    settings = {"loss": NonSaturating(), "critic": LinearCritic(3.0), "latent_dim": 4, **settings}
    model = GAN(generator=ConvGenerator(resolution=16, width=2, latent_dim=4), **settings)
    optimizers = {"critic": torch.optim.Adam, "generator": torch.optim.Adam}
    model.begin(Training(batch_size=8, seed=0, optimizers=optimizers, critic_augment=critic_augment))
    return model


def test_r1_of_a_linear_critic_is_known():
    model = begun(r1_weight=10.0)
    assert model.r1(BATCH)["r1"].item() == pytest.approx(10 / 2 * 3**2, rel=1e-5)


def test_r1_leaves_autocast():
    critic = Dense(3.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = begun(critic=critic, r1_weight=10.0).r1(BATCH)["r1"]
    assert critic.types == [torch.float32]
    assert penalty.item() == pytest.approx(10 / 2 * 3.01**2, rel=1e-5)


def test_r1_of_an_augmented_image_is_by_what_the_critic_sees():
    model = begun(r1_weight=10.0, critic_augment=ADA(p=1.0, target=None))
    assert model.r1(BATCH)["r1"].item() == pytest.approx(10 / 2 * 3**2, rel=1e-5)


def test_r1_of_a_critic_that_mixes_samples_is_refused():
    critic = ConvCritic(resolution=16, width=2, norm="batch")
    with pytest.raises(UserError, match=r"model.critic.norm=batch mixes samples, which a gradient penalty forbids"):
        begun(critic=critic, r1_weight=1.0)
    assert len(begun(critic=critic).phases()) == 2


def test_r1_is_a_lazy_phase_of_the_critic_whose_gradient_makes_up_for_the_waiting():
    players = [(phase.player, phase.every, phase.gain) for phase in begun(r1_weight=1.0, r1_every=16).phases()]
    assert players == [("critic", 1, 1.0), ("critic", 16, 16), ("generator", 1, 1.0)]
    assert len(begun().phases()) == 2


def test_the_loss_is_that_of_the_logits():
    model = begun(loss=LeastSquares())
    fake = model.generator(model.draws.normal("critic", torch.arange(8), 4))
    logits = model.critic(BATCH["image"]), model.critic(fake)
    assert model.critic_loss(BATCH)["adversarial"] == LeastSquares().critic(*logits)


def test_feature_matching_is_the_squared_distance_of_mean_features():
    model = begun(feature_matching_weight=2.0)
    fake = torch.full((8, 1, 16, 16), 0.5)
    expected = 2 * (0.5 - BATCH["image"].mean()).square()
    assert model.feature_matching(BATCH, fake)["feature_matching"].item() == pytest.approx(expected.item())
    assert begun().feature_matching(BATCH, fake) == {}
    assert set(model.generator_loss(BATCH)) == {"adversarial", "feature_matching"}


def test_feature_matching_needs_features():
    with pytest.raises(UserError, match=r"feature_matching_weight=1.0: this critic has no features"):
        begun(critic=nn.Flatten(), feature_matching_weight=1.0)


@pytest.mark.parametrize("name", ["r1_weight", "feature_matching_weight"])
def test_a_weight_below_zero_is_refused(name: str):
    with pytest.raises(UserError, match=rf"model\.{name}=-1.0 must be a number of at least 0"):
        begun(**{name: -1.0})
