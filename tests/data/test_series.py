import numpy as np
import pytest

from medsynth.data.series import (
    Looks,
    group_duplicates,
    group_patients,
    group_series,
    normalise,
    series_likeness,
    walk_series,
)


def looks_of(thumbnails: np.ndarray, digests: list[str] | None = None) -> Looks:
    normal = normalise(thumbnails.astype(np.float32))
    return Looks(normal, digests or [str(row.tobytes()) for row in thumbnails])


def blends(a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """Slices that move slowly from a to b."""
    return np.stack([a + (b - a) * k / steps for k in range(steps)])


@pytest.fixture
def anatomy() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (40, 256)).astype(np.float32)


def test_a_dot_product_of_normalised_thumbnails_is_their_correlation(anatomy: np.ndarray) -> None:
    normal = normalise(anatomy[:5])
    np.testing.assert_allclose(normal @ normal.T, np.corrcoef(anatomy[:5]), atol=1e-5)
    assert not normalise(np.full((1, 9), 0.3, dtype=np.float32)).any()


def test_a_drop_of_correlation_starts_a_series_and_a_flat_image_does_not(anatomy: np.ndarray) -> None:
    black = np.zeros((1, 256))
    slices = np.concatenate([blends(anatomy[0], anatomy[1], 9)[:4], black, blends(anatomy[0], anatomy[1], 9)[5:8]])
    other = blends(anatomy[2], anatomy[3], 9)[:5]
    series = walk_series(normalise(np.concatenate([black, slices, other]).astype(np.float32)))
    assert series.tolist() == [0] * 9 + [1] * 5


def test_series_are_walked_in_file_number_order_with_gaps_and_within_a_class(anatomy: np.ndarray) -> None:
    slices = np.concatenate([blends(anatomy[0], anatomy[1], 8)[:6], blends(anatomy[2], anatomy[3], 8)[:6]])
    numbers = [1, 2, 4, 8, 9, 10, 11, 12, 20, 21, 22, 23]
    order = np.random.default_rng(1).permutation(12)
    groups = group_series(["Cyst"] * 12, [numbers[i] for i in order], looks_of(slices[order]))
    expected = [f"Cyst {'1-10' if i < 6 else '11-23'}" for i in order]
    assert groups.patients == expected
    halves = group_series(["A"] * 3 + ["B"] * 9, numbers, looks_of(slices))
    assert len({(p, c) for p, c in zip(halves.patients, "AAABBBBBBBBB", strict=True)}) == 3


def test_series_that_share_an_identical_image_are_one_even_across_classes(anatomy: np.ndarray) -> None:
    slices = np.concatenate([blends(anatomy[2 * k], anatomy[2 * k + 1], 9)[:5] for k in range(4)])
    slices[12] = slices[3]
    groups = group_series(["A"] * 10 + ["B"] * 10, list(range(20)), looks_of(slices))
    assert groups.patients[12] == groups.patients[3]
    assert "identical" in groups.report["joined"][0]


def test_a_majority_of_near_identical_slices_joins_series(anatomy: np.ndarray) -> None:
    run = blends(anatomy[0], anatomy[1], 12)[:6]
    noise = np.random.default_rng(2).normal(0, 0.01, run.shape)
    others = np.concatenate([blends(anatomy[2 * k], anatomy[2 * k + 1], 12)[:6] for k in (2, 3, 4)])
    slices = np.concatenate([run, others, run + noise])
    groups = group_series(["A"] * len(slices), list(range(len(slices))), looks_of(slices))
    assert len(set(groups.patients)) == 4
    assert groups.patients[0] == groups.patients[-1]


def test_a_chain_of_single_likenesses_does_not_swallow_a_class(anatomy: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    ends = [(k, k + 1) for k in (0, 2, 4, 6, 1, 3, 5, 7)]  # each ends where another one, not its neighbour, begins
    slices = np.concatenate([blends(anatomy[a], anatomy[b], 12) for a, b in ends])
    slices = np.concatenate([slices, anatomy[1:9]])[:96] + rng.normal(0, 0.005, (96, 256))
    slices[11::12] = [anatomy[b] for _, b in ends] + rng.normal(0, 0.005, (8, 256))
    groups = group_series(["A"] * len(slices), list(range(len(slices))), looks_of(slices))
    sizes = np.unique(groups.patients, return_counts=True)[1]
    assert 2 * sizes.max() <= len(slices)
    assert any("stay apart" in warning for warning in groups.warnings)


def test_likeness_counts_slices_with_a_near_identical_one(anatomy: np.ndarray) -> None:
    thumbnails = normalise(np.concatenate([anatomy[:4], anatomy[2:4], anatomy[10:12]]))
    shares, best = series_likeness(np.array([0, 0, 0, 0, 1, 1, 2, 2]), thumbnails)
    np.testing.assert_allclose(shares[:2, :2], [[1, 0.5], [1, 1]])
    assert shares[0, 2] == shares[2, 1] == 0
    assert best[0, 1] == pytest.approx(1, abs=1e-5)


def test_exact_and_near_duplicates_are_one_group(anatomy: np.ndarray) -> None:
    thumbnails = np.concatenate([anatomy[:6], anatomy[:1], anatomy[1:2] + 0.01 * anatomy[30:31]])
    groups = group_duplicates([f"{i}.png" for i in range(8)], looks_of(thumbnails))
    assert groups.patients == ["0.png", "1.png", "2.png", "3.png", "4.png", "5.png", "0.png", "1.png"]
    assert groups.report["surplus_identical_images"] == 1


def test_images_of_one_colour_are_no_duplicates() -> None:
    groups = group_duplicates(["a", "b", "c"], looks_of(np.zeros((3, 16)), ["x", "x", "x"]))
    assert len(set(groups.patients)) == 3


def test_a_snowballing_group_falls_apart_but_identical_images_stay_together(anatomy: np.ndarray) -> None:
    chain = blends(anatomy[0], anatomy[1], 300)
    thumbnails = np.concatenate([chain, chain[:1]])
    groups = group_duplicates([str(i) for i in range(301)], looks_of(thumbnails))
    assert groups.patients[0] == groups.patients[300]
    assert np.unique(groups.patients, return_counts=True)[1].max() <= 50
    assert groups.warnings


def test_patients_who_share_an_identical_image_are_one(anatomy: np.ndarray) -> None:
    thumbnails = np.concatenate([anatomy[:4], anatomy[:1], anatomy[5:7]])
    groups = group_patients(["p", "p", "q", "r", "q", None, None], [f"{i}.png" for i in range(7)], looks_of(thumbnails))
    assert groups.patients == ["p", "p", "p", "r", "p", "image 5.png", "image 6.png"]
