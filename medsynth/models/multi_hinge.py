"""The multi-class hinge GAN: one classifier of the real classes and of "synthetic" is the critic."""

from typing import Unpack

import torch
from torch import Tensor

from medsynth.batch import Batch
from medsynth.losses import multi_class_hinge
from medsynth.models.noise_to_image import NoiseToImage, Shared, given
from medsynth.networks.conditioning import ClassCritic
from medsynth.synthesis import Image, Phase, Terms


class MultiHinge(NoiseToImage):
    """The first version of Kavalerov et al. 2019 (arXiv:1912.04216); C_0 is the class of synthetic images, H(C, t) =
    E max(0, 1 - C_t + max over k != t of C_k):

        for every batch (x, y)
            critic:     z ~ N(0, I);  minimise  H(C(x), y) + H(C(G(z, y)), 0)
            generator:  z ~ N(0, I);  minimise  H(C(G(z, y)), y)

    Its authors mix the generator's loss with feature matching: feature_matching_weight.

    Args:
        critic: images -> logits (b, 1 + classes), that of synthetic images first.
        n_critic: critic steps a generator step.
    """

    critic: ClassCritic

    def __init__(
        self,
        *,
        critic: ClassCritic,
        n_critic: int = 1,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(critic=critic, **shared)
        self.n_critic = n_critic
        self.needs |= {"label"}

    def phases(self) -> list[Phase]:
        return [Phase("critic", self.critic_loss), Phase("generator", self.generator_loss, every=self.n_critic)]

    def critic_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fake = self.fake(batch, "critic")
        label = _label(batch)
        real_logits, fake_logits = self._logits(batch, self.real(batch)), self._logits(batch, fake)
        self.heard(-real_logits[:, 0], -fake_logits[:, 0])
        return {
            "real": multi_class_hinge(real_logits, label + 1),
            "fake": multi_class_hinge(fake_logits, torch.zeros_like(label)),
        }

    def generator_loss(self, batch: Batch) -> Terms:
        fake = self.fake(batch, "generator")
        return {
            "class": multi_class_hinge(self._logits(batch, fake), _label(batch) + 1),
            **self.feature_matching(batch, fake),
        }

    def _logits(self, batch: Batch, image: Image) -> Tensor:
        return self.critic(image, **given(self.critic, batch))  # (b, 1 + classes)


def _label(batch: Batch) -> Tensor:
    assert "label" in batch  # train checks `needs`
    return batch["label"]
