"""What images are conditioned on: the labels and covariates of the training images, and draws like theirs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from medsynth.errors import UserError, say
from medsynth.latent import generator

if TYPE_CHECKING:
    from medsynth.data.pack import Pack

LEVELS = 17  # quantiles of a covariate that stand for its distribution within a class
BALANCED = "balanced"  # as a label: the classes in turn


@dataclass(frozen=True)
class Attributes:
    """Which labels and covariates the training images have.

    class_names, counts: the classes, and how many training images each has; without labels no name and one count.
    covariates: names of the continuous conditions.
    ranges: (low, high) of each in the training images, in its own unit; they become -1 and 1.
    quantiles: of each class and in it of each covariate, LEVELS values from its lowest to its highest.
    Plain Python throughout, so that a checkpoint can hold it.
    """

    class_names: list[str]
    counts: list[int]
    covariates: list[str]
    ranges: list[list[float]]
    quantiles: list[list[list[float]]]

    @classmethod
    def of(cls, pack: "Pack") -> "Attributes":
        """Those of a pack's training split; augmented copies do not count."""
        train = pack.splits["train"]
        has_labels = "label" in pack.provides
        labels = pack.labels[train] if has_labels else np.zeros(len(train), dtype=np.int64)
        names = list(pack.class_names) if has_labels else []
        values = pack.covariates[train] if pack.covariates is not None else np.empty((len(train), 0))
        groups = [values[labels == label] for label in range(max(1, len(names)))]
        return cls(
            class_names=names,
            counts=[len(group) for group in groups],
            covariates=list(pack.covariate_names),
            ranges=[[float(column.min()), float(column.max())] for column in values.T] if len(values) else [],
            quantiles=[_quantiles(group) if len(group) else _quantiles(values) for group in groups],
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
        """Covariates in their own units to float32 where [-1, 1] is the range of the training images; a covariate that
        is the same in all of them is 0."""
        if not self.covariates:
            return np.empty((len(values), 0), dtype=np.float32)
        low, high = np.array(self.ranges, dtype=np.float64).T
        width = np.where(high > low, high - low, np.inf)
        scaled = 2 * (values - low) / width - np.where(high > low, 1.0, 0.0)
        return scaled.astype(np.float32)

    # ------------------------------------------------------------------------------------------------ of synthesis

    def check(self, *, label: str | None = None, covariates: Mapping[str, float | int] | None = None) -> None:
        """Raise UserError for what draw() cannot give, and warn of values that no training image has."""
        self._fixed_label(label)
        for name, value in self._fixed_covariates(covariates or {}).items():
            low, high = self.ranges[self.covariates.index(name)]
            if not low <= value <= high:
                say(
                    f"warning: covariates.{name}={value:g} lies outside of the training images' {low:g} to {high:g}: "
                    "the model has seen nothing like it"
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

        label: None draws by the training images' frequencies; "balanced": the classes in turn; a class name.
        covariates: value by name, in the covariate's unit; the others are drawn, each for itself, by interpolated
            quantiles of the image's class.
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
        fixed_label, fixed = self._fixed_label(label), self._fixed_covariates(covariates or {})
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


def _quantiles(values: Float[ndarray, "n k"]) -> list[list[float]]:
    """LEVELS evenly spaced quantiles of each column; none without rows."""
    if not len(values):
        return []
    return np.quantile(values, np.linspace(0, 1, LEVELS), axis=0).T.tolist()
