import torch
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.models.multi_hinge import MultiHinge
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


def begun() -> tuple[MultiHinge, Batch]:
    generator = ConvGenerator(resolution=16, width=2, latent_dim=4)
    model = MultiHinge(generator=generator, critic=Certain(), latent_dim=4)
    model.begin(Training(batch_size=4, seed=0, optimizers={"critic": torch.optim.Adam, "generator": torch.optim.Adam}))
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
