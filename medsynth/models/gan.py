"""The adversarial game with one loss for each side: GAN, DCGAN, LSGAN, CGAN, hinge and projection GANs."""

from typing import Unpack

import torch
from torch import nn

from medsynth.batch import Batch
from medsynth.errors import check_number
from medsynth.losses import AdversarialLoss
from medsynth.models.noise_to_image import NoiseToImage, Shared, refuse_batch_norm
from medsynth.penalties import zero_centred_penalty
from medsynth.synthesis import Phase, Terms


class GAN(NoiseToImage):
    """Algorithm 1 of Goodfellow et al. 2014 (arXiv:1406.2661):

        for every batch
            critic:     z ~ N(0, I);  minimise loss.critic(D(x), D(G(z)))
            generator:  z ~ N(0, I);  minimise loss.generator(D(G(z)))
        and, where r1_weight is not 0, for every r1_every-th batch (Mescheder et al. 2018, arXiv:1801.04406)
            critic:     minimise  r1_weight / 2 E |grad D(x)|^2

    Conditional networks see the label y and covariates too: D(x, y) and G(z, y) (Mirza & Osindero 2014,
    arXiv:1411.1784); the generator is asked for those of the real images.

    Args:
        loss: both sides' losses on logits.
        n_critic: critic steps a generator step.
        r1_weight: gamma of R1.  r1_every: batches from one R1 step to the next; its gradient is multiplied by that.
    """

    def __init__(
        self,
        *,
        critic: nn.Module,
        loss: AdversarialLoss,
        n_critic: int = 1,
        r1_weight: float = 0.0,
        r1_every: int = 1,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(critic=critic, **shared)
        check_number("model.r1_weight", r1_weight, least=0)
        if r1_weight:
            refuse_batch_norm(critic)
        self.loss, self.n_critic = loss, n_critic
        self.r1_weight, self.r1_every = r1_weight, r1_every

    def phases(self) -> list[Phase]:
        phases = [Phase("critic", self.critic_loss), Phase("generator", self.generator_loss, every=self.n_critic)]
        if self.r1_weight:
            phases.insert(1, Phase("critic", self.r1, every=self.r1_every, gain=float(self.r1_every)))
        return phases

    def critic_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fake = self.fake(batch, "critic")
        return {"adversarial": self.loss.critic(*self.judge(batch, self.real(batch), fake))}

    def r1(self, batch: Batch) -> Terms:
        with torch.autocast(batch["image"].device.type, enabled=False):
            change = torch.zeros_like(batch["image"]).requires_grad_()
            logits = self.score(batch, self.added(self.real(batch), change))
            return {"r1": self.r1_weight * zero_centred_penalty(logits, change)}

    def generator_loss(self, batch: Batch) -> Terms:
        fake = self.fake(batch, "generator")
        return {"adversarial": self.loss.generator(self.score(batch, fake)), **self.feature_matching(batch, fake)}
