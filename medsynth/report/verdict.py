"""A judgement in plain words: how far from real, how varied, how much remembered, and how sure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medsynth.errors import counted
from medsynth.metrics.entries import entries, find
from medsynth.metrics.suite import FEW_PATIENTS
from medsynth.report.memorised import closeness, memorisation
from medsynth.report.points import Point, Tone, number, times

# Ratios to the same distance between two sets of real images. On kidney CT at 64 x 64 a 3 x 3 blur gives a Fréchet
# ratio of 5, a displacement by 8 pixels 37, scrambled quarters 85.
# Beyond 3 one set is easily told from the other: chosen by looking at samples of 23 models trained on it for 32,000
# images. In power spectra streaks and specks had ratios of 3.1 to 3.9, noise, clouds and blur 4.5 to 15, bodies with
# organs 1.4 to 2.9, but grain had 2.0 and 2.2 as well, which the detector of spoilt images refuses.
CLOSE, EASY, APART = 2.0, 3.0, 10.0
# Ratios of MS-SSIM between synthetic pairs to that between real pairs.
LESS_VARIED, COLLAPSED, MORE_VARIED = 1.15, 1.5, 0.8
# The same of 1 - MS-SSIM, which alone tells where real images are alike: between equal images of 0.98 the first ratio
# is 1.02. Two halves of 60 such real images give 0.9 to 1.1.
LESS_APART, EQUAL, MORE_APART = 0.8, 0.5, 1.5
ROUNDING = 1e-3  # of MS-SSIM: where all real images are equal, nearly equal ones are as well
HALF = 0.5  # of recall, coverage and the share of different images, against those of real images; of usable images
# Of the share of usable images: what new real ones reach where that was not measured, and how far below is as good.
EXPECTED, SHORT_OF = 0.95, 0.05
ENOUGH = 50  # images a side: of fewer, neighbours and spectra are chance
EXTRACTORS = ("inception", "random", "encoder", "own")
PAIRED = {"mae": "mean absolute error", "psnr": "PSNR", "ssim": "SSIM"}


@dataclass(frozen=True)
class Verdict:
    """A sentence that can stand alone, and the points it rests on."""

    headline: str
    tone: Tone
    points: list[Point]


def verdict(judgement: Mapping[str, Any]) -> Verdict:
    """Read the verdict off a judgement's figures."""
    third = paired(judgement) or memorisation(judgement)
    points = [fidelity(judgement), diversity(judgement), third, usable_images(judgement), evidence(judgement)]
    known = [point for point in points if point is not None]
    tones: dict[str, Tone] = {point.aspect: point.tone for point in known}
    is_easy = max(_distances(judgement).values(), default=0.0) > EASY
    headline, tone = _headline(tones, is_closeness=closeness(judgement).tone == "mixed", is_easy=is_easy)
    few = _too_few(judgement)
    if tone != "unknown" and few and tones.get("Memorisation") != "poor":
        headline = f"From too few {few} to be sure: {headline[0].lower()}{headline[1:]}"
    return Verdict(headline, tone, known)


def _too_few(judgement: Mapping[str, Any]) -> str | None:
    """What there is too little of, if anything."""
    facts = judgement["images"]
    if judgement["insufficient"] or min(facts["n_real"], facts["n_fake"]) < ENOUGH:
        return "images"
    is_known = facts.get("drawn", "images") != "images"
    return str(facts["drawn"]) if is_known and facts["n_drawn"] < FEW_PATIENTS else None


