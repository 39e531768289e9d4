"""One pass over an image set: what it leaves behind survives as arrays, whole or in part, to the last bit."""

import pytest
import torch

from medsynth.metrics.comparison import distances
from medsynth.metrics.measurement import IMAGES, Measurement
from medsynth.metrics.random_features import RandomConvolutions

COUNT = 20


def images(*, seed=0):
    return torch.rand(COUNT, 1, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def measured(*, known=None, given=None):
    made = Measurement("real", count=COUNT, extractors={"random": RandomConvolutions(1)}, known=known)
    for batch in (images() if given is None else given).split(7):
        made.update(batch)
    return made


def arrays(measurement):
    return {part: measurement.to_arrays(part) for part in (IMAGES, "random")}


def bits(measurement):
    return {
        (part, name): (array.dtype, array.shape, array.tobytes())
        for part, found in arrays(measurement).items()
        for name, array in found.items()
    }


def figures(measurement):
    other = measured(given=images(seed=1))
    return distances(measurement, other), distances(other, measurement), measurement.similarity.compute()


def test_a_measurement_survives_as_arrays_bit_for_bit():
    made = measured()
    again = Measurement("real", count=COUNT, extractors=made.extractors, known=arrays(made))
    assert again.complete
    assert not made.complete
    assert (again.count, again.shape, again.sides()) == (COUNT, (1, 32, 32), made.sides())
    assert bits(again) == bits(made)
    assert figures(again) == figures(made)


@pytest.mark.parametrize("part", [IMAGES, "random"])
def test_a_part_that_is_known_is_not_measured_again_and_the_other_is(part):
    made = measured()
    again = measured(known={part: made.to_arrays(part)})
    assert not again.complete
    assert again.known == {part}
    assert again.count == COUNT
    assert bits(again) == bits(made)


def test_a_complete_measurement_looks_at_no_image():
    known = arrays(measured())
    again = measured(known=known, given=images(seed=2))
    assert again.count == COUNT
    assert bits(again) == bits(measured())
