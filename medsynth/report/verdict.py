"""A judgement in plain words: how far from real, how varied, how much remembered, and how sure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from medsynth.metrics.entries import entries, find

Tone = Literal["good", "mixed", "poor", "unknown"]

# Ratios to the same distance between two sets of real images. On kidney CT at 64 x 64 a 3 x 3 blur gives a Fréchet
# ratio of 5, a displacement by 8 pixels 37, scrambled quarters 85.
# Beyond 5 nobody takes one set for the other: of models trained on it for 32,000 images, those that made clouds or
# grain had power spectrum ratios of 5.0 to 8.1, some with all other ratios near 2, and those that made anatomy 1.9 to
# 3.9.
CLOSE, EASY, APART = 2.0, 5.0, 10.0
# Ratios of MS-SSIM between synthetic pairs to that between real pairs.
LESS_VARIED, COLLAPSED, MORE_VARIED = 1.15, 1.5, 0.8
NEAR_SHARE = 0.05  # of synthetic images nearer to a training image than 99 % of unseen real ones
# Of the share of usable images: what new real ones reach where that was not measured, and how far below is as good.
EXPECTED, SHORT_OF, HALF = 0.95, 0.05, 0.5

SAME = 0.01  # distance of changed copies: where unseen patients' images already lie below it, no copy is telling


@dataclass(frozen=True)
class Point:
    """One aspect of the verdict: its name, how it turned out, and a sentence with the figures behind it."""

    aspect: str
    tone: Tone
    text: str


@dataclass(frozen=True)
class Verdict:
    """A sentence that can stand alone, and the points it rests on."""

    headline: str
    tone: Tone
    points: list[Point]


def verdict(judgement: Mapping[str, Any]) -> Verdict:
    """Read the verdict off a judgement's figures."""
    points = [fidelity(judgement), diversity(judgement), memorisation(judgement), evidence(judgement)]
    if (usable := usable_images(judgement)) is not None:
        points.insert(3, usable)
    tones: dict[str, Tone] = {point.aspect: point.tone for point in points}
    is_easy = max(_distances(judgement).values(), default=0.0) > EASY
    headline, tone = _headline(tones, is_closeness=closeness(judgement).tone == "mixed", is_easy=is_easy)
    if tone != "unknown" and _all_insufficient(judgement) and tones["Memorisation"] != "poor":
        headline = f"From too few images to be sure: {headline[0].lower()}{headline[1:]}"
    return Verdict(headline, tone, points)


def _all_insufficient(judgement: Mapping[str, Any]) -> bool:
    return set(judgement["insufficient"]) == set(entries(judgement))


def _headline(tones: Mapping[str, Tone], *, is_closeness: bool, is_easy: bool) -> tuple[str, Tone]:
    if tones["Memorisation"] == "poor":
        return "Do not share these images: some of them copy training images.", "poor"
    if tones["Fidelity"] == "poor":
        return "The synthetic images are still far from the real ones.", "poor"
    if tones["Diversity"] == tones.get("Usable images") == "poor":
        return "Most of the synthetic images are spoilt, and they are too much alike.", "poor"
    if tones["Diversity"] == "poor":
        return "The generator has collapsed: its images are too much alike.", "poor"
    if tones.get("Usable images") == "poor":
        return "Most of the synthetic images are spoilt.", "poor"
    if "unknown" in (tones["Fidelity"], tones["Diversity"]):
        return "No overall verdict: there is too little to compare with.", "unknown"
    if tones["Fidelity"] == "mixed" and is_easy:
        return "The synthetic images can easily be told apart from the real ones.", "mixed"
    if tones["Fidelity"] == "mixed":
        return "The synthetic images resemble the real ones, but can be told apart from them.", "mixed"
    if tones["Memorisation"] == "mixed" and is_closeness:
        return "The synthetic images are close to the real ones, some of them suspiciously so.", "mixed"
    if tones["Memorisation"] == "mixed":
        return "The synthetic images are close to the real ones, but the critic knows its training images.", "mixed"
    if "mixed" in (tones["Diversity"], tones["Evidence"], tones.get("Usable images")):
        return "The synthetic images are close to the real ones, with reservations.", "mixed"
    if tones["Memorisation"] == "unknown":
        return "The synthetic images are close to the real ones and as varied.", "good"
    return "The synthetic images are close to the real ones, as varied, and no copies of them.", "good"


