"""Every class judged by itself: a generator may draw one disease well and another badly."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from medsynth.metrics.comparison import distances, diversity, names_of
from medsynth.metrics.entries import Finding, entry
from medsynth.metrics.features import Extractor
from medsynth.metrics.measurement import Measurement
from medsynth.metrics.real_sets import Images

LEAST = 10  # images a side: neighbours and spectra of fewer are chance


@dataclass(frozen=True)
class ClassSets:
    """The images of one class in batches, each set in random order.

    reference: real images that synthetic ones are compared with; read again where `held_out` has fewer. held_out: as
    many of other patients, whose distance to `reference` a perfect generator would reach; None: there are none.
    """

    reference: Images
    held_out: Images | None
    fake: Images


def judge_classes(
    classes: Mapping[str, ClassSets],
    *,
    extractors: Mapping[str, Extractor],
    count: int,
    device: torch.device | None = None,
    real_split: str = "train",
) -> dict[str, dict[str, Any]]:
    """Judge each class by all distances and the likeness of its images: `judgement["classes"]`.

    Args:
        classes: by name.
        extractors: by name, those of the whole judgement.
        count: images taken of each set at most; a class compares as many synthetic images as it has real ones, and as
            many real ones as held-out ones: distances fall with the count, so that of few real images to many would
            pass blurred images for real. Fewer than 10 held-out images are not compared with.
        device: where features are computed; None: where the images are.
        real_split: what the real images are.

    Returns:
        By class: `n_real`, `n_fake`, `n_held_out` and `metrics`, an entry a metric by its bare name, for counts differ
        between classes. All are null, with the reason, where a side has fewer than 10 images.
    """
    empty, made = partial(Measurement, count=count, extractors=extractors, device=device), {}
    for name, sets in classes.items():
        real = _measure(empty(f"real {name}"), sets.reference)
        others = _measure(empty(f"held-out real {name}", like=real), sets.held_out or ())
        if LEAST <= others.count < real.count:
            real = _measure(empty(f"real {name}", like=others), sets.reference)
        fake = _measure(empty(f"synthetic {name}", like=real), sets.fake)
        counts = {"n_real": real.count, "n_fake": fake.count}
        metrics = {
            metric: entry(finding, **counts, real_split=real_split)
            for metric, finding in _findings(real, others, fake).items()
        }
        made[name] = {**counts, "n_held_out": others.count, "metrics": metrics}
    return made


def _measure(measured: Measurement, images: Images) -> Measurement:
    """The same after the first images, as many as it takes; the others are not asked for."""
    for batch in images if measured.most else ():
        measured.update(batch)
        if measured.count == measured.most:
            break
    return measured


def _findings(real: Measurement, others: Measurement, fake: Measurement) -> dict[str, Finding]:
    if (n := min(real.count, fake.count)) < LEAST:
        reason = f"{n} image{'' if n == 1 else 's'} a side are too few to judge a class; {LEAST} are the least"
        features = [metric for name in real.extractors for metric in names_of(name).values()]
        return dict.fromkeys([*features, "swd", "spectrum", "ms_ssim"], Finding(None, reason=reason))
    beside = distances(real, others) if others.count >= LEAST else {}
    found = {name: finding.beside(beside.get(name)) for name, finding in distances(real, fake).items()}
    return found | {"ms_ssim": diversity(fake).beside(diversity(real))}
