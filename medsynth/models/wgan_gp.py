"""Wasserstein GAN with gradient penalty."""

from typing import Unpack

import torch
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError, check_number
from medsynth.losses import wasserstein_critic, wasserstein_generator
from medsynth.models.noise_to_image import NoiseToImage, Shared, refuse_batch_norm
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
        critic: nn.Module,
        gp_weight: float = 10.0,
        n_critic: int = 5,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(critic=critic, **shared)
        refuse_batch_norm(critic)
        check_number("model.gp_weight", gp_weight, least=0)
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

    def _penalty(self, batch: Batch, real: Image, fake: Image) -> Tensor:
        if not (isinstance(real, Tensor) and isinstance(fake, Tensor)):
            raise UserError(
                "model.generator makes a pyramid, and a gradient penalty needs one image: use model=msg_gan"
            )
        with torch.autocast(real.device.type, enabled=False):
            epsilon = self.draws.uniform("interpolation", batch["row"])
            mixed = interpolate(real.float(), fake.float(), epsilon)
            return gradient_penalty(self.score(batch, mixed), mixed)
