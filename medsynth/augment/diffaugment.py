"""DiffAugment: colour, translation and cutout of all that the critic sees."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medsynth.augment.critic_augment import Fixed, checked_policy, picked
from medsynth.augment.instance_noise import InstanceNoise
from medsynth.latent import Draws

POLICY = ("color", "translation", "cutout")
BRIGHTNESS, SATURATION, CONTRAST = (-0.5, 0.5), (0.0, 2.0), (0.5, 1.5)  # ranges of section 3.2 of the paper
SHIFT, HOLE = 1 / 8, 1 / 2  # fractions of the side, the same section


class DiffAugment(Fixed):
    """T of Eqs. 2-3 of Zhao et al. 2020 (arXiv:2006.10738), T(x) for the critic and T(G(z)) for both players:

        color        x + U[-1/2, 1/2];  away from the mean of the pixel's channels by U[0, 2];  away from the mean of
                     the image by U[1/2, 3/2]: brightness, saturation (nothing, where there is one channel), contrast
        translation  by up to 1/8 of the side each way, whole pixels, 0 moves in (the middle grey)
        cutout       a square of half the side, centred anywhere in the image, becomes 0

    Every image is transformed. Into masks -1, the background, moves instead of 0, and colour leaves them alone. The
    paper draws whole pixels; here a fraction of the side is drawn and rounded, so that all levels of a pyramid move
    alike, and the two furthest shifts are half as likely.

    Args:
        policy: which of POLICY act, in the paper's order.
    """

    def __init__(self, *, policy: Sequence[str] = POLICY, instance_noise: InstanceNoise | None = None) -> None:
        super().__init__(instance_noise=instance_noise)
        self.policy = checked_policy(policy, POLICY)

    def transformed(
        self, image: Float[Tensor, "b c h w"], draws: Draws, rows: Int[Tensor, " b"], *, name: str, masks: int
    ) -> Float[Tensor, "b c h w"]:
        unit = draws.uniform(f"{name} diffaugment", rows, 7)  # (b, 7) in [0, 1), a column each, whatever the policy
        outside = torch.cat([image.new_zeros(image.shape[1] - masks), image.new_full((masks,), -1.0)])
        if "color" in self.policy:
            seen, mask = image.split([image.shape[1] - masks, masks], dim=1)
            image = torch.cat([colour(seen, unit[:, :3]), mask], dim=1)
        if "translation" in self.policy:
            image = translation(image, (2 * unit[:, 3:5] - 1) * SHIFT, outside)
        if "cutout" in self.policy:
            image = cutout(image, unit[:, 5:7], outside)
        return image


def colour(image: Float[Tensor, "b c h w"], unit: Float[Tensor, "b 3"]) -> Float[Tensor, "b c h w"]:
    """Brightness, saturation and contrast at places in [0, 1] of their ranges."""
    ranges = (BRIGHTNESS, SATURATION, CONTRAST)
    brightness, saturation, contrast = (
        (low + (high - low) * unit[:, k])[:, None, None, None] for k, (low, high) in enumerate(ranges)
    )
    image = image + brightness
    if image.shape[1] > 1:
        grey = image.mean(dim=1, keepdim=True)  # (b, 1, h, w)
        image = grey + (image - grey) * saturation
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (image - mean) * contrast


def translation(
    image: Float[Tensor, "b c h w"], shift: Float[Tensor, "b 2"], outside: Float[Tensor, " c"]
) -> Float[Tensor, "b c h w"]:
    """Show at (y, x) what was at (y, x) minus the shift, fractions of height and width; beyond the image, `outside`."""
    y, x = (
        torch.arange(side, device=image.device) - (shift[:, k, None] * side).round().long()
        for k, side in enumerate(image.shape[-2:])
    )
    within = [(place >= 0) & (place < side) for place, side in zip((y, x), image.shape[-2:], strict=True)]
    inside = within[0][:, None, :, None] & within[1][:, None, None, :]  # (b, 1, h, w)
    moved = picked(image, y.clamp(0, image.shape[-2] - 1), x.clamp(0, image.shape[-1] - 1))
    return torch.where(inside, moved, outside[:, None, None])


def cutout(
    image: Float[Tensor, "b c h w"], centre: Float[Tensor, "b 2"], outside: Float[Tensor, " c"]
) -> Float[Tensor, "b c h w"]:
    """Put `outside` into a rectangle of half of height and width around the centre, a fraction of both."""
    y, x = (
        ((torch.arange(side, device=image.device) + 0.5) / side - centre[:, k, None]).abs() < HOLE / 2
        for k, side in enumerate(image.shape[-2:])
    )
    return torch.where(y[:, None, :, None] & x[:, None, None, :], outside[:, None, None], image)
