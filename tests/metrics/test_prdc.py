"""Precision, recall, density and coverage: the authors' package, their orientation, and their intervals."""

import pytest
import torch

from medsynth.metrics import prdc
from medsynth.metrics.bootstrap import interval, resample
from medsynth.metrics.prdc import neighbour_deviations, neighbours
from medsynth.metrics.undefined import Undefined

NAMES = ("precision", "recall", "density", "coverage")


def features(count, dimension=8, *, seed, scale=1.0, shift=0.0):
    drawn = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))
    return drawn * scale + shift


def ours(real, fake, **options):
    found = neighbours(real, fake, **options)
    return {name: getattr(found, name) for name in NAMES}


@pytest.mark.parametrize(
    ("n", "m", "dimension", "k"),
    [(300, 300, 8, 5), (300, 150, 8, 5), (130, 400, 32, 3), (90, 60, 64, 1), (40, 30, 4, 9)],
)
def test_figures_equal_the_prdc_package_exactly(n, m, dimension, k):
    from prdc import compute_prdc

    real, fake = features(n, dimension, seed=0), features(m, dimension, seed=1, scale=0.9, shift=0.2)
    theirs = compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
    found = ours(real, fake, k=k)
    assert found == pytest.approx({name: float(theirs[name]) for name in NAMES}, rel=1e-12)


@pytest.mark.parametrize(("rows", "columns", "queries"), [(7, 11, 5), (11, 7, 64), (64, 64, 1)])
def test_blocks_of_any_size_count_the_same(rows, columns, queries, monkeypatch):
    real, fake = features(60, 8, seed=0), features(50, 8, seed=1, scale=0.9, shift=0.2)
    whole = neighbours(real, fake)
    for name, size in (("ROWS", rows), ("COLUMNS", columns), ("QUERIES", queries)):
        monkeypatch.setattr(prdc, name, size)
    found = neighbours(real, fake)
    for name in ("balls", "guests", "hosts"):
        assert getattr(found, name).tolist() == getattr(whole, name).tolist()


def test_a_large_common_mean_changes_nothing():
    from prdc import compute_prdc

    real, fake = features(200, seed=0).double(), features(200, seed=1, scale=0.8).double()
    theirs = compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    assert ours(real + 1e4, fake + 1e4) == pytest.approx({name: float(theirs[name]) for name in NAMES}, rel=1e-12)


def test_a_tight_cluster_in_a_wide_one_has_precision_and_no_recall():
    wide, tight = features(300, seed=0), features(300, seed=1, scale=0.05)
    assert ours(wide, tight)["precision"] == 1
    assert ours(wide, tight)["recall"] < 0.05
    assert ours(wide, tight)["coverage"] < 0.2
    assert ours(tight, wide)["precision"] < 0.05
    assert ours(tight, wide)["recall"] == 1


def test_equal_distributions_have_a_density_of_about_one():
    found = ours(features(1000, 4, seed=0), features(1000, 4, seed=1))
    assert found["density"] == pytest.approx(1, abs=0.06)
    assert found["coverage"] > 0.95


def test_three_points_on_a_line_by_hand():
    real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [2.0], [9.0]])
    found = neighbours(real, fake, k=1)  # real balls: 0 +- 1, 1 +- 1, 3 +- 2; synthetic: 0.5 +- 1.5, 2 +- 1.5, 9 +- 7
    assert found.balls.tolist() == [2, 1, 0]  # 2 lies on the edge of the second ball, which is outside
    assert found.guests.tolist() == [1, 1, 1]
    assert found.hosts.tolist() == [1, 2, 2]


def test_copies_lie_on_edges_and_the_edge_is_outside():
    real = features(60, 16, seed=0)
    found = neighbours(real, real.clone(), k=3)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    distances = torch.cdist(real.double(), real.double())
    radii = distances.sort(dim=1).values[:, 3] * (1 - 1e-9)
    assert found.balls.tolist() == (distances < radii[:, None]).sum(dim=0).tolist()


def test_rows_that_single_precision_cannot_order_are_measured_whole(monkeypatch):
    real, fake = features(200, seed=0), features(200, seed=1)
    expected = ours(real, fake)
    monkeypatch.setattr(prdc, "DOUBT", 1e3)
    assert ours(real, fake) == expected


def test_a_collapsed_generator_has_precision_and_no_recall():
    real = features(80, seed=0)
    found = neighbours(real, real[:1].expand(60, -1))
    assert (found.precision, found.recall) == (1, 0)
    assert found.coverage < 0.2
    assert neighbours(real[:1].expand(60, -1), real).coverage == 0


def test_as_few_images_as_neighbours_are_refused_in_words():
    with pytest.raises(Undefined, match="5 images of a side have no 5 neighbours each; judge more than 5 a side"):
        neighbours(features(5, seed=0), features(50, seed=1))


def test_only_the_first_vectors_are_looked_at(monkeypatch):
    monkeypatch.setattr(prdc, "MOST", 100)
    real, fake = features(150, seed=0), features(120, seed=1)
    assert ours(real, fake) == ours(real[:100], fake[:100])


def test_draws_spread_as_new_samples_do():
    samples = [ours(features(150, seed=2 * s), features(150, seed=2 * s + 1, scale=0.8)) for s in range(60)]
    drawn = (resample(range(150), name=side, rounds=60) for side in ("real", "fake"))
    found = neighbour_deviations(features(150, seed=500), features(150, seed=501, scale=0.8), *drawn)
    for name in NAMES:
        true = torch.tensor([sample[name] for sample in samples]).std().item()
        assert 0.5 * true < found[name].std().item() < 2 * true
    low, high = interval(samples[0]["recall"], found["recall"], least=0.0, most=1.0)
    assert 0 <= low < samples[0]["recall"] < high <= 1
