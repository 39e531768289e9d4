"""Privacy: planted copies are flagged, fresh real images are not, and a critic that remembers is caught."""

import numpy as np
import pytest
import torch
from phantom_slices import slices

from medsynth.metrics.copies import nearest_copy
from medsynth.metrics.nearest import Nearest, nearest, thumbnails
from medsynth.metrics.privacy import authenticity, duplicates, membership, neighbour_distance

PLANTED = {
    "exact": lambda x: x,
    "slightly noisy": lambda x: x + 0.06 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
    "mirrored": lambda x: x.flip(-1),
    "moved by 2 pixels": lambda x: x.roll((2, 2), (-2, -1)),
    "a little brighter": lambda x: x + 0.08,
    "mirrored, moved and brighter": lambda x: x.flip(-1).roll(2, -1) * 0.95 + 0.05,
}


def search(images, train):
    return nearest_copy(thumbnails(images), thumbnails(train), channels=1)


@pytest.fixture(scope="module")
def sets():
    """Training, unseen and fresh real phantoms of different patients, and the patient of each unseen one."""
    images, owners = slices(50)
    train, unseen, fresh = owners < 24, (owners >= 24) & (owners < 40), owners >= 40
    return images[train], images[unseen], images[fresh], owners[unseen]


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_copies_are_flagged(sets, kind):
    train, unseen, fresh, owners = sets
    planted = PLANTED[kind](train[5:15]).clamp(-1, 1)
    found = duplicates(search(torch.cat([fresh, planted]), train), search(unseen, train), unseen_groups=owners)
    assert set(found.copies) == set(range(len(fresh), len(fresh) + 10))
    assert found.rate > found.normal[1]


def test_fresh_real_images_are_not(sets):
    train, unseen, fresh, owners = sets
    found = duplicates(search(fresh, train), search(unseen, train), unseen_groups=owners)
    assert found.copies == []
    assert found.rate <= found.normal[1]


def test_new_images_are_flagged_as_often_as_expected():
    stream = torch.Generator().manual_seed(0)

    def drawn(count):
        return Nearest(torch.rand(count, generator=stream), torch.zeros(count, dtype=torch.long))

    rates = [duplicates(drawn(2000), drawn(299)).rate for _ in range(40)]
    assert sum(rates) / len(rates) == pytest.approx(0.01, abs=0.003)
    assert duplicates(drawn(10), drawn(299)).expected == pytest.approx(0.01)


def test_flagged_images_come_nearest_first_and_few_patients_have_no_normal_range():
    fake = Nearest(torch.tensor([0.9, 0.2, 0.04, 0.1]), torch.zeros(4, dtype=torch.long))
    unseen = Nearest(torch.tensor([0.2, 0.5, 0.6]), torch.zeros(3, dtype=torch.long))
    found = duplicates(fake, unseen, unseen_groups=np.array([0, 1, 2]))
    assert (found.flagged, found.copies, found.normal) == ([2, 3, 1], [2, 3], None)


def test_copies_are_not_authentic_and_far_images_are():
    train = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    thumbs = thumbnails(slices(50)[0])
    assert authenticity(nearest(thumbs, thumbs), thumbs) == 0
    far = Nearest(torch.full((3,), 100.0), torch.arange(3))
    assert authenticity(far, train) == 1


def test_independent_points_of_a_line_are_authentic_a_third_of_the_time():
    stream = torch.Generator().manual_seed(0)
    train, new = torch.rand(4000, 1, generator=stream), torch.rand(4000, 1, generator=stream)
    distance, index = (new - train.T).abs().min(dim=1)
    assert authenticity(Nearest(distance, index), train) == pytest.approx(1 / 3, abs=0.03)


def test_neighbours_of_the_same_patient_do_not_count_when_patients_are_known():
    train = torch.tensor([[0.0], [0.1], [5.0], [9.0]])
    rows = torch.tensor([0, 3])
    assert neighbour_distance(train, rows).tolist() == pytest.approx([0.1, 4.0])
    assert neighbour_distance(train, rows, groups=np.array([0, 0, 1, 1])).tolist() == pytest.approx([5.0, 8.9])
    assert neighbour_distance(train, rows, groups=np.zeros(4)).tolist() == [torch.inf] * 2


def test_noisy_copies_of_slices_pass_as_authentic_unless_patients_are_known():
    images, owners = slices(50)
    near = images.roll(1, 0).lerp(images, 0.97)  # a slice with a trace of its neighbour
    thumbs = thumbnails(images)
    assert authenticity(nearest(thumbnails(near), thumbs), thumbs, groups=owners) < 0.1


def test_the_neighbour_search_goes_through_every_chunk(monkeypatch):
    train = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(30)
    once = neighbour_distance(train, rows)
    monkeypatch.setattr("medsynth.metrics.privacy.CHUNK", 7)
    monkeypatch.setattr("medsynth.metrics.privacy.ROWS", 4)
    torch.testing.assert_close(neighbour_distance(train, rows), once)
    torch.testing.assert_close(
        once, torch.cdist(train.double(), train.double()).fill_diagonal_(9).min(dim=1).values / 2
    )


def test_a_critic_that_remembers_is_caught_and_one_that_does_not_is_not():
    stream = torch.Generator().manual_seed(0)
    groups = [np.repeat(np.arange(30), 5), np.repeat(np.arange(12), 5)]
    train, unseen = torch.randn(150, generator=stream), torch.randn(60, generator=stream)
    innocent = membership(train, unseen, train_groups=groups[0], unseen_groups=groups[1])
    guilty = membership(train + 2, unseen, train_groups=groups[0], unseen_groups=groups[1])
    assert innocent.leaks is False
    assert guilty.leaks is True
    assert guilty.auc == pytest.approx(0.92, abs=0.04)  # of normals two deviations apart: Phi(sqrt 2)
    assert guilty.accuracy > innocent.accuracy
    assert innocent.chance == pytest.approx(150 / 210)


def test_a_critic_that_says_the_same_of_all_knows_nobody():
    flat = membership(torch.ones(3), torch.ones(5), train_groups=np.arange(3), unseen_groups=np.arange(5))
    assert flat.auc == 0.5
    assert flat.accuracy == flat.chance == 3 / 8
    assert flat.leaks is False
