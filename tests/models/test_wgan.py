import pytest
import torch
from torch import nn

from medsynth.errors import UserError
from medsynth.models.wgan import WGAN
from medsynth.networks.convolutional import ConvCritic, ConvGenerator


def built(**settings: float) -> WGAN:
    return WGAN(generator=ConvGenerator(resolution=16, width=2), critic=ConvCritic(resolution=16, width=2), **settings)


def largest(model: WGAN, *kinds: type[nn.Module]) -> float:
    layers = [layer for layer in model.critic.modules() if isinstance(layer, kinds)]
    return max(weight.abs().max().item() for layer in layers for weight in layer.parameters(recurse=False))


def test_the_critics_weights_are_clipped_whenever_it_moved_and_only_they():
    model = built(clip=0.005)
    before = [weight.clone() for weight in model.weights("generator")]
    critic, generator = model.phases()
    model.on_phase_end(generator, {})
    assert largest(model, nn.Conv2d, nn.Linear) > 0.005
    model.on_phase_end(critic, {})
    assert largest(model, nn.Conv2d, nn.Linear) == pytest.approx(0.005)
    assert all(map(torch.equal, before, model.weights("generator")))


def test_norms_keep_their_scale_so_that_the_signal_does_not_vanish():
    model = built(clip=0.01)
    with torch.no_grad():
        next(layer for layer in model.critic.modules() if isinstance(layer, nn.BatchNorm2d)).weight.fill_(3.0)
    model.on_phase_end(model.phases()[0], {})
    assert largest(model, nn.BatchNorm2d) == 1
    assert model.critic(torch.randn(8, 1, 16, 16)).std() > 1e-3


def test_the_generator_moves_every_fifth_batch():
    assert [(phase.player, phase.every) for phase in built().phases()] == [("critic", 1), ("generator", 5)]


def test_a_clip_that_leaves_nothing_is_refused():
    with pytest.raises(UserError, match=r"model.clip=0.0 must be a number above 0"):
        built(clip=0.0)
