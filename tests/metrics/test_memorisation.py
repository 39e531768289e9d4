"""Memorisation as it is judged: turned and noisy training images are suspected, new patients' images are not."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from phantom_slices import slices

from medsynth.metrics.memorisation import Unseen, nearest_finding, private_findings
from medsynth.metrics.nearest import Nearest, nearest, thumbnails
from medsynth.metrics.suite import Patients, Yardstick
from medsynth.report.memorised import memorisation

CONFIG = {"count": 72, "extractors": ["random"]}


def turned(images, degrees):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(images), 2, 3)
    places = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, places, padding_mode="border", align_corners=False)


def noisy(images, deviation):
    return (images + deviation * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


@pytest.fixture(scope="module")
def sets():
    """Training, unseen and fresh real phantoms of different patients, and the patient of each image."""
    images, owners = slices(70)
    parts = owners < 24, (owners >= 24) & (owners < 40), owners >= 40
    return [images[part] for part in parts], [owners[part] for part in parts]


@pytest.fixture(scope="module")
def judged(sets):
    """The point on memorisation of synthetic images, by so many unseen images."""
    (train, unseen, _), owners = sets

    def judge(fake, *, count=48, more=None):
        others = unseen[:count] if more is None else torch.cat([unseen[:count], more])
        groups = np.concatenate([owners[1][:count], np.arange(900, 900 + len(others) - count)])
        yardstick = Yardstick(
            reference=[train],
            held_out=None,
            train=[train],
            unseen=[others],
            patients=Patients(owners[0], owners[0], groups),
            config=CONFIG,
            thorough=True,
        )
        return yardstick.judge([fake])

    return judge


def test_images_of_new_patients_are_good(sets, judged):
    point = memorisation(judged(sets[0][2]))
    assert point.tone == "good"
    assert "No copy of one of 72 training images" in point.text


@pytest.mark.parametrize("count", [48, 24])
def test_turned_training_images_are_suspected_however_few_patients_are_unseen(count, sets, judged):
    point = memorisation(judged(turned(sets[0][0], 5), count=count))
    assert point.tone in ("mixed", "poor")
    assert ("92% look like noisy versions" if count == 48 else "By their pixels alone, 53%") in point.text


@pytest.mark.parametrize("change", [lambda x: noisy(x, 0.2), lambda x: turned(x, 3)], ids=["noisy", "turned"])
def test_a_whole_set_of_slightly_changed_training_images_is_poor(change, sets, judged):
    assert memorisation(judged(change(sets[0][0]))).tone == "poor"


def test_too_few_unseen_patients_make_nothing_good(sets, judged):
    point = memorisation(judged(sets[0][2], count=9))
    assert point.tone == "unknown"
    assert "too few unseen patients (3)" in point.text


def test_a_leaked_image_hides_no_copies_and_is_warned_of(sets, judged):
    train = sets[0][0]
    fake = torch.cat([noisy(train[:10], 0.1), sets[0][2]])
    alone, leaked = judged(fake), judged(fake, more=train[:1])
    changed = [{**judgement, **judgement["insufficient"]}["duplicates_72"] for judgement in (alone, leaked)]
    assert changed[0] == changed[1]
    assert memorisation(leaked).tone == "poor"
    assert "1 of 49 unseen images is among the training images too" in " ".join(leaked["warnings"])
    assert not any("training images too" in line for line in alone["warnings"])


def test_unseen_images_that_are_the_training_images_calibrate_nothing(sets):
    train = thumbnails(sets[0][0])
    same = Unseen(train, nearest(train, train), None)
    found = nearest_finding(nearest(train, train), same, n_train=72, thorough=True)
    assert (found.extra["copies"], found.extra["copies_unseen"], found.extra["n_unseen"]) == (72, 72, 72)
    assert "near" not in found.extra
    private = private_findings(train, train, same, groups=None, channels=1)
    assert {one.reason for one in private.values()} == {"every unseen image is a training image"}


def test_leaving_out_copies_keeps_patients_beside_their_images():
    found = Nearest(torch.tensor([0.2, 0.0, 0.3]), torch.tensor([4, 5, 6]))
    shown = torch.arange(3, dtype=torch.uint8)[:, None]
    kept = Unseen(shown, found, np.array(["a", "b", "c"])).without_copies()
    assert kept is not None
    assert kept.thumbnails.flatten().tolist() == [0, 2]
    assert kept.nearest.index.tolist() == [4, 6]
    assert kept.groups.tolist() == ["a", "c"]
