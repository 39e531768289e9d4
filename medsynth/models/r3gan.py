"""The relativistic pairing GAN with both zero-centred gradient penalties, for any networks."""

from typing import Unpack

import torch
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError, check_number
from medsynth.losses import relativistic_critic, relativistic_generator
from medsynth.models.noise_to_image import NoiseToImage, Shared, refuse_batch_norm
from medsynth.penalties import zero_centred_penalty
from medsynth.synthesis import Phase, Terms


class R3GAN(NoiseToImage):
    """Section 2 of Huang et al. 2024 (NeurIPS; arXiv:2501.05441); f(t) = log(1 + exp(-t)):

        for every batch x
            critic:     z ~ N(0, I);  x~ = G(z)
                        minimise  f(D(x) - D(x~)) + penalty_weight / 2 (|grad D(x)|^2 + |grad D(x~)|^2)
            generator:  z ~ N(0, I);  minimise  f(D(G(z)) - D(x))

    Args:
        penalty_weight: gamma of R1 and R2.
    """

    def __init__(
        self,
        *,
        critic: nn.Module,
        penalty_weight: float = 1.0,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(critic=critic, **shared)
        check_number("model.penalty_weight", penalty_weight, least=0)
        if penalty_weight:
            refuse_batch_norm(critic)
        self.penalty_weight = penalty_weight

    def phases(self) -> list[Phase]:
        return [Phase("critic", self.critic_loss), Phase("generator", self.generator_loss)]

    def critic_loss(self, batch: Batch) -> Terms:
        real = self.real(batch)
        with torch.no_grad():
            fake = self.fake(batch, "critic")
        if not (isinstance(real, Tensor) and isinstance(fake, Tensor)):
            raise UserError("model.generator makes a pyramid, and R2 needs one image: use model=msg_gan")
        # The penalties need the logits in full precision, and the pairing takes the same ones.
        with torch.autocast(fake.device.type, enabled=False):
            real, fake = real.detach().requires_grad_(), fake.float().requires_grad_()
            on_real, on_fake = self.judge(batch, real, fake)
            return {
                "relativistic": relativistic_critic(on_real, on_fake),
                "r1": self.penalty_weight * zero_centred_penalty(on_real, real),
                "r2": self.penalty_weight * zero_centred_penalty(on_fake, fake),
            }

    def generator_loss(self, batch: Batch) -> Terms:
        fake = self.fake(batch, "generator")
        with torch.no_grad():
            real = self.score(batch, self.real(batch))
        return {
            "relativistic": relativistic_generator(real, self.score(batch, fake)),
            **self.feature_matching(batch, fake),
        }
