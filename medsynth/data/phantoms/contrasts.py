"""How bright the tissues of the head are in MR images of different contrast."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from medsynth.data.phantoms.canvas import Field

Contrast = Literal["t1ce", "t1", "t2", "flair"]
ORDER: tuple[Contrast, ...] = ("t1ce", "t1", "t2", "flair")


def _tone(t1ce: float, t1: float, t2: float, flair: float) -> Field:
    return np.array((t1ce, t1, t2, flair), np.float32).reshape(-1, 1, 1)


class Tones(NamedTuple):
    """The grey level (c, 1, 1) of each tissue, 0..255 for an average patient; by default in all contrasts of ORDER.

    Chosen by eye after textbook images: with contrast agent (t1ce) vessels, meninges and tumours are bright; in t2
    water and oedema are; flair is t2 without free water. `*_gain` is added to grey and white matter for each 1 that
    Head.contrast is above 1.
    """

    skin: Field = _tone(105.0, 95.0, 60.0, 70.0)
    fat: Field = _tone(190.0, 185.0, 135.0, 120.0)
    muscle: Field = _tone(72.0, 66.0, 38.0, 55.0)
    skull: Field = _tone(14.0, 12.0, 10.0, 9.0)
    dura: Field = _tone(75.0, 48.0, 60.0, 52.0)
    fluid: Field = _tone(26.0, 24.0, 225.0, 20.0)
    ventricle: Field = _tone(22.0, 20.0, 232.0, 14.0)
    grey: Field = _tone(74.0, 70.0, 118.0, 108.0)
    white: Field = _tone(98.0, 104.0, 82.0, 84.0)
    grey_gain: Field = _tone(-14.0, -14.0, 9.0, 7.0)
    white_gain: Field = _tone(10.0, 10.0, -6.0, -5.0)
    cortex_floor: Field = _tone(46.0, 46.0, 0.0, 40.0)
    falx: Field = _tone(150.0, 60.0, 55.0, 60.0)
    plexus: Field = _tone(150.0, 66.0, 150.0, 60.0)
    blood: Field = _tone(205.0, 46.0, 14.0, 24.0)
    gland: Field = _tone(150.0, 90.0, 95.0, 92.0)
    eye: Field = _tone(34.0, 30.0, 228.0, 22.0)
    nerve: Field = _tone(92.0, 86.0, 58.0, 75.0)
    oedema: Field = _tone(58.0, 60.0, 178.0, 186.0)
    necrosis: Field = _tone(38.0, 42.0, 196.0, 78.0)
    tumour: Field = _tone(205.0, 74.0, 136.0, 146.0)
    meningioma: Field = _tone(185.0, 78.0, 122.0, 120.0)
    adenoma: Field = _tone(178.0, 80.0, 118.0, 112.0)

    @classmethod
    def of(cls, contrasts: Sequence[Contrast]) -> "Tones":
        """The tones of some contrasts, in their order."""
        columns = [ORDER.index(contrast) for contrast in contrasts]
        return cls(*(tone[columns] for tone in cls()))
