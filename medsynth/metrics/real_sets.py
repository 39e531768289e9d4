"""The real images of a judgement, and who is on them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from medsynth.metrics.origin import Origin

Images = Iterable[Float[Tensor, "_b _c _h _w"]]  # sets, and the batches of one, differ in length


@dataclass(frozen=True)
class Patients:
    """Who is on the images of each set, in their order; None where nobody knows.

    stands_for: what is taken for a patient, "patients" or "volumes".
    """

    reference: ndarray | None = None
    train: ndarray | None = None
    unseen: ndarray | None = None
    stands_for: str = "patients"

    def drawn(self, count: int) -> dict[str, Any]:
        """What intervals draw of the first `count` reference images, "images" where nobody is known, and how many."""
        if self.reference is None:
            return {"drawn": "images", "n_drawn": count}
        return {"drawn": self.stands_for, "n_drawn": len(set(self.reference[:count].tolist()))}


@dataclass(frozen=True, kw_only=True)
class RealSets:
    """Real images as `medsynth.metrics.suite.Yardstick` takes them; None where there are none."""

    reference: Images
    held_out: Images | None
    train: Images | None
    unseen: Images | None
    patients: Patients
    real_split: str = "train"
    origin: Origin | None = None
