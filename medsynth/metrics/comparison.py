"""Every distance between two measured sets of images, and how far each would move with other patients."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.metrics.bootstrap import Resample, chain_deviations, interval
from medsynth.metrics.classifier_score import class_sums, classifier_deviations, classifier_score
from medsynth.metrics.encoder.extractor import Encoder
from medsynth.metrics.entries import Finding
from medsynth.metrics.features import Extractor
from medsynth.metrics.frechet import frechet_deviations, frechet_distance, frechet_of_features
from medsynth.metrics.inception import Inception
from medsynth.metrics.kernel import kernel_deviations, kernel_distance
from medsynth.metrics.measurement import MOST_FEATURES, Measurement
from medsynth.metrics.ms_ssim import betas_for
from medsynth.metrics.prdc import NAMES, neighbour_deviations, neighbours
from medsynth.metrics.sliced_bootstrap import sliced_deviations
from medsynth.metrics.sliced_wasserstein import equally_many, pyramid_distance
from medsynth.metrics.spectrum import spectrum, spectrum_deviations, spectrum_distance
from medsynth.metrics.undefined import Undefined

SCORES = {"encoder": "classifier_score_encoder", "inception": "inception_score"}  # of extractors with classes
Draws = tuple[Resample, Resample] | None  # of the first and of the second set; None: no intervals


def names_of(extractor: str) -> dict[str, str]:
    """The metrics of an extractor: what they are, and what they are called. Plain fid and kid belong to Inception."""
    own = {"frechet": "fid", "kid": "kid"} if extractor == "inception" else {}
    return {kind: own.get(kind, f"{kind}_{extractor}") for kind in ("frechet", "kid", *NAMES)}


def score_of(extractor: str) -> tuple[str, ...]:
    """The score of an extractor's classes, if it has any."""
    return (SCORES[extractor],) if extractor in SCORES else ()


def monitored(extractors: Iterable[str]) -> set[str]:
    """The metrics that name the best checkpoint: distances, of which the smallest is best."""
    return {names_of(name)[kind] for name in extractors for kind in ("frechet", "kid")} | {"swd", "spectrum"}


def distances(first: Measurement, second: Measurement, *, drawn: Draws = None) -> dict[str, Finding]:
    """Every distance between two sets by name: real images first, for precision and recall have a direction."""
    found: dict[str, Finding] = {}
    for name, extractor in first.extractors.items():
        described = {"resize": extractor.resize, "extractor": {"name": name, "sha256": extractor.sha256}}
        for kind, finding in _of_features(first, second, name, drawn).items():
            found[names_of(name)[kind]] = replace(finding, **described)
    return found | {"swd": _sliced(first, second, drawn), "spectrum": _defined(lambda: _spectrum(first, second, drawn))}


def diversity(measured: Measurement, *, drawn: str | None = None) -> Finding:
    """How alike two images of a set are, by MS-SSIM; `drawn` names the draws of an interval, None makes none."""
    values = measured.similarity.values()
    if not len(values):
        return Finding(None, reason="one image makes no pair")
    betas = betas_for(min(measured.shape[1:]))
    finding = Finding(values.mean().item(), extra={"betas": list(betas), "pairs": len(values)})
    if drawn is None:
        return finding
    try:
        return drawn_again(finding, chain_deviations(values, name=f"{drawn} pairs"), least=0.0, most=1.0)
    except Undefined:
        return finding


def class_scores(real: Measurement, fake: Measurement, *, drawn: Resample | None = None) -> dict[str, Finding]:
    """How certain and varied the classes of synthetic images are, beside real images' at the same count.

    drawn: of the synthetic images; None: no intervals.
    """
    found: dict[str, Finding] = {}
    n = min(real.count, fake.count)
    for name, extractor in fake.extractors.items():
        for score in score_of(name):
            described = {"resize": extractor.resize, "extractor": {"name": name, "sha256": extractor.sha256}}
            probabilities = _class_probabilities(extractor, fake.features(name)[:n])
            if probabilities is None:
                found[score] = Finding(None, reason=f"{name} was trained without labels, so it knows no classes")
                continue
            of_real = _class_probabilities(extractor, real.features(name)[:n])
            assert of_real is not None
            value, beside = (classifier_score(class_sums(of_set)) for of_set in (probabilities, of_real))
            extra = {"deviation": value.deviation, "splits": value.splits, "split_size": value.smallest}
            finding = Finding(value.mean, beside.mean, extra=extra, counts=_looked_at(real, fake, name), **described)
            moved = drawn and classifier_deviations(probabilities, drawn.first(len(probabilities)))
            found[score] = drawn_again(finding, moved, least=1.0, most=float(probabilities.shape[1]))
    return found


