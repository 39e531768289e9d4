"""Maps of neighbours: t-SNE and UMAP of both sides together."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from medsynth.errors import UserError
from medsynth.metrics.neighbour_map import check_method, neighbour_map


def clusters(count: int, dimension: int = 80) -> torch.Tensor:
    """Two tight clusters of `count` vectors each, far apart."""
    stream = torch.Generator().manual_seed(0)
    centres = 10 * torch.randn(2, 1, dimension, generator=stream)
    return (centres + 0.1 * torch.randn(2, count, dimension, generator=stream)).flatten(0, 1)


def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """A umap-learn that places points by their first two features and notes how it was made."""
    made: list[dict[str, object]] = []

    class UMAP:
        def __init__(self, **options: object) -> None:
            made.append(options)

        def fit_transform(self, features: np.ndarray) -> np.ndarray:
            made[-1]["shape"] = features.shape
            return features[:, :2]

    module = ModuleType("umap")
    module.UMAP = UMAP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    return made


def test_tsne_keeps_neighbours_together_and_repeats_itself():
    pytest.importorskip("sklearn")
    features = clusters(20)
    real, fake = features[::2], features[1::2]  # of each cluster ten
    placed = neighbour_map(real, fake, method="tsne", seed=3)
    assert placed is not None
    assert [tuple(side.shape) for side in placed] == [(20, 2), (20, 2)]
    for side in placed:
        others = torch.cdist(side, torch.cat(placed))
        nearest = others.argsort(dim=1)[:, 1:10] % 20 < 10  # of either side, which cluster
        assert nearest[:10].all()
        assert not nearest[10:].any()
    again = neighbour_map(real, fake, method="tsne", seed=3)
    assert again is not None
    assert all(torch.equal(a, b) for a, b in zip(placed, again, strict=True))


def test_umap_sees_fifty_components_of_both_sides(monkeypatch: pytest.MonkeyPatch):
    made = stand_in(monkeypatch)
    placed = neighbour_map(clusters(20), clusters(5), method="umap", seed=7)
    assert placed is not None
    assert [len(side) for side in placed] == [40, 10]
    assert made == [{"n_neighbors": 15, "random_state": 7, "n_jobs": 1, "shape": (50, 50)}]
    neighbour_map(clusters(2, dimension=4), clusters(1, dimension=4), method="umap")
    assert made[1] == {"n_neighbors": 5, "random_state": 0, "n_jobs": 1, "shape": (6, 4)}


def test_fifty_components_keep_the_distances_of_vectors_that_span_no_more():
    stream = torch.Generator().manual_seed(0)
    few = torch.randn(40, 3, generator=stream) @ torch.randn(3, 90, generator=stream)
    seen: list[np.ndarray] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medsynth.metrics.neighbour_map._tsne", lambda x, seed: seen.append(x) or x[:, :2])
        neighbour_map(few[:30], few[30:], method="tsne")
    kept, whole = (torch.cdist(x.double(), x.double()) for x in (torch.from_numpy(seen[0]), few))
    assert seen[0].shape == (40, 50)
    torch.testing.assert_close(kept, whole, rtol=1e-4, atol=1e-4)


def test_a_handful_of_images_has_no_map():
    assert neighbour_map(torch.randn(2, 8), torch.randn(2, 8), method="tsne") is None


def test_a_method_is_checked_before_any_work(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="embedding=lle is unknown; choices: pca, tsne, umap"):
        check_method("lle")
    monkeypatch.setattr("medsynth.metrics.neighbour_map.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"embedding=umap needs .* pip install 'medsynth-gan\[embedding\]'"):
        check_method("umap")
    monkeypatch.setattr("medsynth.metrics.neighbour_map.find_spec", lambda name: object())
    check_method("umap")
