"""The energy-based GAN: its critic's error is an energy, low at real images."""

from typing import Unpack

import torch

from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.models.energy_based import EnergyBased, EnergyShared
from medsynth.networks.autoencoder import Autoencoder
from medsynth.reconstruction import root_mean_square_error
from medsynth.synthesis import Terms


class EBGAN(EnergyBased):
    """Eq. 1 and 2 of Zhao et al. 2017 (arXiv:1609.03126), with the energy E(v) = |v - D(v)| of the autoencoder D:

        for every batch x
            critic:     z ~ N(0, I);  minimise  E(x) + max(0, margin - E(G(z)))
            generator:  z ~ N(0, I);  minimise  E(G(z)) + pulling_away_weight PT(code of G(z))

    PT is explained in EnergyBased. The energy is divided by the root of the number of pixels and channels here, so
    that one margin suits any resolution. In this unit the paper's 10 on MNIST (section 4.1) is 0.36 for 28x28 pixels,
    and 20 and 80, which are commonly used at 64x64x3, are 0.18 and 0.72.

    Args:
        margin: energy above which the critic leaves fake images alone, in units of the images' range [-1, 1].
    """

    error = staticmethod(root_mean_square_error)

    def __init__(self, *, critic: Autoencoder, margin: float = 0.36, **shared: Unpack[EnergyShared]) -> None:
        super().__init__(critic=critic, **shared)
        if not isinstance(margin, int | float) or margin <= 0:
            raise UserError(f"model.margin={margin} must be a number above 0")
        self.margin = margin

    def critic_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fake = self.fake(batch, "critic")
        real, wrong = self.energy(self.real(batch)), self.energy(fake)
        return {"real": real.mean(), "fake": (self.margin - wrong).relu().mean()}
