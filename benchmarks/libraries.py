"""The other side of evaluate.py: torch-fidelity's figures and the package prdc's, and Inception's architecture."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

BATCH = 64
WIDE = 2048  # features of Inception


def save_weights(path: Path) -> None:
    """Write random weights of torch-fidelity's InceptionV3 that keep the scale of what passes through."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    kind = theirs.FeatureExtractorInceptionV3
    stream = torch.Generator().manual_seed(0)
    with (
        patch.object(theirs, "load_state_dict_from_url", lambda *a, **k: {}),
        patch.object(kind, "load_state_dict", lambda self, state: None),
    ):
        state = kind("inception-v3-compat", ["2048"]).state_dict()
    for value in state.values():
        if value.ndim == 4:
            value.normal_(std=(2 / value[0].numel()) ** 0.5, generator=stream)
    torch.save(state, path)


class Bytes(torch.utils.data.Dataset[Tensor]):
    """Images as torch-fidelity takes them: (3, h, w), 0 ... 255."""

    def __init__(self, images: Tensor) -> None:
        from medsynth.metrics.inception import to_rgb8

        self.images = to_rgb8(images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def __len__(self) -> int:
        return len(self.images)


def fidelity(fake: Tensor, real: Tensor, *, weights: Path) -> dict[str, float]:
    """torch-fidelity's figures; the generated images are its first input."""
    from torch_fidelity import calculate_metrics

    return calculate_metrics(
        input1=Bytes(fake),
        input2=Bytes(real),
        feature_extractor="inception-v3-compat",  # for precision and recall too, which would take VGG16
        feature_layer_prc=str(WIDE),
        feature_extractor_weights_path=str(weights),
        batch_size=BATCH,
        kid_subset_size=min(1_000, len(fake)),
        **dict.fromkeys(("fid", "kid", "prc", "isc"), True),
        **dict.fromkeys(("cuda", "cache", "verbose"), False),
    )


def theirs_of_features(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Fréchet and kernel distance of torch-fidelity, the other four of prdc, which prints what it was given."""
    from prdc import compute_prdc
    from torch_fidelity import metric_fid, metric_kid

    sides = [metric_fid.fid_features_to_statistics(features.double()) for features in (real, fake)]
    frechet = metric_fid.fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"]
    options = {"kid_subsets": 100, "kid_subset_size": min(1_000, len(real)), "verbose": False}
    kernel = metric_kid.kid_features_to_metric(real.double(), fake.double(), **options)
    with redirect_stdout(StringIO()):
        found = compute_prdc(real.double().numpy(), fake.double().numpy(), nearest_k=5)
    return {
        "frechet": frechet,
        "kernel": kernel["kernel_inception_distance_mean"],
        **{name: float(value) for name, value in found.items()},
    }