def fidelity(judgement: Mapping[str, Any]) -> Point:
    """By a Fréchet distance, Inception's if there is one, the worst level of the sliced Wasserstein distance, and the
    power spectrum.

    A level by itself, because sets of few patients differ so much in anatomy that the mean would hide a blur.
    """
    ratios = _distances(judgement)
    if not ratios:
        return Point("Fidelity", "unknown", "There is no real-against-real distance to hold the distances against.")
    worst = max(ratios.values())
    tone: Tone = "good" if worst <= CLOSE else "mixed" if worst <= APART else "poor"
    patches = max((name for name in ratios if name.startswith("sliced")), key=ratios.__getitem__, default=None)
    named = [name for name in ("Fréchet distance", patches, "power spectrum distance") if name in ratios]
    *others, last = (f"{name} {times(ratios[name])}" for name in named)
    figures = ", the ".join(others) + (" and the " if others else "") + last
    return Point("Fidelity", tone, f"The {figures} that between two sets of real images.")


def _distances(judgement: Mapping[str, Any]) -> dict[str, float]:
    """Ratios to real-against-real by the name of the distance, those that are known."""
    ratios = {}
    frechet = find(judgement, "fid", "frechet_random", "frechet_encoder", "frechet_own")
    if frechet and frechet["ratio"] is not None:
        ratios["Fréchet distance"] = frechet["ratio"]
    for side, level in ((find(judgement, "swd") or {}).get("levels") or {}).items():
        if level["real_against_real"]:
            ratios[f"sliced Wasserstein distance at {side} pixels"] = level["value"] / level["real_against_real"]
    spectrum = find(judgement, "spectrum")
    if spectrum and spectrum["ratio"] is not None:
        ratios["power spectrum distance"] = spectrum["ratio"]
    return ratios


def diversity(judgement: Mapping[str, Any]) -> Point:
    """By MS-SSIM between pairs of synthetic images against that between pairs of real ones."""
    found = find(judgement, "ms_ssim")
    if not found or found["ratio"] is None:
        return Point("Diversity", "unknown", "The likeness of image pairs could not be compared.")
    ratio = found["ratio"]
    if ratio > COLLAPSED:
        tone, words = "poor", "much more alike than real ones"
    elif ratio > LESS_VARIED:
        tone, words = "mixed", "somewhat more alike than real ones"
    elif ratio < MORE_VARIED:
        tone, words = "mixed", "less alike than real ones, which is often a sign of noise"
    else:
        tone, words = "good", "about as alike as real ones"
    figures = f"MS-SSIM {number(found['value'])} against {number(found['real_against_real'])}"
    return Point("Diversity", tone, f"Two synthetic images are {words} ({figures}).")


def memorisation(judgement: Mapping[str, Any]) -> Point:
    """By closeness to training images, and by whether the critic's scores give them away."""
    point, found = closeness(judgement), find(judgement, "membership")
    if not found or not (around := found.get("interval")):
        return point
    figures = f"AUC {number(found['value'])}, {number(around[0])} to {number(around[1])}"
    if around[0] <= 0.5:
        return replace(point, text=f"{point.text} The critic's scores do not give training images away ({figures}).")
    text = (
        f"{point.text} The critic's scores tell training images from unseen ones ({figures}): do not share the critic."
    )
    return Point("Memorisation", "poor" if point.tone == "poor" else "mixed", text)


