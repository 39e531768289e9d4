"""Perceptual path length: how evenly images change on the way between two latents."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.attributes import Attributes
from medsynth.batch import Request
from medsynth.errors import UserError
from medsynth.latent import generator
from medsynth.metrics.bootstrap import SHARE, centred
from medsynth.metrics.entries import Finding
from medsynth.metrics.perceptual import FeatureDistance, Perceptual
from medsynth.sampling import needed_attributes

EPSILON = 1e-4
TRIM = 0.01  # the share of the shortest, and of the longest, steps that do not count
ROUNDS = 1000  # bootstrap draws
PAIRS = 256  # of latents, in seconds; Karras et al. take 100,000
CHUNK = 16  # pairs in one call of the generator, always as many
DRAWN_AT_ONCE = 4_000_000  # numbers of bootstrap draws held at once

Generate = Callable[[Float[Tensor, "_b _d"], int], Float[Tensor, "_b _c _h _w"]]
Distance = Callable[[Float[Tensor, "_b _c _h _w"], Float[Tensor, "_b _c _h _w"]], Float[Tensor, " _b"]]


@dataclass(frozen=True)
class PathLength:
    """The mean of step lengths between their 1st and 99th percentile, and where it would lie for other latents.

    interval: 95 % of bootstrap draws of the steps. deviations: of these from their mean; of two generators with as many
    pairs of one seed they are of the same latents. pairs: of latents. steps: each one's length, float64.
    """

    value: float
    interval: tuple[float, float]
    deviations: Float[Tensor, " rounds"]
    pairs: int
    steps: Float[Tensor, " n"]


def path_length(
    generate: Generate,
    *,
    latent_dim: int,
    pairs: int,
    distance: Distance,
    seed: int = 0,
    mapping: Callable[[Tensor], Tensor] | None = None,
    epsilon: float = EPSILON,
) -> PathLength:
    """The perceptual path length of a generator: smaller is smoother, and 0 is a generator of one image.

    Section 4.1 of Karras et al. 2019 (arXiv:1812.04948): E[d(G(p(t)), G(p(t + epsilon))) / epsilon^2] for uniform t in
    [0, 1], where p runs along a great circle from one latent to another in z, or along a line between their images
    under `mapping` in w. The shortest and longest hundredth are left out, as in the authors' program and in
    torch-fidelity. Images stay float32: steps of 1e-4 vanish in 8 bits. The value depends on `distance`, so it compares
    with published ones for their LPIPS alone.

    Args:
        generate: points (b, d) and the number of the first pair -> float images (b, c, h, w) in [-1, 1] that depend on
            each point, and its pair's number, alone: pair k keeps its label and noise. It is called on 16 pairs.
        latent_dim: of z. pairs: how many pairs of latents. Pair k depends on `seed` and k alone.
        distance: of image pairs, quadratic in small differences.
        mapping: z -> w; None stays in z.
    Raises UserError for images that are no numbers or rounded to 256 levels, TypeError for images that are not float.
    """
    if pairs < 1 or latent_dim < 2:
        raise ValueError(f"pairs={pairs} must be at least 1 and latent_dim={latent_dim} at least 2")
    found = []
    for first in range(0, pairs, CHUNK):
        start, end, t = _drawn(seed, first, latent_dim)
        if mapping is not None:
            start, end = mapping(start), mapping(end)
            near, far = torch.lerp(start, end, t.to(start)), torch.lerp(start, end, (t + epsilon).to(start))
        else:
            near, far = slerp(start, end, t).float(), slerp(start, end, t + epsilon).float()
        ends = [_checked(generate(points, first)) for points in (near, far)]
        _refuse_grey_levels(*ends)
        found.append(distance(*ends).double().cpu() / epsilon**2)
    steps = torch.cat(found)[:pairs]
    if not bool(steps.isfinite().all()):
        raise UserError(f"{int((~steps.isfinite()).sum())} of {pairs} steps of the path length are NaN or infinite")
    drawn = _drawn_lengths(steps, seed=seed)
    return PathLength(trimmed_mean(steps).item(), _central(drawn), centred(drawn), pairs, steps)


def slerp(first: Float[Tensor, "b d"], second: Float[Tensor, "b d"], t: Float[Tensor, "b 1"]) -> Float[Tensor, "b d"]:
    """The point at share t of the way from first to second along their great circle (White 2016, arXiv:1609.04468).

    Lengths are those of the ends, and between them in between: normal latents stay where training drew them from,
    while the unit vectors of Karras et al. suppose a generator that normalises. float64 inside.
    """
    a, b, share = first.double(), second.double(), t.double()
    cosine = (a * b).sum(dim=1, keepdim=True) / (a.norm(dim=1, keepdim=True) * b.norm(dim=1, keepdim=True))
    angle = cosine.clamp(-1, 1).arccos()
    sine = angle.sin()
    straight = torch.lerp(a, b, share)  # of ends in one direction, where the circle is a line
    curved = (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / sine.clamp(min=1e-12)
    return torch.where(sine < 1e-6, straight, curved)


def trimmed_mean(steps: Float[Tensor, "*rounds n"]) -> Float[Tensor, "*rounds"]:
    """The mean of the numbers from the 1st to the 99th percentile, both of them numbers that occur (as do 0 and 100 %
    of few), along the last dimension."""
    ordered, n = steps.sort(dim=-1).values, steps.shape[-1]
    low = int(TRIM * (n - 1))  # numpy's percentile with method="lower", and "higher" at the other end
    return ordered[..., low : n - low].mean(dim=-1)


def path_length_interval(steps: Float[Tensor, " n"], *, seed: int = 0) -> tuple[float, float]:
    """The central 95 % of the trimmed mean over 1,000 bootstrap draws of the steps (Efron 1979)."""
    return _central(_drawn_lengths(steps, seed=seed))


def _drawn_lengths(steps: Float[Tensor, " n"], *, seed: int) -> Float[Tensor, " rounds"]:
    stream, n = generator(seed, "path length interval"), len(steps)
    rounds = max(1, DRAWN_AT_ONCE // n)
    means = [
        trimmed_mean(steps[torch.randint(n, (min(rounds, ROUNDS - done), n), generator=stream)])
        for done in range(0, ROUNDS, rounds)
    ]
    return torch.cat(means)


def _central(drawn: Float[Tensor, " rounds"]) -> tuple[float, float]:
    low, high = drawn.quantile(drawn.new_tensor([(1 - SHARE) / 2, (1 + SHARE) / 2])).tolist()
    return low, high


def generate_with(model: Any, *, seed: int, attributes: Attributes | None = None) -> Generate:
    """`generate` of a model for `path_length`: in z, in float32, the attributes of pair k drawn as those of image k.

    model: as `medsynth.sampling.synthesise` takes it. Raises UserError where `attributes` lacks what it needs.
    """
    needed = needed_attributes(model, attributes)

    def generate(points: Tensor, first: int) -> Tensor:
        request = Request(latent=points.to(model.device))
        if needed and attributes is not None:
            drawn = attributes.draw(seed, first, len(points))
            request = Request(**request, **{key: drawn[key].to(model.device) for key in needed})  # type: ignore[typeddict-item]
        with torch.inference_mode(), torch.autocast(request["latent"].device.type, enabled=False):
            return model.generate(request)

    return generate


def path_length_finding(
    model: Any,
    *,
    distance: Perceptual | FeatureDistance,
    channels: int,
    attributes: Attributes | None = None,
    pairs: int = PAIRS,
    seed: int = 0,
) -> Finding:
    """The path length of a model in z, under `ppl_<short name of the distance>`; without a value, for a reason, where
    its images are no numbers.

    model, attributes: as `medsynth.sampling.synthesise` takes them.
    channels: how many of an image's are compared, the first ones; a mask behind them is not.
    """
    try:
        generate = generate_with(model, seed=seed, attributes=attributes)
        found = path_length(
            lambda points, first: generate(points, first)[:, :channels],
            latent_dim=model.latent_dim,
            pairs=pairs,
            distance=distance,
            seed=seed,
        )
    except UserError as error:
        return Finding(None, reason=str(error), counts=(0, 2 * pairs))
    extra = {"pairs": pairs, "distance": distance.name, "sha256": distance.sha256}
    return Finding(
        found.value,
        interval=found.interval,
        deviations=found.deviations,
        counts=(0, 2 * pairs),
        resize=distance.resize,
        extra=extra,
    )


def _drawn(seed: int, first: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two latents (16, dim) and t (16, 1) of pairs first ... first + 15, each from its own stream."""
    starts, ends, shares = [], [], []
    for number in range(first, first + CHUNK):
        stream = generator(seed, "path", number)
        starts.append(torch.randn(dim, generator=stream))
        ends.append(torch.randn(dim, generator=stream))
        shares.append(torch.rand(1, generator=stream, dtype=torch.float64))
    return torch.stack(starts), torch.stack(ends), torch.stack(shares)


def _checked(images: Tensor) -> Tensor:
    if images.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"path lengths need float32 images, these are {images.dtype}: steps of 1e-4 would vanish")
    if not bool(images.isfinite().all()):
        raise UserError("the generator made images that hold NaN or infinite values, so paths have no length")
    return images


def _refuse_grey_levels(near: Tensor, far: Tensor) -> None:
    """Rounded images make the length hundreds of times too large: a step moves few pixels, and these by a whole level.

    Raises UserError for images that differ and hold whole grey levels alone.
    """
    if torch.equal(near, far):
        return
    levels = (near + 1) * 127.5
    if bool(((levels - levels.round()).abs() < 1e-3).all()):
        raise UserError("the generator's images are rounded to 256 grey levels, so paths have no length; give floats")
