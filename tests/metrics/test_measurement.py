"""One pass over an image set: what it leaves behind survives as arrays, whole or in part, to the last bit."""

import pickle
from itertools import pairwise

import numpy as np
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


def test_the_first_images_of_a_measurement_are_what_measuring_them_alone_gives():
    made = measured().first(6)
    alone = Measurement("real", count=6, extractors={"random": RandomConvolutions(1)})
    alone.update(images())
    assert (made.count, made.shape, made.sides()) == (6, alone.shape, alone.sides())
    for part, wanted in arrays(alone).items():
        for name, array in wanted.items():
            np.testing.assert_allclose(made.to_arrays(part)[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("cuts", [(7,), (1, 19), (5, 5, 12)])
def test_parts_measured_on_several_ranks_are_put_together(cuts):
    whole, parts = measured(), []
    for first, last in pairwise((0, *cuts, COUNT)):
        part = Measurement("real", count=COUNT, extractors={"random": RandomConvolutions(1)}, first=first)
        for batch in images()[first:last].split(3):
            part.update(batch)
        parts.append(pickle.loads(pickle.dumps(part)) if parts else part)  # as they travel between processes
    for part in parts[1:]:
        parts[0].append(part)
    found, wanted = arrays(parts[0]), arrays(whole)
    assert parts[0].count == COUNT
    for name, array in wanted[IMAGES].items():
        np.testing.assert_array_equal(found[IMAGES][name], array, err_msg=name)
    for name, array in wanted["random"].items():
        np.testing.assert_allclose(found["random"][name], array, rtol=1e-6, atol=1e-6, err_msg=name)


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
