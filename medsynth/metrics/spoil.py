"""Real images made unusable, one way a function: what a detector of bad samples learns from."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor

Spoiler = Callable[[Float[Tensor, "b c h w"], Generator], Float[Tensor, "b c h w"]]
PERIODS = (2, 3, 4, 6, 8)  # pixels from one stripe to the next; strided upsampling leaves such patterns


def blur(images: Float[Tensor, "b c h w"], random: Generator) -> Float[Tensor, "b c h w"]:
    """Gaussian blur of 0.8 to 3 pixels."""
    deviation = _between(0.8, 3.0, len(images), random)[:, None]  # (b, 1)
    reach = torch.arange(-6.0, 7.0)
    kernel = torch.exp(-0.5 * (reach / deviation) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(images.shape[1], 0)  # (b * c, 13)
    flat = F.pad(images, (6, 6, 6, 6), mode="replicate").flatten(0, 1)[None]  # (1, b * c, h + 12, w + 12)
    across = F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
    return F.conv2d(across, kernel[:, None, :, None], groups=len(kernel))[0].unflatten(0, images.shape[:2])


def noise(images: Float[Tensor, "b c h w"], random: Generator) -> Float[Tensor, "b c h w"]:
    """White noise with a standard deviation of 0.1 to 0.4, or coarse noise of grains of 2 pixels."""
    deviation = _each(_between(0.1, 0.4, len(images), random))
    fine = torch.randn(images.shape, generator=random)
    coarse = fine[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)[..., : images.shape[-2], :]
    is_fine = _each(torch.rand(len(images), generator=random)) < 0.5
    return images + deviation * torch.where(is_fine, fine, coarse[..., : images.shape[-1]])


def ghosting(images: Float[Tensor, "b c h w"], random: Generator) -> Float[Tensor, "b c h w"]:
    """One or two displaced shadows of 20 to 50 % over the image, as of a body that moved."""
    weight = _each(_between(0.2, 0.5, len(images), random))
    part = _between(0.1, 0.5, len(images), random)
    axis = torch.rand(len(images), generator=random) < 0.5
    h, w = images.shape[-2:]
    shadow = _moved(images, down=(part * h * axis).long(), right=(part * w * ~axis).long())
    other = _moved(images, down=-(part * h * axis).long(), right=-(part * w * ~axis).long())
    two = _each(torch.rand(len(images), generator=random)) < 0.5
    return (1 - weight) * images + weight * torch.where(two, (shadow + other) / 2, shadow)


def banding(images: Float[Tensor, "b c h w"], random: Generator) -> Float[Tensor, "b c h w"]:
    """Stripes, or a chequered pattern, 2 to 8 pixels apart and 0.08 to 0.3 strong."""
    strength = _each(_between(0.08, 0.3, len(images), random))
    period = _each(torch.tensor(PERIODS)[torch.randint(len(PERIODS), (len(images),), generator=random)])
    phase = _each(torch.rand(len(images), generator=random)) * 2 * math.pi
    kind = _each(torch.randint(3, (len(images),), generator=random))
    down, across = torch.arange(images.shape[-2])[:, None], torch.arange(images.shape[-1])
    rows, columns = (torch.cos(2 * math.pi * place / period + phase) for place in (down, across))  # (b, 1, h|w, 1|w)
    # Two pixels a period may meet the wave at its zeros: there the phase is left out.
    rows = torch.where(period == 2, torch.cos(math.pi * down), rows)
    columns = torch.where(period == 2, torch.cos(math.pi * across), columns)
    pattern = torch.where(kind == 0, rows, torch.where(kind == 1, columns, rows * columns))
    return images + strength * pattern


def intensity(images: Float[Tensor, "b c h w"], random: Generator) -> Float[Tensor, "b c h w"]:
    """A wrong grey scale: negative, washed out, or far too dark or bright (gamma 1/3 or 3)."""
    kind = _each(torch.randint(4, (len(images),), generator=random))
    strength = _each(_between(0.0, 1.0, len(images), random))
    share = (images.clamp(-1, 1) + 1) / 2
    gamma = torch.where(kind == 2, 2.0 + strength, 1 / (2.0 + strength))
    curved = share.pow(gamma) * 2 - 1
    washed = images * (0.5 - 0.3 * strength)
    return torch.where(kind == 0, -images, torch.where(kind == 1, washed, curved))


def quarters(images: Float[Tensor, "b c h w"], random: Generator) -> Float[Tensor, "b c h w"]:
    """The four quarters in another order."""
    h, w = images.shape[-2] // 2, images.shape[-1] // 2
    parts = images[..., : 2 * h, : 2 * w].unflatten(-2, (2, h)).unflatten(-1, (2, w)).permute(0, 2, 4, 1, 3, 5)
    parts = parts.flatten(1, 2)  # (b, 4, c, h, w)
    orders = torch.tensor(ORDERS)[torch.randint(len(ORDERS), (len(images),), generator=random)]  # (b, 4)
    parts = parts.gather(1, orders[:, :, None, None, None].expand_as(parts)).unflatten(1, (2, 2))
    mixed = images.clone()
    mixed[..., : 2 * h, : 2 * w] = parts.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return mixed


ORDERS = [
    [a, b, c, 6 - a - b - c]
    for a in range(4) for b in range(4) for c in range(4)
    if len({a, b, c}) == 3 and [a, b, c] != [0, 1, 2]
]  # fmt: skip


def patches(images: Float[Tensor, "b c h w"], random: Generator) -> Float[Tensor, "b c h w"]:
    """Three to six squares of a fifth to two fifths of the side, each over another place."""
    side = min(images.shape[-2:])
    mixed = images.clone()
    for number in range(len(images)):
        for _ in range(int(torch.randint(3, 7, (), generator=random))):
            size = int(_between(0.2, 0.4, 1, random).item() * side)
            y, x, to_y, to_x = (
                int(torch.randint(length - size + 1, (), generator=random)) for length in images.shape[-2:] * 2
            )
            mixed[number, :, to_y : to_y + size, to_x : to_x + size] = images[number, :, y : y + size, x : x + size]
    return mixed


def mirrored(images: Float[Tensor, "b c h w"], random: Generator) -> Float[Tensor, "b c h w"]:
    """One half replaced by the mirror image of the other: left by right, or upper by lower, and the other way."""
    kind = _each(torch.randint(4, (len(images),), generator=random))
    upper = torch.arange(images.shape[-2])[:, None] < images.shape[-2] / 2
    left = torch.arange(images.shape[-1]) < images.shape[-1] / 2
    keep = torch.where(kind == 0, left, torch.where(kind == 1, ~left, torch.where(kind == 2, upper, ~upper)))
    return torch.where(keep, images, torch.where(kind < 2, images.flip(-1), images.flip(-2)))


CORRUPTED: dict[str, Spoiler] = {
    "blur": blur, "noise": noise, "ghosting": ghosting, "banding": banding, "intensity": intensity,
}  # fmt: skip
SCRAMBLED: dict[str, Spoiler] = {"quarters": quarters, "patches": patches, "mirrored": mirrored}
SPOILERS = CORRUPTED | SCRAMBLED


def spoil(images: Float[Tensor, "b c h w"], random: Generator) -> Float[Tensor, "b c h w"]:
    """Each image spoilt in one way, all ways about equally often, in [-1, 1] and at its place."""
    ways = torch.randint(len(SPOILERS), (len(images),), generator=random)
    spoilt = images.clone()
    for number, spoiler in enumerate(SPOILERS.values()):
        if len(rows := (ways == number).nonzero()[:, 0]):
            spoilt[rows] = spoiler(images[rows], random)
    return spoilt.clamp(-1, 1)


def _between(low: float, high: float, count: int, random: Generator) -> Float[Tensor, " b"]:
    return low + (high - low) * torch.rand(count, generator=random)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _moved(
    images: Float[Tensor, "b c h w"], *, down: Int[Tensor, " b"], right: Int[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """Images moved by whole pixels; what leaves on one side comes back on the other."""
    rows = (torch.arange(images.shape[-2]) - down[:, None]) % images.shape[-2]  # (b, h)
    columns = (torch.arange(images.shape[-1]) - right[:, None]) % images.shape[-1]
    number = torch.arange(len(images))[:, None, None]
    return images.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
