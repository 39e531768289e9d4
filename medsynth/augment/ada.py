"""ADA: augmentation of all that the critic sees, as strong as the critic's overfitting asks for."""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from medsynth.augment.affine import sampling_grid
from medsynth.augment.critic_augment import CriticAugment, checked_policy, picked
from medsynth.augment.instance_noise import InstanceNoise
from medsynth.errors import UserError
from medsynth.latent import Draws

BLIT = ("flip", "quarter_turn", "translation")  # whole pixels
WARP = ("scale", "rotation", "stretch", "shift")
COLOUR = ("brightness", "contrast", "luma_flip", "hue", "saturation")
PARTS = BLIT + WARP + COLOUR
POLICY = PARTS[2:]  # without flip and quarter_turn, which break laterality
ZEROS = ("midpoint", "logit")

# Appendix B of the paper: ranges, and standard deviations of normal and (natural) log-normal factors.
TRANSLATION, SHIFT_STD, BRIGHTNESS_STD = 0.125, 0.125, 0.2
SCALE_STD, STRETCH_STD, CONTRAST_STD, SATURATION_STD = (octaves * math.log(2) for octaves in (0.2, 0.2, 0.5, 1.0))

PARAMETERS = {  # name: the part that it belongs to, and its value where that part does not act
    "flip": ("flip", 0),
    "quarter_turn": ("quarter_turn", 0),
    "down": ("translation", 0),  # fractions of the side
    "across": ("translation", 0),
    "scale": ("scale", 1),
    "cos_first": ("rotation", 1),
    "sin_first": ("rotation", 0),
    "stretch": ("stretch", 1),
    "cos_last": ("second rotation", 1),
    "sin_last": ("second rotation", 0),
    "shift_y": ("shift", 0),  # fractions of the side
    "shift_x": ("shift", 0),
    "brightness": ("brightness", 0),
    "contrast": ("contrast", 1),
    "luma_flip": ("luma_flip", 0),
    "cos_hue": ("hue", 1),
    "sin_hue": ("hue", 0),
    "saturation": ("saturation", 1),
}
RESAMPLED = slice(list(PARAMETERS).index("scale"), list(PARAMETERS).index("brightness"))

Columns = dict[str, Float[Tensor, " b"]]  # values of PARAMETERS, one an image