def closeness(judgement: Mapping[str, Any]) -> Point:
    """By copies of training images, changed ones too, and by how many lie closer to them than unseen images do."""
    found = find(judgement, "nearest_train")
    if not found:
        return Point("Memorisation", "unknown", "No training images were at hand to look for copies in.")
    changed = find(judgement, "duplicates")
    copies, total = found["copies"], found["n_fake"]
    looked = f"{found['n_train']:,} training images"
    expected = found.get("copies_unseen", 0) / max(1, found.get("n_unseen", 1))
    is_exact = copies / total > 2 * expected
    is_telling = changed is not None and changed["threshold"] > SAME
    if changed and is_telling and changed["copies"] > (copies if is_exact else 0):
        text = (
            f"{changed['copies']:,} of {total:,} synthetic images copy one of {looked}, mirrored, moved or recoloured "
            "copies included."
        )
        return Point("Memorisation", "poor", text)
    if is_exact:
        return Point("Memorisation", "poor", f"{copies:,} of {total:,} synthetic images copy one of {looked}.")
    if changed:
        return _closeness(changed, looked)
    if "near" not in found:
        text = (
            f"None of {total:,} synthetic images copies one of {looked}; there were no unseen patients to calibrate by."
        )
        return Point("Memorisation", "unknown", text)
    share = f"{found['near']:.0%} of {total:,} synthetic images"
    if found["near"] > NEAR_SHARE:
        return Point("Memorisation", "mixed", f"{share} lie closer to training images than 99% of unseen patients' do.")
    return Point("Memorisation", "good", f"No more copies than among unseen patients; {share} lie unusually close.")


def _closeness(changed: Mapping[str, Any], looked: str) -> Point:
    """By the rate of likely duplicates against the highest that new patients reach."""
    normal, share = changed["normal"], f"{changed['value']:.1%} of {changed['n_fake']:,} synthetic images"
    most = normal[1] if normal else max(NEAR_SHARE, 2 * changed["real_against_real"])
    beside = f"among new patients it is up to {most:.1%}" if normal else f"up to {most:.0%} is taken as chance"
    if changed["value"] > most:
        others = f"{1 - changed['real_against_real']:.0%} of unseen patients' do"
        text = f"{share} lie closer to one of {looked} than {others}; {beside}."
        return Point("Memorisation", "mixed", text)
    return Point("Memorisation", "good", f"No copy of one of {looked}; {share} lie unusually close, {beside}.")


def usable_images(judgement: Mapping[str, Any]) -> Point | None:
    """By the share that pass a detector of spoilt images, against that of new real ones; None where nobody asked."""
    asked = [entry for key, entry in entries(judgement).items() if key.rpartition("_")[0] == "usable"]
    if not asked:
        return None
    share, real = asked[0]["value"], asked[0]["real_against_real"]
    if share is None:
        return Point("Usable images", "unknown", f"Not known: {asked[0].get('reason', 'no detector')}.")
    expected = EXPECTED if real is None else real
    tone: Tone = "good" if share >= expected - SHORT_OF else "mixed" if share >= HALF else "poor"
    text = (
        f"{share:.0%} of the synthetic images pass a detector of spoilt ones; about {expected:.0%} of new real ones do."
    )
    return Point("Usable images", tone, text)


def evidence(judgement: Mapping[str, Any]) -> Point:
    """By how many images there were."""
    facts = judgement["images"]
    counts = f"{facts['n_real']:,} real and {facts['n_fake']:,} synthetic images"
    if judgement["insufficient"]:
        which = (
            "No figure has the images it needs" if _all_insufficient(judgement) else "Some figures have too few images"
        )
        text = f"{which}: {counts} instead of {facts['count']:,} each. Compare only with figures of as many images."
        return Point("Evidence", "mixed", text)
    nulls = sum(entry["value"] is None for entry in entries(judgement).values())
    missing = f"; {nulls} metrics could not be computed" if nulls else ""
    return Point("Evidence", "good", f"{counts}, as many as asked for{missing}.")


def times(ratio: float) -> str:
    """1.04 -> "is about equal to", 3.2 -> "is 3.2 times"."""
    if 0.95 <= ratio < 1.05:
        return "is about equal to"
    return f"is {ratio:,.0f} times" if ratio >= 10 else f"is {ratio:.1f} times"


def number(value: float) -> str:
    """Three significant digits, without an exponent where that is readable."""
    if value != 0 and (abs(value) < 1e-4 or abs(value) >= 1e6):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}" if value else "0"
