"""The boundary equilibrium GAN: its critic is an autoencoder, held in balance with the generator."""

from typing import Unpack

import torch
import torch.distributed as dist
from torch import Tensor

from medsynth.batch import Batch
from medsynth.errors import UserError, check_number
from medsynth.models.energy_based import EnergyBased, EnergyShared
from medsynth.networks.autoencoder import Autoencoder
from medsynth.reconstruction import absolute_error
from medsynth.synthesis import Phase, Terms


class BEGAN(EnergyBased):
    """Section 3.4 of Berthelot et al. 2017 (arXiv:1703.10717), with L(v) = |v - D(v)| for the autoencoder D:

        for every batch x
            critic:     z_D ~ U[-1, 1];  minimise  L(x) - k L(G(z_D))
            generator:  z_G ~ U[-1, 1];  minimise  L(G(z_G)) + pulling_away_weight PT(code of G(z_G))
            k <- clip(k + k_step (gamma L(x) - L(G(z_G))), 0, 1)

    z_D and z_G are two draws. The players move one after the other here, not both at once: L(G(z_G)) is by the
    critic that has moved. The paper's measure of convergence L(x) + |gamma L(x) - L(G(z_G))|, which falls while images
    get better, is logged as `convergence`, and `k` beside it.

    The paper has no term PT. It keeps the generator from a single image, which a k near 0 lets it settle on.

    Args:
        generator: BEGAN's makes latents uniform itself.
        gamma: diversity, L(G(z)) / L(x) at the equilibrium, in [0, 1]: lower gives cleaner images that vary less.
        k_step: lambda_k of the paper.
    """

    error = staticmethod(absolute_error)
    k: Tensor

    def __init__(
        self,
        *,
        critic: Autoencoder,
        gamma: float = 0.7,
        k_step: float = 0.001,
        **shared: Unpack[EnergyShared],
    ) -> None:
        super().__init__(critic=critic, **shared)
        if not isinstance(gamma, int | float) or not 0 <= gamma <= 1:
            raise UserError(f"model.gamma={gamma} must be between 0 and 1")
        check_number("model.k_step", k_step, least=0)
        self.gamma, self.k_step = gamma, k_step
        self.register_buffer("k", torch.zeros(()))

    def critic_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fake = self.fake(batch, "critic")
        real, wrong = self.energy(self.real(batch)), self.energy(fake)
        return {"real": real.mean(), "fake": -self.k * wrong.mean()}

    def on_phase_end(self, phase: Phase, terms: Terms) -> None:
        if phase.player == "critic":
            self._real_error = terms["real"]
        else:
            self._balance(self._real_error, terms["fake"])

    @torch.no_grad()
    def _balance(self, real: Tensor, fake: Tensor) -> None:
        """Move k towards the equilibrium, by the errors of all ranks."""
        imbalance = self.gamma * real - fake
        if dist.is_initialized():
            dist.all_reduce(imbalance)
            imbalance /= dist.get_world_size()
        self.k.add_(self.k_step * imbalance).clamp_(0, 1)
        self._collect("critic", {"convergence": real + imbalance.abs(), "k": self.k.clone()})