class ADA(CriticAugment):
    """Section 3 and appendix B of Karras et al. 2020 (arXiv:2006.06676):

        for each image and each part of the policy, with probability p, in this order
            flip, quarter_turn, translation       mirrored; turned by a multiple of 90°; moved by up to 1/8 of the side
            scale, rotation, stretch, rotation    factor 2^N(0, .2²); any angle; 2^N(0, .2²) across and its inverse down
            shift                                 N(0, 1/8²) of the side, fractions of a pixel too
            brightness, contrast                  x + N(0, .2²);  x 2^N(0, .5²)
            luma_flip, hue, saturation            three channels: mirrored at, turned about, and away from (2^N(0, 1))
                                                  the axis of greys
        after every 4 batches
            r = E sign(D(x));  p rises where r > target, falls where r < target, by images / adapt_images

    Each of the two rotations acts with 1 - sqrt(1 - p), so that at least one does with p. The paper's image-space
    filters and corruptions, which it leaves out of its main runs, are not here.

    Deviations: images are resampled bicubically, and masks bilinearly, at their own resolution (the paper: bilinearly,
    at twice the resolution between two wavelet filters). Beyond the border both go on mirrored, the border pixel
    repeated, so that a pyramid's levels agree. p stays in [0, 1] (the paper: at least 0). And signs are counted from
    the middle between the mean logits of real and of fake images, for the zero of a Wasserstein or a relativistic
    critic means nothing: their losses do not change when a constant is added to it. For a critic whose boundary is 0
    the middle is near it. zero="logit" is the paper's. Where critics are several (LAPGAN), each has an r and a p of its
    own. Energies (EBGAN, BEGAN) have no boundary at all: a model says so (`has_boundary`), and adapting is refused.

    Take gradient penalties with respect to what the critic sees: a second derivative with respect to the images before
    the augmentation needs one of grid_sample, which PyTorch 2.15 has and 2.5 lacks.

    Args:
        p: at the start; of all training if `target` is None.
        target: of r; None keeps p.
        zero: "midpoint" or "logit": where signs are counted from.
        adapt_images: in which p can go from 0 to 1.
        every: batches from one step of p to the next.
        policy: which of PARTS act.
    """

    def __init__(
        self,
        *,
        p: float = 0.0,
        target: float | None = 0.6,
        zero: str = "midpoint",
        adapt_images: int = 500_000,
        every: int = 4,
        policy: Sequence[str] = POLICY,
        instance_noise: InstanceNoise | None = None,
    ) -> None:
        super().__init__(instance_noise=instance_noise)
        if not isinstance(p, int | float) or not 0 <= p <= 1:
            raise UserError(f"critic_augment.p={p} must be a probability")
        if target is not None and not (isinstance(target, int | float) and -1 < target < 1):
            raise UserError(f"critic_augment.target={target} must be between -1 and 1, or null to keep p")
        if zero not in ZEROS:
            raise UserError(f"critic_augment.zero={zero} must be one of {', '.join(ZEROS)}")
        for name, value in (("adapt_images", adapt_images), ("every", every)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"critic_augment.{name}={value} must be a whole number of at least 1")
        self.target, self.zero, self.adapt_images, self.every = target, zero, adapt_images, every
        self.adapts = target is not None
        self.policy = checked_policy(policy, PARTS)
        # Tensors, which follow the images to their device: a number would wait for the GPU.
        self.p, self._overfitting = torch.tensor(float(p)), torch.tensor(0.0)
        self._batches = 0

    def transformed(
        self, image: Float[Tensor, "b c h w"], draws: Draws, rows: Int[Tensor, " b"], *, name: str, masks: int
    ) -> Float[Tensor, "b c h w"]:
        self.p = self.p.to(image.device)
        drawn, gates, neutral = _table(draws, name, self.policy).to(rows.device, non_blocking=True)[:, rows]
        acts = gates < self.p  # (b, parameters)
        value: Columns = dict(zip(PARAMETERS, torch.where(acts, drawn, neutral).unbind(1), strict=True))
        if self._has(BLIT):
            image = blit(image, value, turns="quarter_turn" in self.policy)
        if self._has(WARP):
            resampled = acts[:, RESAMPLED].any(dim=1)[:, None, None, None]
            image = torch.where(resampled, warp(image, value, masks=masks), image)
        if self._has(COLOUR):
            seen, mask = image.split([image.shape[1] - masks, masks], dim=1)
            image = torch.cat([colour(seen, value), mask], dim=1)
        return image

    def _has(self, parts: tuple[str, ...]) -> bool:
        return any(part in self.policy for part in parts)

    @torch.no_grad()
    def adapt(self, real: Float[Tensor, " r"], fake: Float[Tensor, " f"], *, batch_size: int) -> None:
        if self.target is None:
            return
        now = overfitting(_of_all_ranks(real), _of_all_ranks(fake), zero=self.zero)
        self._overfitting = self._overfitting.to(now.device) + now / self.every
        self._batches += 1
        if self._batches == self.every:
            step = self.every * batch_size / self.adapt_images
            self.p = (self.p.to(now.device) + step * (self._overfitting - self.target).sign()).clamp(0, 1)
            self._overfitting, self._batches = torch.zeros_like(now), 0

    def state(self) -> dict[str, float | Tensor]:
        """p, the mean of r so far and the batches that it counts, since the last step of p."""
        overfitting = self._overfitting.cpu().clone()
        return {"p": self.p.cpu().clone(), "overfitting": overfitting, "batches": float(self._batches)}

    def load_state(self, state: dict[str, float | Tensor]) -> None:
        self.p, self._overfitting = torch.as_tensor(state["p"]), torch.as_tensor(state["overfitting"])
        self._batches = int(state["batches"])


