"""The multi-class hinge GAN: one classifier of the real classes and of "synthetic" is the critic."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medsynth.batch import Batch
from medsynth.losses import multi_class_hinge
from medsynth.models.noise_to_image import NoiseToImage, Shared, given
from medsynth.networks.conditioning import ClassCritic
from medsynth.synthesis import Image, Phase, Terms


class MultiHinge(NoiseToImage):
    """Kavalerov et al. 2019 (arXiv:1912.04216v1), as in its authors' code; C_0 is the class of synthetic images,
    H(C, t) = E max(0, 1 - C_t + max over k != t of C_k):

        for every batch (x, y)
            critic:     z ~ N(0, I);  minimise  H(C(x), y) + H(C(G(z, y)), 0)
            generator:  z ~ N(0, I);  minimise  H(C(G(z, y)), y)

    Their generator minimises 0.05 of this loss and 1 of a feature matching by absolute differences; ours, by squares,
    has feature_matching_weight.

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
        self.heard(margin(real_logits), margin(fake_logits))
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

    def _realness(self, batch: Batch, image: Image) -> Tensor:
        return own_margin(self._logits(batch, image), _label(batch) + 1)

    def _logits(self, batch: Batch, image: Image) -> Tensor:
        return self.critic(image, **given(self.critic, batch))  # (b, 1 + classes)


def margin(logits: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """By how much the best of the real classes outdoes "synthetic": above 0 where an image passes for real."""
    return logits[:, 1:].amax(dim=1) - logits[:, 0]


def own_margin(logits: Float[Tensor, "b k"], kind: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """By how much each image's own kind outdoes all others, "synthetic" among them: what the hinge widens up to 1."""
    own = logits.gather(1, kind[:, None])  # (b, 1)
    others = logits.scatter(1, kind[:, None], -torch.inf)
    return own.squeeze(1) - others.amax(dim=1)


def _label(batch: Batch) -> Tensor:
    assert "label" in batch  # train checks `needs`
    return batch["label"]