def _class_probabilities(extractor: Extractor, features: Tensor) -> Float[Tensor, "n c"] | None:
    """None for an extractor without classes."""
    match extractor:
        case Encoder(class_names=names) if names:
            return extractor.probabilities(features)
        case Inception():
            # What torch-fidelity calls logits_unbiased and takes the score from: its last layer's product, no bias.
            weight = extractor.network.get_parameter("fc.weight").detach().cpu()
            return (features @ weight.T).double().softmax(dim=1)
        case _:
            return None


def against_unseen(reference: Measurement, unseen: Measurement, fake: Measurement) -> dict[str, dict[str, Any]]:
    """Every distance of synthetic images from unseen patients', and of training images from them, at equal counts.

    A generator that knows its training patients alone comes closer to them than to new ones.

    Returns:
        By name of the metric: `value`, `real` (of the training images), `n`, the images a side, and the `levels` of a
        metric that has any. Metrics that cannot be computed are left out.
    """
    n = min(reference.count, unseen.count, fake.count, MOST_FEATURES)
    real, others, synthetic = (side.first(n) for side in (reference, unseen, fake))
    of_real = distances(others, real)
    found: dict[str, dict[str, Any]] = {}
    for name, finding in distances(others, synthetic).items():
        beside = of_real[name]
        if finding.value is not None:
            found[name] = {"value": finding.value, "real": beside.value, "n": n}
        if finding.levels and beside.levels:
            levels = {side: {"value": part, "real": beside.levels[side]} for side, part in finding.levels.items()}
            found[name]["levels"] = levels
    return found


def _of_features(first: Measurement, second: Measurement, name: str, drawn: Draws) -> dict[str, Finding]:
    try:
        return _of_defined_features(first, second, name, drawn)
    except Undefined as undefined:
        return dict.fromkeys(names_of(name), Finding(None, reason=undefined.reason))


def _of_defined_features(first: Measurement, second: Measurement, name: str, drawn: Draws) -> dict[str, Finding]:
    real, fake = first.features(name), second.features(name)
    few = min(first.count, second.count) <= real.shape[1]
    moments = first.moments[name], second.moments[name]
    distance = frechet_of_features(real, fake) if few else frechet_distance(*moments)
    found = kernel_distance(real, fake)
    kernel = Finding(found.mean, extra={"deviation": found.deviation, "subset_size": found.subset_size})
    of_vectors = {"kid": drawn_again(kernel, drawn and kernel_deviations(real, fake, *drawn))}
    of_vectors |= _manifold(real, fake, drawn)
    counts = _looked_at(first, second, name)
    return {
        "frechet": drawn_again(Finding(distance), drawn and frechet_deviations(real, fake, *drawn), least=0.0),
        **{kind: replace(finding, counts=counts) for kind, finding in of_vectors.items()},
    }


def _looked_at(first: Measurement, second: Measurement, name: str) -> tuple[int, int] | None:
    """The images behind what is computed from vectors, where fewer are kept than there are images."""
    counts = len(first.features(name)), len(second.features(name))
    return None if counts == (first.count, second.count) else counts


def drawn_again(
    finding: Finding, deviations: Float[Tensor, " rounds"] | None, *, least: float = -math.inf, most: float = math.inf
) -> Finding:
    """The finding of a value with its interval by these deviations; as it is without any."""
    if deviations is None:
        return finding
    assert finding.value is not None
    around = interval(finding.value, deviations, least=least, most=most)
    return replace(finding, interval=around, deviations=deviations)


def _manifold(real: Tensor, fake: Tensor, drawn: Draws) -> dict[str, Finding]:
    try:
        found = neighbours(real, fake)
    except Undefined as undefined:
        return dict.fromkeys(NAMES, Finding(None, reason=undefined.reason))
    moved = neighbour_deviations(real, fake, *drawn) if drawn else {}
    made = {}
    for kind in NAMES:
        value, most = getattr(found, kind), float("inf") if kind == "density" else 1.0
        made[kind] = drawn_again(Finding(value, extra={"k": found.k}), moved.get(kind), least=0.0, most=most)
    return made


def _sliced(first: Measurement, second: Measurement, drawn: Draws) -> Finding:
    patches = equally_many(first.patches(), second.patches())
    levels = pyramid_distance(*patches)
    value = sum(levels) / len(levels)
    named = {str(side): level for side, level in zip(first.sides(), levels, strict=True)}
    moved = [sliced_deviations(a, b, *drawn) for a, b in zip(*patches, strict=True)] if drawn else []
    return drawn_again(Finding(value, levels=named), torch.stack(moved).mean(dim=0) if moved else None, least=0.0)


def _spectrum(first: Measurement, second: Measurement, drawn: Draws) -> Finding:
    profiles = first.profiles(), second.profiles()
    value = spectrum_distance(*map(spectrum, profiles))
    return drawn_again(Finding(value), drawn and spectrum_deviations(*profiles, *drawn), least=0.0)


def _defined(make: Callable[[], Finding]) -> Finding:
    try:
        return make()
    except Undefined as undefined:
        return Finding(None, reason=undefined.reason)