def overfitting(real: Float[Tensor, " r"], fake: Float[Tensor, " f"], *, zero: str) -> Float[Tensor, ""]:
    """r of section 3: E sign(D(x) - zero), 1 where the critic knows every real image; one of ZEROS is subtracted."""
    middle = (real.mean() + fake.mean()) / 2 if zero == "midpoint" else 0.0
    return (real - middle).sign().mean()


def _of_all_ranks(logits: Tensor) -> Float[Tensor, " n"]:
    """The logits of the global batch, so that p is equal on all ranks; ranks hold equally many."""
    logits = logits.float().contiguous()
    if not dist.is_initialized():
        return logits
    parts = [torch.empty_like(logits) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, logits)
    return torch.cat(parts)


def _table(draws: Draws, name: str, policy: tuple[str, ...]) -> Float[Tensor, "3 batch parameters"]:
    """For every image of the global batch, on the CPU: each parameter if its part acts, the number that p must exceed
    for that, and the parameter if it does not.

    Columns of draws are fixed, so leaving out one part changes no other. Sines and exponentials are taken of the global
    batch: vectorised functions may round the last elements of a shorter tensor differently.
    """
    every = torch.arange(draws.batch_size)
    gate = draws.uniform(f"{name} ada gates", every, len(PARTS) + 1)
    unit = draws.uniform(f"{name} ada uniform", every, 8)
    normal = draws.normal(f"{name} ada normal", every, 7)
    angle = (2 * unit[:, 4:7] - 1) * math.pi
    cos, sin = angle.cos(), angle.sin()
    spread = torch.tensor([SCALE_STD, STRETCH_STD, CONTRAST_STD, SATURATION_STD])
    scale, stretch, contrast, saturation = (normal[:, :4] * spread).exp().unbind(1)
    values = {
        "flip": (2 * unit[:, 0]).floor(),
        "quarter_turn": (4 * unit[:, 1]).floor(),
        "down": (2 * unit[:, 2] - 1) * TRANSLATION,
        "across": (2 * unit[:, 3] - 1) * TRANSLATION,
        "scale": scale,
        "cos_first": cos[:, 0],
        "sin_first": sin[:, 0],
        "stretch": stretch,
        "cos_last": cos[:, 1],
        "sin_last": sin[:, 1],
        "shift_y": normal[:, 4] * SHIFT_STD,
        "shift_x": normal[:, 5] * SHIFT_STD,
        "brightness": normal[:, 6] * BRIGHTNESS_STD,
        "contrast": contrast,
        "luma_flip": (2 * unit[:, 7]).floor(),
        "cos_hue": cos[:, 2],
        "sin_hue": sin[:, 2],
        "saturation": saturation,
    }
    gates: dict[str, Tensor] = dict(zip((*PARTS, "second rotation"), gate.unbind(1), strict=True))
    for rotation in ("rotation", "second rotation"):  # u < 1 - sqrt(1 - p) is 1 - (1 - u)^2 < p
        gates[rotation] = 1 - (1 - gates[rotation]).square()
    never = torch.ones(draws.batch_size)
    parts = [part for part, _ in PARAMETERS.values()]
    opened = [gates[part] if part.removeprefix("second ") in policy else never for part in parts]
    drawn = torch.stack([values[key] for key in PARAMETERS], dim=1)  # (batch, parameters)
    neutral = torch.tensor([float(still) for _, still in PARAMETERS.values()]).expand_as(drawn)
    return torch.stack([drawn, torch.stack(opened, dim=1), neutral])


