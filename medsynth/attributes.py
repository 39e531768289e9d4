"""What images are conditioned on: the labels and covariates of the training images, and draws like theirs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from medsynth.errors import UserError, say
from medsynth.latent import generator

if TYPE_CHECKING:
    from medsynth.data.pack import Pack

LEVELS = 17  # quantiles of a covariate that stand for its distribution within a class
LEAST_PATIENTS = 10  # whose quantiles are kept; fewer are too easily told apart
CUT = 0.05  # of the patients at either end, whose values are nobody's to know
PUBLIC = frozenset({"slice_position"})  # tells where a slice lies, and nothing of a person
BALANCED = "balanced"  # as a label: the classes in turn


@dataclass(frozen=True)
class Attributes:
    """Which labels and covariates the training images have.

    class_names, counts: the classes, and how many training images each has; without labels no name and one count.
    covariates: names of the continuous conditions.
    ranges: (low, high) of each, the least and greatest of its quantiles, in its own unit; they become -1 and 1, and
        values beyond them count as them.
    quantiles: of each class and in it of each covariate, LEVELS evenly spaced ones from the 5th to the 95th percentile,
        where patients weigh the same, whatever the number of their images. The lowest and the highest patient never
        enter; a class of fewer than LEAST_PATIENTS has those of all classes. Rounded to three digits of the spread, and
        to whole units where that is 10 or more. A covariate of PUBLIC keeps its ends.
    Plain Python throughout, so that a checkpoint can hold it; an age that tells who a patient is stands in none.
    """

    class_names: list[str]
    counts: list[int]
    covariates: list[str]
    ranges: list[list[float]]
    quantiles: list[list[list[float]]]

    @classmethod
    def of(cls, pack: "Pack") -> "Attributes":
        """Those of a pack's training split; augmented copies do not count.

        Raises UserError for covariates of fewer than LEAST_PATIENTS patients, but for those of PUBLIC.
        """
        train = pack.splits["train"]
        has_labels = "label" in pack.provides
        labels = pack.labels[train] if has_labels else np.zeros(len(train), dtype=np.int64)
        names = list(pack.class_names) if has_labels else []
        values = pack.covariates[train] if pack.covariates is not None else np.empty((len(train), 0))
        quantiles = _quantiles_of(pack, values, labels, classes=max(1, len(names)))
        return cls(
            class_names=names,
            counts=np.bincount(labels, minlength=max(1, len(names))).tolist(),
            covariates=list(pack.covariate_names),
            ranges=[[min(q[0] for q in each), max(q[-1] for q in each)] for each in zip(*quantiles, strict=True)],
            quantiles=quantiles,
        )

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> "Attributes":
        """Those that plain() wrote."""
        return cls(**plain)

    def plain(self) -> dict[str, Any]:
        """Lists and numbers, as a checkpoint holds them."""
        return asdict(self)

    # ------------------------------------------------------------------------------------------------- of training

    def scaled(self, values: Float[ndarray, "n k"]) -> Float[ndarray, "n k"]:
        """Covariates in their own units to float32 in [-1, 1], which is their range: values beyond it become -1 or 1.
        A covariate whose percentiles are all the same is 0."""
        if not self.covariates:
            return np.empty((len(values), 0), dtype=np.float32)
        low, high = np.array(self.ranges, dtype=np.float64).T
        width = np.where(high > low, high - low, np.inf)
        scaled = 2 * (values - low) / width - np.where(high > low, 1.0, 0.0)
        return scaled.clip(-1, 1).astype(np.float32)

    # ------------------------------------------------------------------------------------------------ of synthesis

    def check(self, *, label: str | None = None, covariates: Mapping[str, float | int] | None = None) -> None:
        """Raise UserError for what draw() cannot give or takes otherwise, and warn of values beyond the range."""
        self._fixed_label(label)
        if label == BALANCED and BALANCED in self.class_names:
            raise UserError(
                f"label={BALANCED} asks for the classes in turn, and a class of this run is called so: leave label out "
                "(as often as in training), or rename that class and train again"
            )
        for name, value in self._fixed_covariates(covariates or {}).items():
            low, high = self.ranges[self.covariates.index(name)]
            if not low <= value <= high:
                say(
                    f"warning: covariates.{name}={value:g} lies outside of {low:g} to {high:g}, where nine of ten "
                    "training patients are; the images are those of the nearest end"
                )

    def draw(
        self,
        seed: int,
        first: int,
        count: int,
        *,
        label: str | None = None,
        covariates: Mapping[str, float | int] | None = None,
    ) -> dict[str, Tensor]:
        """Conditions of images first ... first + count - 1: "label" (count,) int64 where there are classes, and
        "covariates" (count, k) float32, scaled.

        label: None draws by the training images' frequencies; "balanced": the classes in turn, even where a class is
            called so; a class name.
        covariates: value by name, in the covariate's unit, beyond its range the nearest end; the others are drawn, each
            for itself, by interpolated quantiles of the image's class.
        Those of image k depend on seed, k and these choices alone. Raises UserError for unknown names.
        """
        classes, values = self.values(seed, first, count, label=label, covariates=covariates)
        drawn: dict[str, Tensor] = {}
        if self.class_names:
            drawn["label"] = torch.from_numpy(classes)
        if self.covariates:
            drawn["covariates"] = torch.from_numpy(self.scaled(values))
        return drawn

    def values(
        self,
        seed: int,
        first: int,
        count: int,
        *,
        label: str | None = None,
        covariates: Mapping[str, float | int] | None = None,
    ) -> tuple[ndarray, Float[ndarray, "count k"]]:
        """The same as class numbers (count,), 0 without classes, and as covariates in their own units."""
        fixed_label, fixed = self._fixed_label(label), self._within(self._fixed_covariates(covariates or {}))
        present = np.flatnonzero(self.counts)
        bounds = np.cumsum(self.counts) / max(1, sum(self.counts))
        levels = np.linspace(0, 1, LEVELS)
        classes = np.empty(count, dtype=np.int64)
        values = np.empty((count, len(self.covariates)))
        for i, k in enumerate(range(first, first + count)):
            place, *places = torch.rand(
                1 + len(self.covariates), dtype=torch.float64, generator=generator(seed, "attributes", k)
            ).tolist()
            if fixed_label is not None:
                classes[i] = fixed_label
            elif label == BALANCED:
                classes[i] = present[k % len(present)]
            else:
                classes[i] = np.searchsorted(bounds, place, side="right")
            for j, name in enumerate(self.covariates):
                values[i, j] = fixed.get(name, np.interp(places[j], levels, self.quantiles[classes[i]][j]))
        return classes, values

    def _fixed_label(self, label: str | None) -> int | None:
        """The class that `label` names; None where it names none. Raises UserError."""
        if label is None:
            return None
        if not self.class_names:
            raise UserError(f"label={label}: this run's training images have no labels; leave label out")
        if label == BALANCED:
            return None
        if str(label) not in self.class_names:
            names = ", ".join([*self.class_names, BALANCED])
            raise UserError(f"label={label} is no class of this run; choices: {names}")
        number = self.class_names.index(str(label))
        if not self.counts[number]:
            raise UserError(f"label={label}: no training image of this run is of that class")
        return number

    def _fixed_covariates(self, covariates: Mapping[str, float | int]) -> Mapping[str, float | int]:
        """The same. Raises UserError for an unknown name, and for what is no number."""
        for name, value in covariates.items():
            if name not in self.covariates:
                known = ", ".join(self.covariates) or "none"
                raise UserError(f"covariates.{name} is no covariate of this run; it has {known}")
            if not isinstance(value, int | float) or isinstance(value, bool) or not np.isfinite(value):
                raise UserError(f"covariates.{name}={value} must be a number")
        return covariates

    def _within(self, covariates: Mapping[str, float | int]) -> dict[str, float]:
        """Each value, or the end of its range that is nearest."""
        ranges = dict(zip(self.covariates, self.ranges, strict=True))
        return {name: float(min(max(value, ranges[name][0]), ranges[name][1])) for name, value in covariates.items()}


def _quantiles_of(
    pack: "Pack", values: Float[ndarray, "n k"], labels: Int[ndarray, " n"], *, classes: int
) -> list[list[list[float]]]:
    """Attributes.quantiles of training images with these covariates and labels."""
    if not pack.covariate_names:
        return [[] for _ in range(classes)]
    known, patients = np.unique(pack.patients[pack.splits["train"]], return_inverse=True)
    private = [name for name in pack.covariate_names if name not in PUBLIC]
    if private and len(known) < LEAST_PATIENTS:
        raise UserError(
            f"data.covariates={private[0]}: {len(known)} training patients are so few that what a checkpoint keeps of "
            f"it tells who they are; {LEAST_PATIENTS} are enough, or leave it out"
        )
    each = []
    for label in range(classes):
        mine = labels == label
        mine = mine if len(np.unique(patients[mine])) >= LEAST_PATIENTS else np.ones_like(mine)
        each.append([
            _quantiles(column[mine], patients[mine], cut=name not in PUBLIC)
            for name, column in zip(pack.covariate_names, values.T, strict=True)
        ])  # fmt: skip
    rounded = np.array(each).reshape(classes, -1, LEVELS)  # (classes, k, levels)
    for column in rounded.swapaxes(0, 1):
        column[:] = _rounded(column)
    return rounded.tolist()


def _quantiles(values: Float[ndarray, " n"], patients: ndarray, *, cut: bool) -> Float[ndarray, " levels"]:
    """LEVELS evenly spaced quantiles in which all patients weigh the same, from the lowest value to the highest.

    cut: from the 5th to the 95th percentile instead, and never nearer to an end than the middle of the second patient.
    """
    _, who, images = np.unique(patients, return_inverse=True, return_counts=True)
    order = values.argsort(kind="stable")
    weights = 1 / images[who[order]]
    places = weights.cumsum() - weights / 2  # of each value among so many patients
    margin = max(1.5, CUT * len(images)) if cut else 0
    return np.interp(np.linspace(margin, len(images) - margin, LEVELS), places, values[order])


def _rounded(values: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    """Three digits of the spread, whole units at the most from a spread of 10 on; equal values as they are."""
    spread = float(np.ptp(values))
    if spread == 0:
        return values
    digits = 2 - int(np.floor(np.log10(spread)))
    return np.round(values, min(digits, 0) if spread >= 10 else digits)
