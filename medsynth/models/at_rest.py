"""Networks that answer a question and stay as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from medsynth.networks.minibatch_stddev import MinibatchStddev


@contextmanager
def unrecorded(network: nn.Module) -> Iterator[None]:
    """Within, batches leave no trace in the running averages of batch norm, by which they are normalised as ever."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """Within: eval mode, no gradients, full precision, and each image on its own. Afterwards every layer is as before.

    What a network says of an image then depends on that image alone: dropout is off, batch norm takes its running
    averages, spectral norm its stored vectors, and a minibatch deviation is that of one image, which is none. Critics
    of groups are so asked about a group of equal images, which training never showed them: scores compare with each
    other, and not with logits of training.
    """
    modes = [(layer, layer.training) for layer in network.modules()]
    groups = [(layer, layer.group) for layer in network.modules() if isinstance(layer, MinibatchStddev)]
    weight = next(network.parameters())
    network.eval()
    for layer, _ in groups:
        layer.group = 1
    try:
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            yield
    finally:
        for layer, mode in modes:
            layer.training = mode
        for layer, group in groups:
            layer.group = group
