"""How much synthetic images remember of training images, in plain words."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medsynth.errors import counted
from medsynth.metrics.entries import find
from medsynth.report.points import Point, Tone, number

NEAR_SHARE = 0.05  # of synthetic images nearer to a training image than 99 % of unseen real ones
SAME = 0.01  # distance of changed copies: where unseen patients' images already lie below it, no copy is telling
# Where more than a quarter of new patients' images may lie unusually close, that few do says nothing. By their pixels a
# quarter of them must, for of unknown patients the range of new ones is too narrow: 8 % did of fresh kidney CT.
WIDE = 0.25
HALF = 0.5


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
    found, changed = find(judgement, "nearest_train"), find(judgement, "duplicates")
    if not found:
        return Point("Memorisation", "unknown", "No training images were at hand to look for copies in.")
    copies, looked = found["copies"], _looked(found)
    exact = copies if _is_telling(found) else 0
    if changed and changed["threshold"] > SAME and changed["copies"] > exact:
        text = f"{_copy(changed['copies'], found)} {looked}, mirrored, moved or recoloured copies included."
        return Point("Memorisation", "poor", text)
    if exact:
        return Point("Memorisation", "poor", f"{_copy(exact, found)} {looked}.")
    tone, text = _unusual(judgement, found, changed) if changed else _unsearched(found)
    if not copies:
        none = f"No {'' if changed else 'exact '}copy of {looked}"
        return Point("Memorisation", tone, text if tone in ("mixed", "poor") else f"{none}; {text}")
    equal = (
        f"{copies:,} of {_fakes(found)} equal {looked}, and so do {found['copies_unseen']:,} of {found['n_unseen']:,} "
        "unseen ones: they are blank, or the sets overlap"
    )
    is_many = copies / found["n_fake"] > NEAR_SHARE and tone != "poor"
    return Point("Memorisation", "mixed" if is_many else tone, f"{equal}; {text}")


def _is_telling(found: Mapping[str, Any]) -> bool:
    """Are there more copies than twice the share among unseen images? If most of those are copies, any is too many."""
    expected = found.get("copies_unseen", 0) / max(1, found.get("n_unseen", 1))
    return found["copies"] > 0 and (expected >= HALF or found["copies"] / found["n_fake"] > 2 * expected)


def _looked(found: Mapping[str, Any]) -> str:
    return f"one of {counted(found['n_train'], 'training image')}"


def _fakes(found: Mapping[str, Any]) -> str:
    return counted(found["n_fake"], "synthetic image")


def _copy(copies: int, found: Mapping[str, Any]) -> str:
    return f"{copies:,} of {_fakes(found)} {'copies' if copies == 1 else 'copy'}"


def _unsearched(found: Mapping[str, Any]) -> tuple[Tone, str]:
    """Where changed copies were not looked for: in training, and without unseen patients."""
    if "near" not in found:
        return "unknown", "mirrored or recoloured ones were not looked for: that takes unseen patients (unseen=DIR)."
    share = f"{found['near']:.0%} of {_fakes(found)}"
    if found["near"] > NEAR_SHARE:
        return "mixed", f"{share} lie closer to training images than 99% of unseen patients' do."
    return "good", f"{share} lie unusually close."


def _unusual(judgement: Mapping[str, Any], found: Mapping[str, Any], changed: Mapping[str, Any]) -> tuple[Tone, str]:
    """By likely duplicates, nearness of pixels and noisy versions, each against what new patients reach.

    Many likely duplicates, and few that are no noisy versions, are copies; either alone may be blur or chance.
    """
    normal, rate, expected = changed["normal"], changed["value"], changed["real_against_real"]
    most = normal[1] if normal else max(NEAR_SHARE, 2 * expected)
    beside = f"among new patients it is up to {most:.1%}" if normal else f"up to {most:.0%} is taken as chance"
    share, noisy = f"{rate:.1%} of {_fakes(changed)}", _noisy(judgement)
    closer = f"{share} lie closer to {_looked(found)} than {1 - expected:.0%} of unseen patients' do; {beside}."
    if signs := [*([closer] if rate > most else []), *_near(found), *noisy]:
        return "poor" if rate > max(most, HALF) and noisy else "mixed", " ".join(signs)
    if changed["threshold"] <= SAME:
        return "unknown", "unseen patients' images lie so close to training images that a changed copy cannot be told."
    if normal is None or most > WIDE:
        patients = changed["n_patients"]
        few = found["n_unseen"] - found["copies_unseen"] if patients is None else patients
        who = f"too few unseen {'images' if patients is None else 'patients'} ({few:,}) to tell noisy or turned copies"
        return "unknown", f"{share} lie unusually close, {beside}: {who}."
    return "good", f"{share} lie unusually close, {beside}."


def _near(found: Mapping[str, Any]) -> list[str]:
    """That many are near by their pixels, if they are."""
    normal = found.get("near_normal")
    if not normal or found["near"] <= max(WIDE, normal[1]):
        return []
    return [
        f"By their pixels alone, {found['near']:.0%} lie closer than 99% of unseen patients' do; among new patients it "
        f"is up to {normal[1]:.0%}."
    ]


def _noisy(judgement: Mapping[str, Any]) -> list[str]:
    """That many are noisy versions of training images, if less than half of new patients' share are none."""
    found = find(judgement, "authenticity") or {}
    normal, real = found.get("normal"), found.get("real_against_real", 0.0)
    if not normal or found["value"] >= min(normal[0], HALF * real):
        return []
    return [f"{1 - found['value']:.0%} look like noisy versions of training images, of new patients' {1 - real:.0%}."]
