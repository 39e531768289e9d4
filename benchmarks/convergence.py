"""Does every model learn what it is shown?   python benchmarks/convergence.py --out DIR [--case NAME] [--models a,b]

Three cases with a known answer, on images of 32x32 that are made here; every model trains as conf/model says, except
that convolutions are WIDTH channels wide and for what RECIPES says, on one thread, and is judged as it goes until its
bar has held twice in a row or the case's BUDGET of this process's CPU time is spent. RECIPES were found on seed 9, that
of began on 9 and 10, that of wgan on 9 to 13.

    blobs      Wasserstein models: a bright blob in one of eight places. Bar: each place has at least 2 % of 2,000
               samples (12.5 % of the training images have it); a sample whose correlation with every blob is below 0.8
               counts for none.
    classes    conditional models: phantoms of four kinds (head MR T1 and T2, abdominal CT, chest X-ray). Bar: at least
               95 % of 400 samples of each class belong to it by a classifier that is right on at least 99 % of
               held-out phantoms.
    phantoms   all other models: kidney CT phantoms. Bar: the kernel distance (KID, random features, 1,000 samples) is
               below that of the model's own untrained generator and that of a Gaussian with the mean and covariance of
               the training pixels.

Each training's record is a file in DIR, and a record that is there is not made again. One JSON object at the end.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from measure import configuration, digits, finish, narrow
from numpy import ndarray

SIDE, WIDTH = 32, 16
BUDGET = {"blobs": 600, "classes": 1_200, "phantoms": 600}  # CPU seconds of training
WASSERSTEIN = (
    "wgan", "wgan_conv", "wgan_linear_conv", "wgan_gp", "wgan_gp_xray", "small_gan", "larger_gan_v1", "larger_gan_v2",
    "cwgan_gp",
)  # fmt: skip
CONDITIONAL = ("cgan", "acgan", "cwgan_gp", "projection", "multi_hinge", "cr3gan", "clapgan")
PLACES, SHARE, CORRELATION = 8, 0.02, 0.8
ASKED, KNOWN = 0.95, 0.99
# For 10 minutes instead of a day.
FASTER: tuple[str, ...] = ("batch_size=32", "optimizer.critic.lr=5e-4", "optimizer.generator.lr=5e-4")
STEADIER = "model.ema_half_life=50_000"
SMOOTHER = "model.generator.network.upsample=nearest"  # grain hides whether white matter is bright, as in T1
APART = (  # without norms and the pulling-away term all images become one
    "batch_size=16", "optimizer.critic.lr=2e-4", "optimizer.generator.lr=1e-3", "lr_half_life=16_000",
    "model.gamma=1", "model.k_step=1e-2", "model.generator.skips=true", "model.generator.norm=batch",
    "model.pulling_away_weight=0.1",
)  # fmt: skip
DARK = (  # the background at once, and without the noise some seeds lose places that they had
    *FASTER, "optimizer.critic.lr=5e-5", "model.generator.norm_first=true",
    "critic_augment.instance_noise={std: 0.6, images: 1_000_000}",
)  # fmt: skip
RECIPES: dict[str, Mapping[str, tuple[str, ...]]] = {
    "blobs": dict.fromkeys(WASSERSTEIN, FASTER)
    | {
        "wgan": DARK,
        "wgan_gp_xray": (*FASTER, "model.critic.dropout=0"),  # a penalised critic must not change from call to call
    },
    "classes": dict.fromkeys(CONDITIONAL, ("batch_size=32",))
    | {
        "acgan": ("batch_size=32", "model.fake_class_weight=0"),  # else images of one class bear another's mark
        "clapgan": (),
        "cwgan_gp": (*FASTER, STEADIER, SMOOTHER),
    },
    "phantoms": {
        "began": APART,
        "vae": ("model.deviation=0.7", STEADIER, "lr_half_life=250_000"),  # less of the pixels, more of the prior
    },
}
"""Overrides of conf/model by case and model."""


# ------------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Judged:
    """Figures of a model as it is, and whether they meet the bar."""

    figures: dict[str, Any]
    meets: bool


def trained(config: dict[str, Any], folder: Path, **changes: Any) -> Any:
    """The run in `folder` after training, or training on, with these changes of `config`."""
    from medsynth.checkpoint import load_run
    from medsynth.train import train

    choices = {"model": config["name"], "data": config["data"]["name"]}
    config = {key: value for key, value in config.items() if key != "name"}
    train({**config, **changes, "run_dir": str(folder)}, choices=choices, overrides=[])
    return load_run(folder)


def learn(
    config: dict[str, Any], folder: Path, *, every: int, budget: float, judge: Callable[[Any], Judged]
) -> dict[str, Any]:
    """Train `every` images at a time, by medsynth.train itself, and judge each time.

    Returns what was found in the end, and the CPU seconds of training after which the bar had held twice; judging does
    not count.
    """
    from medsynth.errors import say

    spent, images, held, course = 0.0, 0, 0, []
    while held < 2 and spent < budget:
        images += every
        start = time.process_time()
        learner = trained(config, folder, images=images)
        spent += time.process_time() - start
        judged = judge(learner)
        held = held + 1 if judged.meets else 0
        course.append({"images": images, "cpu_seconds": digits(spent), **judged.figures})
        say(f"{course[-1]}")
    return {**course[-1], "pass": held == 2, "course": course}


def settings(case: str, model: str, root: Path, *, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a training: `model` on the class folders below `root`."""
    base = ("data=image_folder", f"data.root={root}", f"model={model}", f"resolution={SIDE}", f"seed={seed}")
    quiet = ("trainer=cpu", "metrics=none", "sample_every=0", "checkpoint_every=0")
    split, recipe = "data.split={train: 0.9, val: 0.05, test: 0.05}", RECIPES[case].get(model, ())
    return {**configuration(*base, *quiet, split, *narrow(model, WIDTH), *recipe, *overrides), "name": model}


