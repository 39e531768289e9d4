"""Where synthetic images lie among real ones by t-SNE or UMAP, from libraries that not everybody needs."""

from importlib.util import find_spec

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from medsynth.errors import UserError
from medsynth.metrics.embedding import principal_axes
from medsynth.metrics.frechet import moments

TITLES = {"tsne": "t-SNE", "umap": "UMAP"}
LIBRARIES = {"tsne": "sklearn", "umap": "umap"}
COMPONENTS = 50  # features are brought to so many first, as van der Maaten and Hinton do
PERPLEXITY, NEIGHBOURS = 30, 15  # the libraries' own, and fewer of few images
FEWEST = 5  # images of both sides together


def check_method(method: str) -> None:
    """Raise UserError unless `method` is tsne or umap and its library is installed."""
    if method not in TITLES:
        raise UserError(f"embedding={method} is unknown; choices: pca, {', '.join(TITLES)}")
    if find_spec(LIBRARIES[method]) is None:
        raise UserError(f"embedding={method} needs a library that is missing: pip install 'medsynth-gan[embedding]'")


def neighbour_map(
    real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], *, method: str, seed: int = 0
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "m 2"]] | None:
    """Features of both sides in one plane where neighbours stay neighbours; None for fewer than 5 images together.

    Near points are alike. How far groups lie apart and how large they are says nothing, nor do two maps compare: for
    that, see `medsynth.metrics.embedding.principal_axes`.

    Args:
        method: tsne (van der Maaten and Hinton 2008) or umap (McInnes et al. 2018, arXiv:1802.03426).
        seed: of the map. The same features and seed give the same map, on one machine.
    """
    if len(real) + len(fake) < FEWEST:
        return None
    features = torch.cat([real, fake]).cpu()
    if features.shape[1] > COMPONENTS:
        features = principal_axes(moments(features), count=COMPONENTS).project(features)
    place = _tsne if method == "tsne" else _umap
    placed = torch.from_numpy(place(features.float().numpy(), seed)).double()
    return placed[: len(real)], placed[len(real) :]


def _tsne(features: ndarray, seed: int) -> ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)


def _umap(features: ndarray, seed: int) -> ndarray:
    from umap import UMAP  # pyright: ignore[reportMissingImports]  # of the extra `embedding`

    near = min(NEIGHBOURS, len(features) - 1)
    return UMAP(n_neighbors=near, random_state=seed, n_jobs=1).fit_transform(features)
