"""Wasserstein GAN with gradient penalty."""

import torch
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.losses import wasserstein_critic, wasserstein_generator
from medsynth.models.noise_to_image import NoiseToImage
from medsynth.penalties import gradient_penalty, interpolate
from medsynth.synthesis import Image, Phase, Terms


class WGANGP(NoiseToImage):
    """Algorithm 1 of Gulrajani et al. 2017 (arXiv:1704.00028):

        for every batch x
            critic:     z ~ N(0, I);  x~ = G(z);  e ~ U[0, 1];  x^ = e x + (1 - e) x~
                        minimise  D(x~) - D(x) + gp_weight (|grad D(x^)| - 1)^2
        for every n_critic-th batch
            generator:  z ~ N(0, I);  minimise  -D(G(z))

    Every critic step sees a fresh batch. The penalty is per sample, so the critic may have no batch norm (section 4).

    Args:
        gp_weight: lambda of the paper.
        n_critic: critic steps a generator step.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        critic: nn.Module,
        latent_dim: int = 128,
        gp_weight: float = 10.0,
        n_critic: int = 5,
        ema_half_life: int = 10_000,
        feature_matching_weight: float = 0.0,
    ) -> None:
        super().__init__(
            generator=generator,
            critic=critic,
            latent_dim=latent_dim,
            ema_half_life=ema_half_life,
            feature_matching_weight=feature_matching_weight,
        )
        if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in critic.modules()):
            raise UserError(
                "model.critic.norm=batch mixes samples, which a gradient penalty forbids; use none or instance"
            )
        if not isinstance(gp_weight, int | float) or gp_weight < 0:
            raise UserError(f"model.gp_weight={gp_weight} must be a number of at least 0")
        self.gp_weight, self.n_critic = gp_weight, n_critic

    def phases(self) -> list[Phase]:
        return [Phase("critic", self.critic_loss), Phase("generator", self.generator_loss, every=self.n_critic)]

    def critic_loss(self, batch: Batch) -> Terms:
        real = self.real(batch)
        with torch.no_grad():
            fake = self.fake(batch, "critic")
        return {
            "wasserstein": wasserstein_critic(*self.judge(batch, real, fake)),
            "gradient_penalty": self.gp_weight * self._penalty(batch, real, fake),
        }

    def generator_loss(self, batch: Batch) -> Terms:
        fake = self.fake(batch, "generator")
        return {"wasserstein": wasserstein_generator(self.score(batch, fake)), **self.feature_matching(batch, fake)}

    def _penalty(self, batch: Batch, real: Tensor, fake: Image) -> Tensor:
        if not isinstance(fake, Tensor):
            raise UserError(
                "model.generator makes a pyramid, and a gradient penalty needs one image: use model=msg_gan"
            )
        with torch.autocast(real.device.type, enabled=False):
            epsilon = self.draws.uniform("interpolation", batch["row"])
            mixed = interpolate(real.float(), fake.float(), epsilon)
            return gradient_penalty(self.score(batch, mixed), mixed)
