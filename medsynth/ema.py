"""The exponential moving average of a network's weights: what is sampled, judged and exported."""

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

# StyleGAN2's ramp-up: the half-life never exceeds this share of the images seen, so that early samples are not the
# untrained network's (Karras et al. 2020, arXiv:2006.06676, appendix C).
RAMP_UP = 0.05


class Average(nn.Module):
    """A frozen copy of `network` that follows it with a half-life counted in images.

    Args:
        network: the network that is trained; its floating point buffers (running statistics) are averaged too,
            other buffers are copied.
        player: whose moves the average follows.
        half_life: images after which an old weight's share is halved; 0 copies the network at every move.
    """

    def __init__(self, network: nn.Module, *, player: str = "generator", half_life: int = 10_000) -> None:
        super().__init__()
        self.player, self.half_life = player, half_life
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._source = (network,)  # in a tuple, so that the trained network is not registered twice

    def forward(self, *inputs: Tensor, **given: Tensor) -> Tensor:
        return self.network(*inputs, **given)

    def train(self, mode: bool = True) -> "Average":
        return super().train(False)

    @torch.no_grad()
    def update(self, images: int, images_seen: int) -> None:
        """Follow the network over the last `images` images; `images_seen` is the run's clock."""
        half_life = min(self.half_life, images_seen * RAMP_UP)
        decay = 0.5 ** (images / half_life) if half_life > 0 else 0.0
        source = self._source[0]
        averaged = [*self.network.parameters(), *(b for b in self.network.buffers() if b.is_floating_point())]
        current = [*source.parameters(), *(b for b in source.buffers() if b.is_floating_point())]
        get_ema_multi_avg_fn(decay)(averaged, current, 0)
        for mine, theirs in zip(self.network.buffers(), source.buffers(), strict=True):
            if not mine.is_floating_point():
                mine.copy_(theirs)
