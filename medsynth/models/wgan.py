"""Wasserstein GAN with clipped weights."""

from typing import Any, Unpack

import torch
from torch import nn

from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.losses import wasserstein_critic, wasserstein_generator
from medsynth.models.noise_to_image import NoiseToImage, Shared
from medsynth.synthesis import Phase, Terms

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
NORM_CLIP = 1.0


class WGAN(NoiseToImage):
    """Algorithm 1 of Arjovsky et al. 2017 (arXiv:1701.07875):

        for every batch x
            critic:     z ~ N(0, I);  minimise  f(G(z)) - f(x);  w <- clip(w, -clip, clip)
        for every n_critic-th batch
            generator:  z ~ N(0, I);  minimise  -f(G(z))

    Scales and shifts of norms are clipped to [-1, 1]: at 0.01 each batch norm of the critic would shrink the signal
    a hundredfold, below its own eps, and after four layers no gradient is left to move anything.

    Args:
        clip: c of the paper, for the weights and biases of the critic's convolutions and linear layers.
        n_critic: critic steps a generator step.
    """

    def __init__(
        self,
        *,
        critic: nn.Module,
        clip: float = 0.01,
        n_critic: int = 5,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(critic=critic, **shared)
        if not isinstance(clip, int | float) or clip <= 0:
            raise UserError(f"model.clip={clip} must be a number above 0")
        self.clip, self.n_critic = clip, n_critic

    def phases(self) -> list[Phase]:
        return [Phase("critic", self.critic_loss), Phase("generator", self.generator_loss, every=self.n_critic)]

    def critic_loss(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fake = self.fake(batch, "critic")
        return {"wasserstein": wasserstein_critic(*self.judge(batch, self.real(batch), fake))}

    def generator_loss(self, batch: Batch) -> Terms:
        fake = self.fake(batch, "generator")
        return {"wasserstein": wasserstein_generator(self.score(batch, fake)), **self.feature_matching(batch, fake)}

    @torch.no_grad()
    def on_phase_end(self, phase: Phase, terms: Any) -> None:
        if phase.player == "critic":
            for layer in self.critic.modules():
                bound = NORM_CLIP if isinstance(layer, NORMS) else self.clip
                for weight in layer.parameters(recurse=False):
                    weight.clamp_(-bound, bound)
