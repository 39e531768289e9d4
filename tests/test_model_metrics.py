"""Whom a run's critic knows, and what truncation trades: with a critic of one number and a generator of one grey."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medsynth.attributes import Attributes
from medsynth.checkpoint import LoadedRun, load_run
from medsynth.errors import UserError
from medsynth.metrics.entries import entry
from medsynth.metrics.suite import Yardstick
from medsynth.model_metrics import membership_finding, realness, truncation_sweep
from medsynth.subjects import load
from medsynth.synthesis import SynthesisModule

ATTRIBUTES = Attributes(["a", "b"], [20, 20], ["age"], [[0.0, 100.0]], [[[0.0, 100.0]], [[0.0, 100.0]]])
RANGES = [[0.0, 1.0]]


class Model(SynthesisModule):
    """Images of the latent's squashed mean; how real one is, is what `judge` says of its batch."""

    latent_dim = 4

    def __init__(self, judge: Any = None, *, normalises: bool = False) -> None:
        super().__init__()
        self.judge, self.part = judge, torch.nn.Identity()
        self.part.normalises_latents = normalises

    def players(self) -> Any:
        return {}

    def phases(self) -> Any:
        return []

    def generate(self, request: Any) -> torch.Tensor:
        grey = request["latent"].mean(dim=1).tanh()[:, None, None, None]
        return torch.cat([grey, -grey], dim=1).expand(-1, 2, 16, 16)

    def realness(self, batch: Any, *, masks: int = 0) -> torch.Tensor | None:
        return None if self.judge is None else self.judge(batch, masks)


