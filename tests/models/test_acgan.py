import math

import pytest
import torch
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.losses import NonSaturating
from medsynth.models.acgan import ACGAN
from medsynth.networks.conditioning import AuxiliaryCritic, ConditionalGenerator
from medsynth.networks.convolutional import ConvGenerator
from medsynth.synthesis import Training


class Fixed(AuxiliaryCritic):
    """Is undecided between real and fake, three to one for class 0, and sees a covariate of 0.5 in every image."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.zeros(()))

    def judge(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = len(image)
        logit = self.weight.expand(count)
        return logit, torch.tensor([math.log(3), 0.0]).expand(count, 2), torch.full((count, 1), 0.5)


@pytest.fixture
def model() -> ACGAN:
    network = lambda latent_dim: ConvGenerator(resolution=16, width=2, latent_dim=latent_dim)  # noqa: E731
    generator = ConditionalGenerator(network=network, latent_dim=4, classes=2, covariates=1)
    model = ACGAN(
        generator=generator, critic=Fixed(), loss=NonSaturating(), latent_dim=4, class_weight=2.0, covariate_weight=3.0
    )
    model.begin(Training(batch_size=4, seed=0, optimizers={"critic": torch.optim.Adam, "generator": torch.optim.Adam}))
    return model


@pytest.fixture
def batch() -> Batch:
    return Batch(
        image=torch.zeros(4, 1, 16, 16),
        row=torch.arange(4),
        label=torch.tensor([0, 0, 0, 1]),
        covariates=torch.tensor([[0.5], [0.5], [-0.5], [0.5]]),
    )


ENTROPY = -(3 * math.log(0.75) + math.log(0.25)) / 4


def test_the_critic_tells_labels_and_covariates_of_real_images_and_of_fake_ones(model: ACGAN, batch: Batch):
    terms = model.critic_loss(batch)
    assert terms["adversarial"].item() == pytest.approx(2 * math.log(2))
    assert terms["class"].item() == pytest.approx(2 * 2 * ENTROPY)
    assert terms["covariates"].item() == pytest.approx(2 * 3 * 1 / 4)


def test_synthetic_images_may_be_left_out_of_what_the_critic_learns_of_classes(model: ACGAN, batch: Batch):
    model.fake_class_weight = 0.0
    terms = model.critic_loss(batch)
    assert terms["class"].item() == pytest.approx(2 * ENTROPY)
    assert terms["covariates"].item() == pytest.approx(3 * 1 / 4)
    assert model.generator_loss(batch)["class"].item() == pytest.approx(2 * ENTROPY)


def test_the_generator_is_to_make_what_was_asked(model: ACGAN, batch: Batch):
    terms = model.generator_loss(batch)
    assert terms["class"].item() == pytest.approx(2 * ENTROPY)
    assert terms["covariates"].item() == pytest.approx(3 * 1 / 4)
    assert model.needs == {"image", "label", "covariates"}
