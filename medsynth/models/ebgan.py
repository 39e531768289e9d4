"""The energy-based GAN: its critic is an autoencoder, whose error is an energy, low at real images."""

from typing import Unpack

import torch
from torch import Tensor

from medsynth.batch import Batch
from medsynth.errors import UserError, check_number
from medsynth.models.noise_to_image import NoiseToImage, Shared
from medsynth.networks.autoencoder import Autoencoder
from medsynth.reconstruction import pulling_away, root_mean_square_error
from medsynth.synthesis import Image, Phase, Terms


class EBGAN(NoiseToImage):
    """Eq. 1 and 2 of Zhao et al. 2017 (arXiv:1609.03126), with the energy E(v) = |v - D(v)| of the autoencoder D:

        for every batch x
            critic:     z ~ N(0, I);  minimise  E(x) + max(0, margin - E(G(z)))
            generator:  z ~ N(0, I);  minimise  E(G(z)) + pulling_away_weight PT(code of G(z))

    PT is the mean squared cosine between codes of different images (section 2.4): it pushes a batch's images apart.
    The energy is divided by the root of the number of pixels and channels here, so that one margin suits any
    resolution. In this unit the paper's 10 on MNIST (section 4.1) is 0.36 for 28x28 pixels, and 20 and 80, which are
    commonly used at 64x64x3, are 0.18 and 0.72.

    Args:
        margin: energy above which the critic leaves fake images alone, in units of the images' range [-1, 1].
        pulling_away_weight: 0.1 in the paper's EBGAN-PT; 0 is its EBGAN.
    """

    has_boundary = False  # between energies of real and of fake images
    critic: Autoencoder

    def __init__(
        self,
        *,
        critic: Autoencoder,
        margin: float = 0.36,
        pulling_away_weight: float = 0.1,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(critic=critic, **shared)
        if not isinstance(margin, int | float) or margin <= 0:
            raise UserError(f"model.margin={margin} must be a number above 0")
        check_number("model.pulling_away_weight", pulling_away_weight, least=0)
        self.margin, self.pulling_away_weight = margin, pulling_away_weight

    def phases(self) -> list[Phase]:
        return [Phase("critic", self.critic_loss), Phase("generator", self.generator_loss)]

    def critic_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fake = self.fake(batch, "critic")
        real, _ = self._energy(self.real(batch))
        wrong, _ = self._energy(fake)
        return {"real": real.mean(), "fake": (self.margin - wrong).relu().mean()}

    def generator_loss(self, batch: Batch) -> Terms:
        fake = self.fake(batch, "generator")
        energy, code = self._energy(fake)
        terms = {"fake": energy.mean(), **self.feature_matching(batch, fake)}
        if self.pulling_away_weight:
            terms["pulling_away"] = self.pulling_away_weight * pulling_away(code)
        return terms

    def _realness(self, batch: Batch, image: Image) -> Tensor:
        return -self._energy(image)[0]

    def _energy(self, image: Image) -> tuple[Tensor, Tensor]:
        """Energies (b,) and codes (b, f)."""
        assert isinstance(image, Tensor)
        code = self.critic.features(image)
        return root_mean_square_error(image, self.critic.decode(code)), code
