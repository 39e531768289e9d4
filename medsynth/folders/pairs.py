"""Images that should show the same: real and synthetic ones of equal names, and the masks beside them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from medsynth.data.pack import to_float
from medsynth.data.picture import UNKNOWN, BadImage
from medsynth.data.render import Slice
from medsynth.errors import UserError
from medsynth.folders.reader import BATCH, Reader, told
from medsynth.folders.subject import open_sides
from medsynth.folders.views import Found, View, runs
from medsynth.metrics.entries import Finding
from medsynth.metrics.paired import PairScores, dice, mean_and_interval, merge_pairs, pair_scores
from medsynth.seeds import fold

MOST_PAIRS = 10_000  # compared at most, so that intervals stay within 80 MB
RANGES = {"mae": (0.0, np.inf), "psnr": (-np.inf, np.inf), "ssim": (-1.0, 1.0), "ms_ssim": (0.0, 1.0)}

Pairs = list[tuple[View, View]]


def pair_findings(
    real: Path,
    fake: Path,
    *,
    window: Sequence[float | int] | None,
    resolution: int | None = None,
    channels: int = 1,
    seed: int = 0,
) -> tuple[dict[str, Finding], list[str]]:
    """Compare each real image with the synthetic one of its name: path below the folder, without ending, and slice.

    Both are read as `medsynth.folders.subject.open_sides` says, so values beyond the window count as its ends. Dice is
    that of each label of the real masks (x_mask beside x, in one format with it), over the pairs that hold it, where
    both sides have one; a mask of nothing but 0 and 255 holds label 1. Intervals draw patients or volumes of the real
    images, or single image files, whose patients nobody knows.

    Returns:
        `pair_mae` (in the files' unit), `pair_psnr` (dB), `pair_ssim`, `pair_ms_ssim` and a `pair_dice_<label>` each,
        whose `extra` says the number of pairs, the unit and the window; and what is left out. What else a reader
        must know `folder_subject` says of the same folders.

    Raises:
        UserError: no pair, two files of one name in a folder, pairs smaller than SSIM's window, or a bad mask.
    """
    sides = open_sides(real, fake, window=window, resolution=resolution, channels=channels, with_blanks=True)
    pairs, notes = match(sides.real, sides.fake, seed=seed)
    scores, overlaps = _compare(pairs, sides.reader, bounds=sides.scale.window)
    groups = np.array([view.group for view, _ in pairs])
    units = {"mae": {"unit": sides.scale.unit}, "psnr": {"unit": "dB"}}
    window_told = {"window": list(sides.scale.window)}
    made = {
        f"pair_{name}": _finding(getattr(scores, name), groups, RANGES[name], units.get(name, {}) | window_told)
        for name in RANGES
    }
    for label, values in overlaps.items():
        made[f"pair_dice_{label}"] = _finding(values, groups, (0.0, 1.0), {})
    return made, notes


def match(real: Found, fake: Found, *, seed: int) -> tuple[Pairs, list[str]]:
    """Pairs in the order of the real files, 10,000 at most, drawn at random; and what was left out.

    A slice of a volume has its counterpart in a volume of as many slices.
    """
    sides = [_by_name(side) for side in (real, fake)]
    names = [name for name in sides[0] if name in sides[1]]
    if not names:
        raise UserError(
            f"pairs=true: no image of {real.key}={real.root} has the name of one of {fake.key}={fake.root} "
            f"({_example(real)}; {_example(fake)}); names are paths below the folders without endings"
        )
    notes = [
        f"{side.key}: {alone:,} images without a counterpart of their name are in no pair"
        for side, known in zip((real, fake), sides, strict=True)
        if (alone := len(known) - len(names))
    ]
    if len(names) > MOST_PAIRS:
        notes.append(f"{MOST_PAIRS:,} of {len(names):,} pairs, drawn at random, are compared")
        chosen = np.random.default_rng(fold(seed, "pairs")).permutation(len(names))[:MOST_PAIRS]
        names = [names[i] for i in sorted(chosen)]
    pairs = [(sides[0][name], sides[1][name]) for name in names]
    return [pair if pair[0].mask and pair[1].mask else _without_masks(pair) for pair in pairs], notes


def _by_name(side: Found) -> dict[tuple[str, int, int], View]:
    keys = [(view.name, view.number, view.slices) for view in side.views]
    (key, times), *_ = Counter(keys).most_common(1)
    if times > 1:
        twice = [view.path.name for view in side.views if (view.name, view.number, view.slices) == key]
        raise UserError(
            f"{side.key}={side.root}: {' and '.join(twice)} have one name; pairs=true needs one file a name"
        )
    return dict(zip(keys, side.views, strict=True))


def _example(side: Found) -> str:
    view = side.views[0]
    return f"{view.name}, {view.slices} slices" if view.slices > 1 else view.name


def _without_masks(pair: tuple[View, View]) -> tuple[View, View]:
    real, fake = (replace(view, mask=None, mask_shot=None) for view in pair)
    return real, fake


def _compare(
    pairs: Pairs, reader: Reader, *, bounds: tuple[float, float]
) -> tuple[PairScores, dict[int, Float[Tensor, " n"]]]:
    """Scores of each pair, and by label of the real masks the Dice of each, nan for pairs that do not hold it."""
    scores, seen = [], set[int]()
    overlaps: dict[int, Tensor] = defaultdict(lambda: torch.full((len(pairs),), torch.nan, dtype=torch.float64))
    sides = (_slices([pair[side] for pair in pairs], reader) for side in (0, 1))
    batch: list[tuple[Slice, Slice]] = []
    for number, both in enumerate(zip(*sides, strict=True)):
        batch.append(both)
        if both[0].mask is not None and both[1].mask is not None:
            seen |= set(both[0].labels or ())
            held = sorted((set(both[0].labels or ()) | set(both[1].labels or ())) - {0, UNKNOWN})
            found = dice(*(torch.from_numpy(np.array(one.mask)) for one in both), labels=held)[0] if held else []
            for label, value in zip(held, found, strict=True):
                overlaps[label][number] = value
        if len(batch) == BATCH or number == len(pairs) - 1:
            scores.append(pair_scores(*(_values([one[k] for one in batch], bounds) for k in (0, 1)), bounds=bounds))
            batch = []
    return merge_pairs(scores), {label: overlaps[label] for label in sorted(seen & set(overlaps))}


def _slices(views: Sequence[View], reader: Reader) -> Iterator[Slice]:
    """The rendered pictures of views, with their masks."""
    for run in runs(views):
        try:
            for picture in reader.pictures(run, with_masks=True):
                yield reader.render(picture)
        except BadImage as reason:
            raise UserError(f"pairs=true: {run[0].path}: {told(reason)}") from None


def _values(slices: Sequence[Slice], bounds: tuple[float, float]) -> Float[Tensor, "b c h w"]:
    """Pixels in the unit of the window."""
    low, high = bounds
    pixels: ndarray = np.stack([one.pixels for one in slices])
    return (to_float(torch.from_numpy(pixels)).double() + 1) / 2 * (high - low) + low


def _finding(
    values: Float[Tensor, " n"], groups: ndarray, bounds: tuple[float, float], facts: Mapping[str, Any]
) -> Finding:
    mean, interval = mean_and_interval(values, groups, least=bounds[0], most=bounds[1])
    pairs = int((~values.isnan()).sum())
    return Finding(mean, interval=interval, counts=(pairs, pairs), extra={"pairs": pairs, **facts})
