"""The adversarial game with one loss for each side: GAN, DCGAN and their kin."""

import torch
from torch import nn

from medsynth.batch import Batch
from medsynth.losses import AdversarialLoss
from medsynth.models.noise_to_image import NoiseToImage
from medsynth.synthesis import Phase, Terms


class GAN(NoiseToImage):
    """Algorithm 1 of Goodfellow et al. 2014 (arXiv:1406.2661):

        for every batch
            critic:     z ~ N(0, I);  minimise loss.critic(D(x), D(G(z)))
            generator:  z ~ N(0, I);  minimise loss.generator(D(G(z)))

    Args:
        loss: both sides' losses on logits.
        n_critic: critic steps a generator step.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        latent_dim: int = 100,
        n_critic: int = 1,
        ema_half_life: int = 10_000,
    ) -> None:
        super().__init__(generator=generator, critic=critic, latent_dim=latent_dim, ema_half_life=ema_half_life)
        self.loss, self.n_critic = loss, n_critic

    def phases(self) -> list[Phase]:
        return [Phase("critic", self.critic_loss), Phase("generator", self.generator_loss, every=self.n_critic)]

    def critic_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fake = self.fake(batch, "critic")
        return {"adversarial": self.loss.critic(self.critic(batch["image"]), self.critic(fake))}

    def generator_loss(self, batch: Batch) -> Terms:
        return {"adversarial": self.loss.generator(self.critic(self.fake(batch, "generator")))}