def samples(run: Any, n: int, *, label: str | None = None) -> Float[ndarray, "n h w"]:
    """Synthetic images of the averaged generator in [-1, 1]."""
    import torch

    from medsynth.sampling import synthesise

    batches = synthesise(run.model, n=n, seed=1, attributes=run.attributes, label=label)
    return torch.cat(list(batches))[:, 0].numpy()


def save(images: Float[ndarray, "n h w"], folder: Path) -> None:
    """Write images in [0, 1] as 8-bit PNG files."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(folder / f"{number:05d}.png")


# --------------------------------------------------------------------------------------------------------- blobs


def blob(y: Float[ndarray, " n"], x: Float[ndarray, " n"]) -> Float[ndarray, "n h w"]:
    """Gaussian blobs of 2.5 pixels' deviation and height 1, centred at y, x."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    squared = (rows - y[:, None, None]) ** 2 + (columns - x[:, None, None]) ** 2
    return np.exp(-squared / (2 * 2.5**2))


def place(kind: Int[ndarray, " n"]) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """Where blobs of each kind lie: eight places on a circle of 10 pixels' radius."""
    angle, middle = kind * 2 * np.pi / PLACES, (SIDE - 1) / 2
    return middle + 10 * np.sin(angle), middle + 10 * np.cos(angle)


def write_blobs(root: Path) -> None:
    """500 images of each kind: blobs up to a pixel off their place, with heights from 0.6 to 1."""
    rng = np.random.default_rng(0)
    for kind in range(PLACES):
        y, x = place(np.full(500, kind))
        images = blob(y + rng.uniform(-1, 1, 500), x + rng.uniform(-1, 1, 500)) * rng.uniform(0.6, 1, (500, 1, 1))
        save(images, root / f"place {kind}")