def blit(image: Float[Tensor, "b c h w"], value: Columns, *, turns: bool) -> Float[Tensor, "b c h w"]:
    """Mirror, turn counterclockwise by quarters and then move images, pixel by pixel; `turns` needs squares."""
    flip, quarter = value["flip"] == 1, value["quarter_turn"]
    odd = quarter % 2 == 1
    if turns:
        image = torch.where(odd[:, None, None, None], image.transpose(2, 3), image)
    upturned = ((quarter == 1) | (quarter == 2)) ^ (flip & odd)
    mirrored = (quarter >= 2) ^ (flip & ~odd)
    height, width = image.shape[-2:]
    return picked(image, _places(height, value["down"], upturned), _places(width, value["across"], mirrored))


def _places(side: int, shift: Float[Tensor, " b"], reverse: Tensor) -> Int[Tensor, "b {side}"]:
    """Where each pixel along a side is taken from; beyond the border the image goes on mirrored."""
    place = torch.arange(side, device=shift.device) - (shift[:, None] * side).round().long()  # (b, side)
    place = torch.where(place < 0, -1 - place, place)
    place = torch.where(place >= side, 2 * side - 1 - place, place)
    return torch.where(reverse[:, None], side - 1 - place, place)


def linear(value: Columns) -> Float[Tensor, "b 2 2"]:
    """From a point of the result (x, y) to that of the input: the inverse of scale, rotation, stretch and rotation.

    Element by element, because a batched matrix product may round differently in batches of other sizes.
    """
    c, s, d, t = (value[key] for key in ("cos_first", "sin_first", "cos_last", "sin_last"))
    across, down = 1 / (value["scale"] * value["stretch"]), value["stretch"] / value["scale"]
    first = [c * across * d - s * down * t, c * across * t + s * down * d]
    second = [-s * across * d - c * down * t, -s * across * t + c * down * d]
    return torch.stack([torch.stack(first, dim=1), torch.stack(second, dim=1)], dim=1)


def warp(image: Float[Tensor, "b c h w"], value: Columns, *, masks: int) -> Float[Tensor, "b c h w"]:
    """Scale, turn, stretch, turn and shift images about their centre; mirrored beyond the border."""
    height, width = image.shape[-2:]
    matrix = linear(value)
    x, y = (value["shift_x"] * width)[:, None], (value["shift_y"] * height)[:, None]
    offset = -(matrix[..., 0] * x + matrix[..., 1] * y)
    grid = sampling_grid(torch.cat([matrix, offset[..., None]], dim=-1), width=width, height=height)
    parts = image.split([image.shape[1] - masks, masks], dim=1)
    # Cubic interpolation overshoots at edges, and a mask has nothing beyond its two values.
    modes = [(part, mode) for part, mode in zip(parts, ("bicubic", "bilinear"), strict=True) if part.shape[1]]
    sampled = [grid_sample(p, grid, mode=mode, padding_mode="reflection", align_corners=False) for p, mode in modes]
    return torch.cat(sampled, dim=1)


def colour(image: Float[Tensor, "b c h w"], value: Columns) -> Float[Tensor, "b c h w"]:
    """Brightness and contrast; of three channels also luma flip, hue and saturation. Neutral values change no bit.

    The axis of greys is v = (1, 1, 1) / sqrt(3), so that v v'x is the mean of the channels; the hue turns by Rodrigues'
    formula, x + (cos - 1)(x - v v'x) + sin v × x.
    """
    luma, cos, sin, saturation, brightness, contrast = (
        value[key][:, None, None, None]
        for key in ("luma_flip", "cos_hue", "sin_hue", "saturation", "brightness", "contrast")
    )
    image = (image + brightness) * contrast
    if image.shape[1] != 3:
        return image
    image = image - 2 * luma * image.mean(dim=1, keepdim=True)
    hue = image - image.mean(dim=1, keepdim=True)
    turned = (image.roll(-2, dims=1) - image.roll(-1, dims=1)) / math.sqrt(3)
    image = image + (cos - 1) * hue + sin * turned
    return image + (saturation - 1) * (image - image.mean(dim=1, keepdim=True))