def _headline(tones: Mapping[str, Tone], *, is_closeness: bool, is_easy: bool) -> tuple[str, Tone]:
    if tones.get("Memorisation") == "poor":
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
    if tones.get("Memorisation") == "mixed" and is_closeness:
        return "The synthetic images are close to the real ones, some of them suspiciously so.", "mixed"
    if tones.get("Memorisation") == "mixed":
        return "The synthetic images are close to the real ones, but the critic knows its training images.", "mixed"
    if "mixed" in (tones["Diversity"], tones["Evidence"], tones.get("Usable images")):
        return "The synthetic images are close to the real ones, with reservations.", "mixed"
    if tones.get("Memorisation") != "good":
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
    """By MS-SSIM between pairs of synthetic images against that between pairs of real ones, and by what they leave out.

    Both the ratio of MS-SSIM and that of 1 - MS-SSIM count, for the first tells little where real images are alike and
    the second where they are not. Half as many different images as among real ones are a collapse whatever they say.
    """
    found = find(judgement, "ms_ssim")
    if not found or found["ratio"] is None:
        return Point("Diversity", "unknown", "The likeness of image pairs could not be compared.")
    alike, value, real = found["ratio"], found["value"], found["real_against_real"]
    apart = (1 - value + ROUNDING) / (1 - real + ROUNDING)
    tone: Tone = "good"
    if alike > COLLAPSED or apart < EQUAL:
        tone, words = "poor", "much more alike than real ones"
    elif alike > LESS_VARIED or apart < LESS_APART:
        tone, words = "mixed", "somewhat more alike than real ones"
    elif alike < MORE_VARIED or apart > MORE_APART:
        tone, words = "mixed", "less alike than real ones, which is often a sign of noise"
    else:
        words = "about as alike as real ones"
    text = f"Two synthetic images are {words} (MS-SSIM {number(value)} against {number(real)})."
    if repeated := _repeated(judgement):
        return Point("Diversity", "poor", f"{repeated} {text}")
    left_out = _left_out(judgement)
    return Point("Diversity", "mixed" if left_out and tone == "good" else tone, " ".join([text, *left_out]))


def _repeated(judgement: Mapping[str, Any]) -> str | None:
    """That there are few different images, where real ones are not as often equal."""
    found = find(judgement, "nearest_train") or {}
    if "different" not in found or found["n_fake"] == 1:
        return None
    share, expected = (found["different"][side] / found[f"n_{side}"] for side in ("fake", "real"))
    if share > HALF * expected:
        return None
    one = counted(found["different"]["fake"], "different one")
    return f"The {counted(found['n_fake'], 'synthetic image')} are only {one}."


def _left_out(judgement: Mapping[str, Any]) -> list[str]:
    """Recall or coverage of less than half that of real images, which must be at least a half to say anything."""
    told = []
    for kind in ("recall", "coverage"):
        found = find(judgement, *(f"{kind}_{name}" for name in EXTRACTORS)) or {}
        real = found.get("real_against_real") or 0.0
        if real >= HALF and found["value"] < HALF * real:
            told.append(
                f"Of the real images {found['value']:.0%} are among them, of other real ones {real:.0%} ({kind})."
            )
    return told[:1]


def paired(judgement: Mapping[str, Any]) -> Point | None:
    """How near images come to the real ones of their names; None where nobody asked."""
    found = {name: one for name in PAIRED if (one := find(judgement, f"pair_{name}"))}
    if not found:
        return None
    figures = [
        f"{PAIRED[name]} {number(one['value'])}{' ' + one['unit'] if one.get('unit') else ''}"
        for name, one in found.items()
    ]
    count = counted(max(one["pairs"] for one in found.values()), "pair")
    text = (
        f"Of {count}: {', '.join(figures)}. The error is 0 and SSIM 1 for equal images, and PSNR is higher the closer "
        "they are; what is enough depends on the use. Pairs are meant to be alike, so memorisation is not judged."
    )
    return Point("Pairs", "figures", text)


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
    """By how many images there were, and of how many patients."""
    facts, few = judgement["images"], _too_few(judgement)
    counts = f"{facts['n_real']:,} real and {counted(facts['n_fake'], 'synthetic image')}"
    missing = _missing(judgement)
    if judgement["insufficient"]:
        is_all = set(judgement["insufficient"]) == set(entries(judgement))
        which = "No figure has the images it needs" if is_all else "Some figures have too few images"
        text = f"{which}: {counts} instead of {facts['count']:,} each. Compare only with figures of as many images."
    elif few == "images":
        text = f"{counts}, as many as asked for, but {ENOUGH} each are the least to rely on{missing}."
    elif few:
        text = f"{counts}, but the real ones are of {facts['n_drawn']} {few}; {FEW_PATIENTS} are the least{missing}."
    else:
        text = f"{counts}, as many as asked for{missing}."
    return Point("Evidence", "mixed" if few else "good", text)


def _missing(judgement: Mapping[str, Any]) -> str:
    """How many metrics have no value: for want of a file of weights, or for other reasons; nothing when all have."""
    nulls = [entry for entry in entries(judgement).values() if entry["value"] is None]
    waiting = sum("fill" in entry for entry in nulls)
    told = [
        f"; {counted(count, 'metric')} {what}"
        for count, what in (
            (waiting, f"{'waits' if waiting == 1 else 'wait'} for a file of weights"),
            (len(nulls) - waiting, "could not be computed"),
        )
        if count
    ]
    return "".join(told)
