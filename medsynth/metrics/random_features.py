"""`random`: features of a fixed network that nobody trained, for judging without any download."""

import hashlib

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from medsynth.latent import generator
from medsynth.metrics.features import Extractor, resize

SIZE = 64
WIDTHS = (24, 32, 48, 32)
LAYOUT = 2  # the last stage keeps its means in 2 x 2 quarters of the image, so that where things lie counts too


class RandomConvolutions(Extractor):
    """Four random convolutions over the image at 64 x 64, each followed by a leaky ReLU and a halving.

    Random networks tell image sets apart without the bias of natural photographs (Naeem et al. 2020, section 3.4,
    arXiv:2002.09797); those authors use VGG16, this one is small because it runs during training. The vector holds
    the channel means of stages 1 to 3 and the means of stage 4 in each quarter of the image: 24 + 32 + 48 + 4 * 32.
    Weights are uniform numbers of torch's Mersenne twister, equal on every machine, unlike normal numbers, whose
    logarithms may differ in the last bit.

    Args:
        channels: of the images; the weights depend on it.
    """

    name = "random"
    resize = f"{SIZE}x{SIZE} bilinear, antialiased"
    dimension = sum(WIDTHS[:-1]) + LAYOUT**2 * WIDTHS[-1]

    def __init__(self, channels: int) -> None:
        stream = generator(0, "random convolutions", channels)
        self.layers = [
            _layer(inputs, outputs, stream) for inputs, outputs in zip((channels, *WIDTHS), WIDTHS, strict=False)
        ]
        digest = hashlib.sha256()
        for layer in self.layers:
            for tensor in layer:
                digest.update(tensor.numpy().tobytes())
        self.sha256 = digest.hexdigest()

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        x = resize(images.cpu().float(), SIZE)  # a GPU would round to TF32, and is not needed for so little
        pooled = []
        for weight, bias in self.layers:
            x = F.leaky_relu(F.conv2d(x, weight, bias, padding=1), 0.2)
            pooled.append(x.mean(dim=(2, 3)))
            x = F.avg_pool2d(x, 2)
        pooled[-1] = F.adaptive_avg_pool2d(x, LAYOUT).flatten(1)  # (b, 4 * WIDTHS[-1])
        return torch.cat(pooled, dim=1)


def _layer(inputs: int, outputs: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    """A 3 x 3 kernel whose outputs have about the variance of its inputs (He et al. 2015), and a bias.

    Every other kernel sums to zero: it answers to texture alone. Without those, brightness outweighs all else.
    """
    weight = torch.rand(outputs, inputs, 3, 3, generator=stream) * 2 - 1
    weight[::2] -= weight[::2].mean(dim=(1, 2, 3), keepdim=True)
    bias = (torch.rand(outputs, generator=stream) - 0.5) * 0.5
    return weight * (6 / (inputs * 9)) ** 0.5, bias
