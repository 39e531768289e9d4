import pytest
import torch
from torch import nn

from medsynth.errors import UserError
from medsynth.networks.residual import (
    AttributeNorm,
    CriticBlock,
    GeneratorBlock,
    ResidualCritic,
    ResidualGenerator,
)

TINY = {"width": 2, "max_width": 8}


def linear_layers(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256])
def test_residual_networks_take_any_power_of_two_and_any_channels(resolution: int, channels: int):
    shape = {"resolution": resolution, "channels": channels, **TINY}
    image = ResidualGenerator(**shape, latent_dim=5)(torch.randn(2, 5))
    assert image.shape == (2, channels, resolution, resolution)
    assert image.abs().max() <= 1
    critic = ResidualCritic(**shape)
    assert critic(image).shape == (2,)
    assert critic.features(image).shape == (2, critic.feature_count)


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@pytest.mark.parametrize("init", ["he", "dcgan", "fixup"])
def test_every_norm_and_init_is_a_choice_of_both_sides(norm: str, init: str):
    choices = {"resolution": 16, "width": 4, "norm": norm, "init": init}
    image = ResidualGenerator(**choices)(torch.randn(2, 128))
    critic = ResidualCritic(**choices, minibatch_stddev=True, spectral_norm=init != "fixup")
    assert critic(image).isfinite().all()


def test_unknown_norms_and_inits_are_named():
    with pytest.raises(UserError, match="norm=layr is unknown; choices: batch"):
        ResidualCritic(resolution=16, norm="layr")
    with pytest.raises(UserError, match="init=xavier is unknown; choices: he, dcgan, fixup"):
        ResidualGenerator(resolution=16, init="xavier")


def test_weights_of_zero_have_no_spectral_norm():
    with pytest.raises(UserError, match=r"init=fixup starts from weights of 0.*choose init=he, or spectral_norm=false"):
        ResidualCritic(resolution=16, init="fixup", spectral_norm=True)


def test_at_128_pixels_the_widths_are_the_papers():
    generator, critic = (build(resolution=128, **TINY) for build in (ResidualGenerator, ResidualCritic))
    assert [block.last.out_channels for block in generator.blocks] == [8, 8, 8, 4, 2]
    assert [block.last.out_channels for block in critic.blocks] == [2, 4, 8, 8, 8, 8]


# ------------------------------------------------------------------------------------------------------ spectral norm


def test_every_weight_of_the_critic_has_a_largest_singular_value_of_one():
    torch.manual_seed(0)
    critic = ResidualCritic(resolution=16, channels=2, width=4)
    for _ in range(20):
        critic.zero_grad()
        critic(torch.randn(2, 2, 16, 16)).mean().backward()
        with torch.no_grad():
            for weight in critic.parameters():
                weight += 0.1 * weight.grad
    for _ in range(20):  # the power method catches up with the last step
        critic(torch.randn(2, 2, 16, 16))
    for layer in linear_layers(critic):
        largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
        assert largest.item() == pytest.approx(1, abs=0.03)


def test_without_spectral_norm_no_weight_is_normalised():
    critic = ResidualCritic(resolution=16, spectral_norm=False, **TINY)
    assert not any(nn.utils.parametrize.is_parametrized(layer) for layer in critic.modules())


def test_a_spectrally_normalised_critic_does_not_see_the_size_of_its_weights():
    torch.manual_seed(0)
    critic, image = ResidualCritic(resolution=16, **TINY).eval(), torch.randn(3, 1, 16, 16)
    before = critic(image)
    with torch.no_grad():
        for layer in linear_layers(critic):
            layer.parametrizations.weight.original *= 7
    torch.testing.assert_close(critic(image), before)


def test_what_is_drawn_is_what_is_normalised():
    torch.manual_seed(0)
    critic = ResidualCritic(resolution=16, width=64, init="dcgan")
    assert critic.blocks[1].first.parametrizations.weight.original.std().item() == pytest.approx(0.02, rel=0.05)


# --------------------------------------------------------------------------------------------------------------- draws


