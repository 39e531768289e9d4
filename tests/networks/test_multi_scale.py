import pytest
import torch

from medsynth.networks.multi_scale import (
    EqualConv2d,
    EqualLinear,
    MultiScaleCritic,
    MultiScaleGenerator,
    pixel_norm,
    scales,
)

TINY = {"width": 2, "max_width": 8}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [16, 32, 256])
def test_the_generator_gives_an_image_at_every_scale_and_the_critic_sees_them_all(resolution: int, channels: int):
    shape = {"resolution": resolution, "channels": channels, **TINY}
    images = MultiScaleGenerator(**shape, latent_dim=5)(torch.randn(4, 5))
    assert [image.shape[1:] for image in images] == [
        (channels, 2**power, 2**power) for power in range(2, resolution.bit_length())
    ]
    assert all(image.abs().max() <= 1 for image in images)
    critic = MultiScaleCritic(**shape)
    assert critic(images).shape == (4,)
    assert critic.features(images).shape == (4, critic.feature_count)


def test_in_eval_mode_the_generator_gives_the_finest_image_of_training():
    generator, latent = MultiScaleGenerator(resolution=16, latent_dim=5, **TINY), torch.randn(3, 5)
    training = generator(latent)[-1]
    assert torch.equal(generator.eval()(latent), training)


def test_an_image_scores_as_its_own_scales_do():
    critic, image = MultiScaleCritic(resolution=16, **TINY), torch.rand(4, 1, 16, 16)
    assert torch.equal(critic(image), critic(scales(image)))


def test_every_scale_keeps_the_mean_of_each_image():
    image = torch.rand(2, 3, 32, 32)
    found = scales(image)
    assert [scale.shape[-1] for scale in found] == [4, 8, 16, 32]
    for scale in found:
        torch.testing.assert_close(scale.mean(dim=(2, 3)), image.mean(dim=(2, 3)))


def test_every_scale_of_the_generator_gets_a_gradient_from_the_critic():
    generator, critic = (
        MultiScaleGenerator(resolution=32, latent_dim=5, **TINY),
        MultiScaleCritic(resolution=32, **TINY),
    )
    critic(generator(torch.randn(4, 5))).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in generator.to_image[:-1].parameters())


def test_the_gradient_by_one_image_goes_through_all_scales():
    critic = MultiScaleCritic(resolution=16, **TINY)
    image = torch.rand(4, 1, 16, 16, requires_grad=True)
    (whole,) = torch.autograd.grad(critic(image).sum(), image)
    inputs = tuple(scale.detach().requires_grad_() for scale in scales(image))
    by_scale = torch.autograd.grad(critic(inputs).sum(), inputs)
    spread = [torch.nn.functional.interpolate(gradient, 16) * (gradient.shape[-1] / 16) ** 2 for gradient in by_scale]
    torch.testing.assert_close(whole, torch.stack(spread).sum(dim=0))
    assert all(gradient.any() for gradient in by_scale)


def test_the_wrong_number_of_scales_is_refused():
    with pytest.raises(ValueError, match="images at 2 scales for a critic of 3"):
        MultiScaleCritic(resolution=16, **TINY)((torch.rand(4, 1, 4, 4), torch.rand(4, 1, 8, 8)))


def test_only_the_direction_of_a_latent_counts():
    generator, latent = MultiScaleGenerator(resolution=16, latent_dim=64, **TINY).eval(), torch.randn(3, 64)
    torch.testing.assert_close(generator(3 * latent), generator(latent), rtol=1e-3, atol=1e-4)


def test_pixel_norm_leaves_a_mean_square_of_one_at_each_place():
    normed = pixel_norm(torch.randn(2, 7, 4, 4) * 30)
    torch.testing.assert_close(normed.square().mean(dim=1), torch.ones(2, 4, 4))


@pytest.mark.parametrize("layer", [EqualConv2d(64, 64, 3, gain=1.0), EqualLinear(256, 256, gain=1.0)])
def test_layers_with_scaled_weights_keep_the_variance(layer: torch.nn.Module):
    torch.manual_seed(0)
    entering = torch.randn(4, 64, 32, 32) if isinstance(layer, EqualConv2d) else torch.randn(512, 256)
    leaving = layer(entering)
    middle = leaving[..., 1:-1, 1:-1] if leaving.ndim == 4 else leaving  # padding lowers the variance at the border
    assert middle.var().item() == pytest.approx(1, rel=0.1)
    assert layer.weight.std().item() == pytest.approx(1, rel=0.05)
