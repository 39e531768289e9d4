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
    """Is undecided between real and fake; sees class 0, three to one, and a covariate of 0.5 in white images, and class
    1, three to one, and -0.5 in all others."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.zeros(()))
        self.tells = frozenset({"label", "covariates"})

    def judge(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        covariate = torch.where(image.flatten(1).amin(1, keepdim=True) == 1, 0.5, -0.5)  # (b, 1)
        return self.weight.expand(len(image)), covariate * torch.tensor([math.log(3), -math.log(3)]), covariate


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
    """White images, which those of the untrained generator are not."""
    return Batch(
        image=torch.ones(4, 1, 16, 16),
        row=torch.arange(4),
        label=torch.tensor([0, 0, 0, 1]),
        covariates=torch.tensor([[0.5], [0.5], [-0.5], [0.5]]),
    )


def entropy(odds: float) -> float:
    """Cross entropy of the labels of the batch, where the odds are for class 0."""
    return math.log(1 + odds) - 0.75 * math.log(odds)


REAL, FAKE = {"class": entropy(3), "covariates": 1 / 4}, {"class": entropy(1 / 3), "covariates": 3 / 4}


@pytest.mark.parametrize("fake_class_weight", [1.0, 0.5, 0.0])  # 0: synthetic images are left out
def test_the_critic_tells_labels_and_covariates_of_real_images_and_of_fake_ones(
    model: ACGAN, batch: Batch, fake_class_weight: float
):
    model.fake_class_weight = fake_class_weight
    terms = model.critic_loss(batch)
    assert terms["adversarial"].item() == pytest.approx(2 * math.log(2))
    for name, weight in (("class", 2), ("covariates", 3)):
        assert terms[name].item() == pytest.approx(weight * (REAL[name] + fake_class_weight * FAKE[name]))


def test_the_generator_is_to_make_what_was_asked_whatever_the_critic_learns_from(model: ACGAN, batch: Batch):
    model.fake_class_weight = 0.0
    terms = model.generator_loss(batch)
    assert terms["class"].item() == pytest.approx(2 * FAKE["class"])
    assert terms["covariates"].item() == pytest.approx(3 * FAKE["covariates"])
    assert model.needs == {"image", "label", "covariates"}