class MemoryPack:
    """Ten patients of four images; image k holds k / 100, and a mask behind it when asked for."""

    def __init__(self, *, masks: bool = False, usable: Any = None, unseen: int = 3) -> None:
        n, cut = 40, 4 * (10 - unseen)
        self.content, self.mask_channel, self.usable, self.provides = "abc", masks, usable, {"image", "label"}
        self.patients, self.labels = np.repeat([f"p{i}" for i in range(10)], 4), np.arange(n) % 2
        self.covariates = np.arange(n)[:, None].astype(np.float64)
        rest = np.arange(cut, n)
        self.splits = {"train": np.arange(cut), "val": rest[: len(rest) // 2], "test": rest[len(rest) // 2 :]}

    def targets(self, indices: np.ndarray) -> torch.Tensor:
        image = (torch.from_numpy(np.asarray(indices)) / 100).float()[:, None, None, None].expand(-1, 1, 16, 16)
        return torch.cat([image, -torch.ones_like(image)], dim=1) if self.mask_channel else image


def loaded(judge: Any = None, *, content: str = "abc", normalises: bool = False) -> LoadedRun:
    return LoadedRun(
        model=Model(judge, normalises=normalises),
        config={},
        checkpoint=Path("last.ckpt"),
        images_seen=0,
        class_names=["a", "b"],
        pack_key="",
        pack_content=content,
        intensity={},
        ranges=RANGES,
        spacing=None,
        attributes=ATTRIBUTES,
    )


def grey(batch: Any, masks: int) -> torch.Tensor:
    return batch["image"][:, 0, 0, 0]


# ------------------------------------------------------------------------------------------------ membership


def test_a_critic_that_knows_its_training_images_is_caught():
    found = membership_finding(loaded(lambda batch, masks: -grey(batch, masks)), MemoryPack(), count=100)
    assert (found.value, found.real) == (1.0, 0.5)
    assert found.interval == (1.0, 1.0)
    assert found.extra == {"accuracy": 1.0, "chance": 28 / 40, "n_train": 28, "n_unseen": 12, "leaks": True}
    made = entry(found, n_real=1, n_fake=1, real_split="train")
    assert (made["value"], made["real_against_real"], made["leaks"]) == (1.0, 0.5, True)


def test_a_critic_that_says_the_same_of_all_knows_nobody():
    found = membership_finding(loaded(lambda batch, masks: 0 * grey(batch, masks)), MemoryPack(), count=100)
    assert (found.value, found.extra["leaks"]) == (0.5, False)


def test_critics_get_masks_labels_and_covariates_as_in_training():
    seen = []

    def judge(batch: Any, masks: int) -> torch.Tensor:
        seen.append((batch, masks))
        return grey(batch, masks)

    indices = np.array([0, 5, 25, 39])
    assert torch.allclose(realness(loaded(judge), MemoryPack(masks=True), indices), torch.tensor([0, 0.05, 0.25, 0.39]))
    ((batch, masks),) = seen
    assert masks == 1
    assert batch["image"].shape == (4, 2, 16, 16)
    assert batch["label"].tolist() == [0, 1, 1, 1]
    assert batch["covariates"].flatten().tolist() == pytest.approx([-1.0, -0.9, -0.5, -0.22])


@pytest.mark.parametrize(
    ("run", "pack", "reason"),
    [
        (loaded(grey, content="other"), MemoryPack(), "images at hand are not those of the training"),
        (loaded(grey), MemoryPack(unseen=0), "no images of unseen patients"),
        (loaded(grey), MemoryPack(usable=np.arange(40) < 28), "no images of unseen patients"),
        (loaded(), MemoryPack(), "no critic"),
        (loaded(lambda batch, masks: grey(batch, masks) / 0), MemoryPack(), "NaN or infinite"),
    ],
)
def test_what_cannot_be_told_is_a_reason(run: Any, pack: Any, reason: str):
    found = membership_finding(run, pack, count=100)
    assert found.value is None
    assert found.reason is not None
    assert reason in found.reason


def test_a_run_is_asked_about_its_own_pack(run: Any):
    result = run("run", "images=64", model="projection")
    trained, pack = load(Path(result["run_dir"]), checkpoint="last", root=None)
    found = membership_finding(trained, pack, count=20)
    assert found.value is not None
    assert 0 <= found.value <= 1
    assert (found.extra["n_train"], found.extra["n_unseen"] > 0) == (20, True)
    assert membership_finding(trained, pack, count=20) == found
    other = replace(trained, pack_content="other")
    assert membership_finding(other, pack, count=20).value is None


# ------------------------------------------------------------------------------------------------ truncation


def spread(images: Any) -> dict[str, Any]:
    """A judge whose Fréchet distance is the spread of all values, and who finds no other figures."""
    values = torch.cat(list(images))
    assert values.shape == (12, 1, 16, 16)  # without the second channel
    return {"insufficient": {"frechet_random_12": {"value": values.std().item()}, "ms_ssim_12": {"value": 0.5}}}


def test_a_sweep_begins_without_truncation_and_says_what_each_one_gives():
    found = truncation_sweep(loaded(), spread, (1.0, 0.5, 0.0), count=12, seed=1, mode="psi")
    assert found.reason is None
    steps = [(row["truncation"], row["mode"]) for row in found.rows]
    assert steps == [(None, None), (1.0, "psi"), (0.5, "psi"), (0.0, "psi")]
    plain, same, half, none = (row["frechet"] for row in found.rows)
    assert plain == same > half > none == 0
    assert {key: found.rows[0][key] for key in ("kid", "precision", "recall", "ms_ssim")} == {
        "kid": None,
        "precision": None,
        "recall": None,
        "ms_ssim": 0.5,
    }


def test_a_sweep_resamples_as_generate_does_where_nobody_says():
    found = truncation_sweep(loaded(), spread, (1.0,), count=12)
    assert [(row["truncation"], row["mode"]) for row in found.rows] == [(None, None), (1.0, "resample")]
    assert found.rows[0]["frechet"] > found.rows[1]["frechet"]
    with pytest.raises(UserError, match="truncation=0 must be a number of at least"):
        truncation_sweep(loaded(), spread, (0,), count=12)


def test_a_generator_that_normalises_latents_gives_no_rows_but_a_reason():
    found = truncation_sweep(loaded(normalises=True), spread, (0.5,), count=12, mode="psi")
    assert found.rows == []
    assert found.reason is not None
    assert "brings latents to one length" in found.reason
    assert len(truncation_sweep(loaded(normalises=True), spread, (0.5,), count=12).rows) == 2


def test_a_yardstick_judges_a_sweep_of_a_run(run: Any):
    trained = load_run(run("run", "images=64")["run_dir"])
    real = torch.rand(2, 12, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    config = {"count": 12, "extractors": ["random"]}
    yardstick = Yardstick(reference=[real[0]], held_out=[real[1]], config=config)
    found = truncation_sweep(trained, yardstick.judge, (0.5,), count=12)
    assert len(found.rows) == 2
    assert all(
        isinstance(value, float)
        for row in found.rows
        for key, value in row.items()
        if key not in ("mode", "truncation")
    )
    assert found.rows[0]["ms_ssim"] < found.rows[1]["ms_ssim"]  # truncated images are more alike