def test_a_fixup_block_starts_as_its_shortcut():
    features = torch.randn(2, 3, 8, 8)
    generator = ResidualGenerator(resolution=16, norm="none", init="fixup", **TINY)
    block = generator.blocks[0]
    assert isinstance(block, GeneratorBlock)
    hidden = torch.randn(2, block.first.in_channels, 4, 4)
    torch.testing.assert_close(block(hidden), block.enlarge(block.shortcut(hidden)))
    critic = ResidualCritic(resolution=16, channels=3, spectral_norm=False, init="fixup", width=4)
    first, *_, last = critic.blocks
    assert isinstance(first, CriticBlock)
    assert isinstance(last, CriticBlock)
    torch.testing.assert_close(first(features), first.shortcut(first.pool(features)))
    hidden = torch.randn(2, last.first.in_channels, 4, 4)
    assert torch.equal(last(hidden), hidden)


def test_fixup_divides_the_first_convolutions_by_the_root_of_the_number_of_blocks():
    spread = {}
    for init in ("he", "fixup"):
        torch.manual_seed(0)
        spread[init] = ResidualGenerator(resolution=64, width=16, norm="none", init=init).blocks[0].first.weight.std()
    torch.testing.assert_close(spread["fixup"], spread["he"] / 2)  # four blocks


@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_the_signal_neither_dies_nor_explodes_without_norms(leak: float):
    torch.manual_seed(0)
    for init in ("he", "fixup"):
        choices = {"resolution": 64, "width": 8, "max_width": 64, "norm": "none", "init": init, "leak": leak}
        generator, critic = ResidualGenerator(**choices), ResidualCritic(**choices, spectral_norm=False)
        before_tanh = nn.Sequential(*list(generator.to_image)[:-1])
        hidden = generator.start(torch.randn(16, 128))
        for block in generator.blocks:
            hidden = block(hidden)
        assert 0.2 < before_tanh(hidden).std().item() < 8
        logits = critic(torch.randn(32, 1, 64, 64).cumsum(2).cumsum(3) / 64)  # smooth, as images are
        assert 0.01 < logits.std().item() < 20


# ----------------------------------------------------------------------------------------------------------- condition


def test_needs_are_computed_from_the_arguments():
    needs = {
        (classes, covariates): ResidualGenerator(resolution=16, classes=classes, covariates=covariates, **TINY).needs
        for classes in (0, 2)
        for covariates in (0, 3)
    }
    assert needs == {
        (0, 0): frozenset(),
        (2, 0): {"label"},
        (0, 3): {"covariates"},
        (2, 3): {"label", "covariates"},
    }


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_labels_and_covariates_change_the_image(norm: str):
    generator = ResidualGenerator(resolution=16, classes=2, covariates=1, norm=norm, **TINY)
    latent = torch.randn(1, 128).expand(4, -1)
    label, covariates = torch.tensor([0, 1, 0, 0]), torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    image = generator.eval()(latent, label=label, covariates=covariates)
    torch.testing.assert_close(image[2], image[0])
    assert not torch.allclose(image[1], image[0])
    assert not torch.allclose(image[3], image[0])


def test_a_conditional_norm_without_offsets_is_the_norm():
    conditional, features = AttributeNorm("batch", 5, classes=3, covariates=2), torch.randn(4, 5, 6, 6)
    for embedding in (conditional.scale, conditional.shift):
        embedding.draw(nn.init.zeros_)
    found = conditional(features, torch.tensor([0, 1, 2, 0]), torch.randn(4, 2))
    torch.testing.assert_close(found, nn.BatchNorm2d(5)(features))


def test_a_conditional_norm_scales_and_shifts_each_channel_by_its_class():
    norm, features = AttributeNorm("none", 2, classes=2), torch.ones(2, 2, 3, 3)
    with torch.no_grad():
        norm.scale.of_label.weight.copy_(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
        norm.shift.of_label.weight.copy_(torch.tensor([[10.0, 20.0], [30.0, 40.0]]))
    found = norm(features, torch.tensor([1, 0]))
    assert found[:, :, 0, 0].tolist() == [[33.0, 44.0], [11.0, 22.0]]