def kinds(images: Float[ndarray, "n h w"]) -> Int[ndarray, " n"]:
    """The place of the blob that each image correlates with most; -1 where that is not much."""
    steps = np.array([-1.0, 0.0, 1.0])
    y, x = place(np.repeat(np.arange(PLACES), 9))
    templates = blob(y + np.tile(np.repeat(steps, 3), PLACES), x + np.tile(steps, 3 * PLACES))
    correlation = _standardised(images) @ _standardised(templates).T  # (n, 9 x kinds)
    best = correlation.argmax(axis=1)
    return np.where(correlation.max(axis=1) >= CORRELATION, best // 9, -1)


def _standardised(images: Float[ndarray, "n h w"]) -> Float[ndarray, "n d"]:
    flat = images.reshape(len(images), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)


def judge_blobs(run: Any) -> Judged:
    """The share of each place, and of samples that are no blob."""
    found = kinds(samples(run, 2_000))
    shares = [float((found == kind).mean()) for kind in range(PLACES)]
    figures = {
        "least_share": digits(min(shares)),
        "shares": [digits(s) for s in shares],
        "none": digits(float((found < 0).mean())),
    }
    return Judged(figures, min(shares) >= SHARE)


# ------------------------------------------------------------------------------------------------------- classes


def write_kinds(root: Path) -> None:
    """Phantoms of four kinds as class folders."""
    from medsynth.data.prepare_pack import prepare_pack

    chosen = {
        "head t1": ("data=brats", "data.modality=t1", "data.phantom_patients=24"),
        "head t2": ("data=brats", "data.modality=t2", "data.phantom_patients=24"),
        "abdomen ct": ("data=kidney_ct", "data.phantom_patients=12"),
        "chest x-ray": ("data=covidx", "data.phantom_patients=300"),
    }
    for name, overrides in chosen.items():
        config = configuration(*overrides, "data.phantom=true", f"resolution={SIDE}", "model=gan")
        pack = prepare_pack(config["data"], resolution=SIDE, augment=config["augment"])
        images = pack.array(np.random.default_rng(0).permutation(len(pack))[:800])[:, 0]
        save((images + 1) / 2, root / name)


def classifier(root: Path) -> tuple[Callable[[Float[ndarray, "n h w"]], Int[ndarray, " n"]], list[str], float]:
    """A small network trained on five of six of the phantoms; its classes, and how often it is right on the sixth."""
    import torch
    from PIL import Image
    from torch import nn

    names = sorted(path.name for path in root.iterdir())
    files = [(file, label) for label, name in enumerate(names) for file in sorted((root / name).glob("*.png"))]
    images = torch.stack([torch.from_numpy(np.array(Image.open(file))) for file, _ in files])[:, None] / 127.5 - 1
    labels = torch.tensor([label for _, label in files])
    torch.manual_seed(0)
    order = torch.randperm(len(files))
    held, kept = order[: len(files) // 6], order[len(files) // 6 :]
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * (SIDE // 8) ** 2, len(names)))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(5):
        for chosen in kept[torch.randperm(len(kept))].split(64):
            loss = nn.functional.cross_entropy(network(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()

    def tell(pictures: Float[ndarray, "n h w"]) -> Int[ndarray, " n"]:
        with torch.no_grad():
            return network(torch.from_numpy(pictures)[:, None].float()).argmax(dim=1).numpy()

    right = float((tell(images[held, 0].numpy()) == labels[held].numpy()).mean())
    return tell, names, right


def judge_classes(run: Any, tell: Callable[..., Any]) -> Judged:
    """The share of each class's samples that the classifier says belong to it."""
    names = run.attributes.class_names
    right = {name: float((tell(samples(run, 400, label=name)) == k).mean()) for k, name in enumerate(names)}
    figures = {"least_right": digits(min(right.values())), "right": {name: digits(r) for name, r in right.items()}}
    return Judged(figures, min(right.values()) >= ASKED)


# ------------------------------------------------------------------------------------------------------ phantoms


def write_phantoms(root: Path) -> None:
    """Slices of abdominal phantoms, in one folder a class as the dataset has them."""
    from medsynth.data.prepare_pack import prepare_pack

    config = configuration("data=kidney_ct", "data.phantom=true", f"resolution={SIDE}", "model=gan")
    pack = prepare_pack(config["data"], resolution=SIDE, augment=config["augment"])
    images = pack.array(np.arange(len(pack)))[:, 0]
    for label, name in enumerate(pack.class_names):
        save((images[pack.labels == label] + 1) / 2, root / name)


def kid(real: Float[ndarray, "n h w"], fake: Float[ndarray, "m h w"]) -> float:
    """Kernel distance of random features."""
    import torch

    from medsynth.metrics.kernel import squared_mmd
    from medsynth.metrics.random_features import RandomConvolutions

    extract = RandomConvolutions(1)
    features = [extract(torch.from_numpy(images)[:, None].float()).double() for images in (real, fake)]
    return squared_mmd(*features)


@dataclass(frozen=True)
class Yardsticks:
    """Real images, and the kernel distances that a model is to beat."""

    real: Float[ndarray, "n h w"]
    gaussian: float
    untrained: float

    @classmethod
    def of(cls, config: dict[str, Any], folder: Path) -> "Yardsticks":
        """Those of a configuration: its training images, a Gaussian of their pixels, and its untrained generator."""
        from medsynth.data.prepare_pack import prepare_pack

        pack = prepare_pack(config["data"], resolution=SIDE, augment=config["augment"])
        rng = np.random.default_rng(0)
        real = pack.array(pack.splits["train"])[:, 0]
        pixels = real.reshape(len(real), -1).astype(np.float64)
        drawn = rng.multivariate_normal(pixels.mean(axis=0), np.cov(pixels.T), 1_000, method="eigh").clip(-1, 1)
        real = real[rng.permutation(len(real))[:1_000]]
        frozen = {player: {**chosen, "lr": 0.0} for player, chosen in config["optimizer"].items()}
        untrained = samples(trained(config, folder, optimizer=frozen, images=config["batch_size"]), 1_000)
        return cls(real, kid(real, drawn.reshape(-1, SIDE, SIDE)), kid(real, untrained))

    def judge(self, run: Any) -> Judged:
        """The model's kernel distance beside both."""
        value = kid(self.real, samples(run, 1_000))
        figures = {"kid": digits(value), "gaussian": digits(self.gaussian), "untrained": digits(self.untrained)}
        return Judged(figures, value < min(self.gaussian, self.untrained))


# --------------------------------------------------------------------------------------------------------- cases


def models(case: str) -> list[str]:
    """Those of a case: every conf/model belongs to one at least."""
    from medsynth.cli import conf_dir

    chosen = {"blobs": WASSERSTEIN, "classes": CONDITIONAL}
    if case in chosen:
        return list(chosen[case])
    every = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))
    return [name for name in every if name not in (*WASSERSTEIN, *CONDITIONAL)]


def data(case: str, folder: Path) -> Path:
    """The class folders of a case, written once."""
    root, writers = folder / f"{case}-data", {"blobs": write_blobs, "classes": write_kinds, "phantoms": write_phantoms}
    if not root.exists():
        partial = folder / f"{case}-partial"
        writers[case](partial)
        partial.rename(root)
    return root


def run(case: str, model: str, seed: int, folder: Path, *, every: int, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train and judge one model of a case."""
    root = data(case, folder)
    runs = folder / "runs" / f"{case}-{model}-{seed}"
    untrained = runs.with_name(f"{runs.name}-untrained")
    for left in (runs, untrained):  # by a training that was interrupted: its seconds are not known
        shutil.rmtree(left, ignore_errors=True)
    config = settings(case, model, root, seed=seed, overrides=overrides)
    recipe = [*RECIPES[case].get(model, ()), *overrides]
    facts = {"case": case, "model": model, "seed": seed, "overrides": recipe}
    if case == "blobs":
        return {**facts, **learn(config, runs, every=every, budget=BUDGET[case], judge=judge_blobs)}
    if case == "classes":
        tell, _, right = classifier(root)
        if right < KNOWN:
            return {**facts, "classifier": digits(right), "pass": False}
        learned = learn(config, runs, every=every, budget=BUDGET[case], judge=partial(judge_classes, tell=tell))
        return {**facts, "classifier": digits(right), **learned}
    yardsticks = Yardsticks.of(config, untrained)
    return {**facts, **learn(config, runs, every=every, budget=BUDGET[case], judge=yardsticks.judge)}


def main() -> None:
    """Make the records that are asked for and not there, and print all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of records, data and runs")
    parser.add_argument("--case", choices=["blobs", "classes", "phantoms"], action="append")
    parser.add_argument("--models", help="of the case; all")
    parser.add_argument("--seeds", default="0,1,2", help="0,1,2")
    parser.add_argument("--every", type=int, default=16_000, help="images between two judgements")
    parser.add_argument("overrides", nargs="*", help="further settings, to look for recipes")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    records = []
    for case in arguments.case or ["blobs", "classes", "phantoms"]:
        for model in arguments.models.split(",") if arguments.models else models(case):
            for seed in map(int, arguments.seeds.split(",")):
                path = arguments.out / f"{case}-{model}-{seed}.json"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    record = run(case, model, seed, arguments.out, every=arguments.every, overrides=arguments.overrides)
                    path.write_text(json.dumps(record, indent=1) + "\n")
                records.append(json.loads(path.read_text()))
    for record in records:
        del record["course"]
    finish({"benchmark": "convergence", "records": records, "pass": all(record["pass"] for record in records)})


if __name__ == "__main__":
    main()
