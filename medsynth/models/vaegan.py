"""The variational autoencoder whose errors are measured by a critic's features."""

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from medsynth.batch import Batch
from medsynth.errors import UserError, check_number
from medsynth.losses import AdversarialLoss
from medsynth.models.at_rest import unrecorded
from medsynth.models.noise_to_image import GIVEN, NoiseToImage, Shared
from medsynth.networks.critic import Critic
from medsynth.reconstruction import divergence_from_prior, gaussian_error, reparametrise
from medsynth.synthesis import Phase, Terms


class VAEGAN(NoiseToImage):
    """Algorithm 1 of Larsen et al. 2016 (arXiv:1512.09300), with f the critic's features:

        for every batch x
            z ~ N(m, s^2) by (m, s^2) = encoder(x);  x~ = G(z);  x_p = G(z_p), z_p ~ N(0, I)
            encoder:    minimise  KL(N(m, s^2) || N(0, I)) - log N(f(x); f(x~), I)
            generator:  minimise  -reconstruction_weight log N(f(x); f(x~), I) + loss.generator of D(x~) and D(x_p)
            critic:     minimise  loss.critic of D(x) against D(x~) and D(x_p)

    The players move one after the other here, each on passes of its own. Losses of x~ and of x_p are averaged, where
    the paper sums them: real and fake images weigh the same. The generator's loss is the non-saturating one by default.
    Terms of likelihood are nats an image: sums over features, less their constant.

    Batch norm sees x~ and x_p in batches of their own, each normalised by its own statistics. Its running averages are
    those of x_p alone, for synthesis draws from the prior: mixed ones quadrupled the kernel distance of phantoms.

    Args:
        encoder: images -> means and log variances (b, latent_dim).
        loss: of generator and critic, on logits.
        reconstruction_weight: gamma of Algorithm 1, which the paper leaves open.
    """

    critic: Critic

    def __init__(
        self,
        *,
        encoder: nn.Module,
        critic: Critic,
        loss: AdversarialLoss,
        reconstruction_weight: float = 1e-3,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(critic=critic, **shared)
        if conditions := self.needs.intersection(GIVEN):
            raise UserError(f"model=vaegan takes no {min(conditions)}: its encoder sees images alone")
        check_number("model.reconstruction_weight", reconstruction_weight, least=0)
        self.encoder = encoder
        self.loss, self.reconstruction_weight = loss, reconstruction_weight

    def players(self) -> dict[str, list[nn.Module]]:
        return {"encoder": [self.encoder], **super().players()}

    def phases(self) -> list[Phase]:
        return [
            Phase("encoder", self.encoder_loss),
            Phase("generator", self.generator_loss),
            Phase("critic", self.critic_loss),
        ]

    def encoder_loss(self, batch: Batch) -> Terms:
        mean, log_variance = self.encoder(batch["image"])
        return {
            "divergence": divergence_from_prior(mean, log_variance).mean(),
            "reconstruction": self._feature_error(batch, self._reconstruct(batch, mean, log_variance)),
        }

    def generator_loss(self, batch: Batch) -> Terms:
        seen = self._reconstruct(batch, *self._encode(batch))
        drawn = self.fake(batch, "generator")
        both = [self.loss.generator(self.score(batch, image)) for image in (seen, drawn)]
        return {
            "reconstruction": self.reconstruction_weight * self._feature_error(batch, seen),
            "adversarial": torch.stack(both).mean(),
            **self.feature_matching(batch, drawn),
        }

    def critic_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            seen = self._reconstruct(batch, *self._encode(batch))
            drawn = self.fake(batch, "critic")
        real, fake = self.judge(batch, self.real(batch), drawn)
        against = [self.loss.critic(real, logits) for logits in (self.score(batch, seen), fake)]
        return {"adversarial": torch.stack(against).mean()}

    @torch.no_grad()
    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.encoder(batch["image"])

    def _reconstruct(self, batch: Batch, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Images from samples of the posterior, seen through the changes that the real images are seen through."""
        noise = self.draws.normal("posterior", batch["row"], self.latent_dim)
        with unrecorded(self.generator):
            image = self.generator(reparametrise(mean, log_variance, noise))
        seen = self.see(image, batch["row"], "real")
        assert isinstance(seen, Tensor)
        return seen

    def _feature_error(self, batch: Batch, image: Tensor) -> Tensor:
        """-log N(f(x); f(image), I), the mean over the batch."""
        real: Any = self.real(batch)
        with torch.no_grad():
            wanted = self.critic.features(real)
        return gaussian_error(wanted, self.critic.features(image)).mean()
