"""The real images of a judgement, and who is on them."""

from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from medsynth.metrics.origin import Origin

Images = Iterable[Float[Tensor, "_b _c _h _w"]]  # sets, and the batches of one, differ in length


@dataclass(frozen=True)
class Patients:
    """Who is on the images of each set, in their order; None where nobody knows."""

    reference: ndarray | None = None
    train: ndarray | None = None
    unseen: ndarray | None = None


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
