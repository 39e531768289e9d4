import pytest
import torch
from torch import Tensor, nn

from medsynth.augment.ada import ADA
from medsynth.batch import Batch
from medsynth.models.multi_hinge import MultiHinge, margin, own_margin
from medsynth.networks.conditioning import ClassCritic
from medsynth.networks.convolutional import ConvGenerator
from medsynth.synthesis import Training


class Certain(ClassCritic):
    """Says of every image that it is synthetic (class 0), with a margin of 2."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack([self.weight, 0 * self.weight, -1 * self.weight]).expand(len(image), 3)


def begun(critic_augment: ADA | None = None) -> tuple[MultiHinge, Batch]:
    generator = ConvGenerator(resolution=16, width=2, latent_dim=4)
    model = MultiHinge(generator=generator, critic=Certain(), latent_dim=4)
    optimizers = {"critic": torch.optim.Adam, "generator": torch.optim.Adam}
    model.begin(Training(batch_size=4, seed=0, optimizers=optimizers, critic_augment=critic_augment))
    batch = Batch(image=torch.zeros(4, 1, 16, 16), row=torch.arange(4), label=torch.tensor([0, 0, 0, 1]))
    return model, batch


def test_the_critic_is_to_tell_real_classes_and_synthetic_images_apart():
    model, batch = begun()
    terms = model.critic_loss(batch)
    assert terms["fake"].item() == 0  # rightly called synthetic, by more than the margin of 1
    assert terms["real"].item() == (3 * (1 - 0 + 2) + (1 + 2 + 2)) / 4  # class k is logit 1 + k


def test_the_generator_is_to_make_the_asked_class():
    model, batch = begun()
    assert model.generator_loss(batch)["class"].item() == (3 * (1 - 0 + 2) + (1 + 2 + 2)) / 4
    assert "label" in model.needs


def test_an_image_passes_for_real_where_a_real_class_outdoes_the_synthetic_one():
    assert margin(torch.tensor([[1.0, 3.0, -9.0], [2.0, -1.0, 1.5], [0.0, 0.0, -1.0]])).tolist() == [2, -0.5, 0]


@pytest.mark.parametrize(("logits", "side"), [([1.0, 3.0, -9.0], 1), ([-1.0, -3.0, -9.0], -1)])
def test_ada_counts_real_images_by_that_margin(logits: list[float], side: int):
    model, batch = begun(ADA(zero="logit", every=2))
    model.critic.forward = lambda image: torch.tensor(logits).expand(len(image), 3)
    model.critic_loss(batch)
    model._adapt()
    assert model.critic_augments["critic"].state()["overfitting"] == side / 2


def test_an_image_is_real_by_how_much_its_own_class_outdoes_all_else():
    logits = torch.tensor([[1.0, 3.0, -9.0], [1.0, 3.0, -9.0], [2.0, -1.0, 1.5]])
    assert own_margin(logits, torch.tensor([1, 2, 2])).tolist() == [2, -12, -0.5]
    model, batch = begun()
    assert model.realness(batch).tolist() == [-2, -2, -2, -4]
