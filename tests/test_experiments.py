"""What every file of conf/experiment owes: it composes, its model can be built, and its header says what was published
and by whom. And the numbers that papers and studies publish, which models and experiments hold."""

import re
from functools import cache, reduce
from operator import getitem
from typing import Any

import pytest
import torch

from medsynth.augment.affine import Affine
from medsynth.checkpoint import build_model, fit_to_data
from medsynth.cli import conf_dir
from medsynth.train import check

FOLDER = conf_dir() / "experiment"
EXPERIMENTS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
OURS = {"demo", "kidney_wgan_gp"}  # nobody published these
PUBLISHED = {  # the study's figure, as its header must say it
    "kidney_dcgan": "FID 149",
    "kidney_small_gan": "FID 64",
    "kidney_small_gan_kernel": "FID 262 to 264",
    "kidney_larger_gan_v1": "FID 97",
    "kidney_larger_gan_v2_latent100": "FID 90 after 9,000 epochs, 89 after 11,500",
    "kidney_larger_gan_v2_latent128": "FID 87",
    "kidney_wgan_conv": "no FID",
    "kidney_wgan_linear_conv": "no FID",
    **{f"xray_{name}": "10,000 iterations" for name in ("gan", "wgan", "wgan_gp", "cgan", "dcgan", "vae", "sweep")},
}
XRAY = [name for name in EXPERIMENTS if name.startswith("xray_")]


def moved_by(kind: str, *, lr: float, players: str = "critic generator", **rest: Any) -> dict[str, Any]:
    """One kind of optimizer for all players, by path."""
    settings = {"_target_": f"torch.optim.{kind}", "_partial_": True, "lr": lr, **rest}
    return {f"optimizer.{player}": settings for player in players.split()}


# By model, from the papers and the chest X-ray study themselves: the value at a path, or some of those of a dict there.
ADAM = moved_by("Adam", lr=2e-4, betas=[0.5, 0.999])  # section 4, Radford et al. 2016
NORMED = {"norm": "batch", "init": "dcgan"}  # the same
DCGAN = {"model.generator": NORMED, "model.critic": {**NORMED, "leak": 0.2}}
BARE = {"norm": "none", "leak": 0.2, "init": "he"}  # section 4 and the code of Gulrajani et al. 2017
RESIDUAL = {"norm": "none", "leak": 0.0, "spectral_norm": True}  # Miyato et al. 2018
FIXUP = {"norm": "none", "leak": 0.2, "init": "fixup"}  # Huang et al. 2024
HARD = {"model.loss.real_target": 1.0}  # labels without smoothing
GAME = {**ADAM, **HARD, "model.n_critic": 1}  # Algorithm 1, Goodfellow et al. 2014
GAN = {**GAME, "model.r1_weight": 0.0}
WGAN = {**moved_by("RMSprop", lr=5e-5), "model.clip": 0.01, "model.n_critic": 5}  # Algorithm 1, Arjovsky et al. 2017
WGAN_GP = {  # Algorithm 1, Gulrajani et al. 2017
    **moved_by("Adam", lr=1e-4, betas=[0.0, 0.9]),
    "model.gp_weight": 10.0,
    "model.n_critic": 5,
}
HINGE = {  # section 5, Miyato and Koyama 2018
    **moved_by("Adam", lr=2e-4, betas=[0.0, 0.9]),
    "model.critic.spectral_norm": True,
    "model.critic.network": RESIDUAL,
}
KERAS = {"norm_momentum": 0.2, "norm_eps": 1e-3}  # the study's 0.8 is the share that is kept
DENSE = {"widths": [256, 512, 1024], "leak": 0.3, **KERAS}  # section 4.3.2 of the study
STRIDED = {"leak": 0.2, "dropout": 0.25, **KERAS}  # sections 4.3.3 and 4.3.6
FOUR = {"widths": [16, 32, 64, 128], **STRIDED}  # section 4.3.3
NUMBERS: dict[str, dict[str, Any]] = {
    "gan": {**GAN, "model.generator": DENSE, "model.critic": {"leak": 0.2, "dropout": 0.0}},
    "wgan": {**WGAN, "model.generator": DENSE, "model.critic": {**FOUR, "norm": "batch"}},
    "wgan_gp_xray": {**WGAN_GP, "model.generator": DENSE, "model.critic": {**FOUR, "norm": "none"}},
    "cgan": {**GAN, "model.generator.network": DENSE, "model.critic.network": {"leak": 0.2, "dropout": 0.4}},
    "dcgan_upsample": {**GAN, "model.generator": KERAS, "model.critic": {**STRIDED, "norm": "batch"}},
    "vae": moved_by("Adam", lr=1e-3, betas=[0.9, 0.999], players="autoencoder"),  # Kingma and Ba 2015
    "dcgan": {**GAN, **DCGAN, "model.latent_dim": 100},
    "wgan_conv": {**WGAN, **DCGAN},
    "wgan_linear_conv": {**WGAN, **DCGAN},
    "small_gan": {**WGAN_GP, "model.critic": BARE},
    "larger_gan_v1": {**WGAN_GP, "model.critic": BARE},
    "larger_gan_v2": {**WGAN_GP, "model.critic": BARE},
    "wgan_gp": {**WGAN_GP, "model.critic": BARE},
    "cwgan_gp": {**WGAN_GP, "model.critic.network": BARE},
    "lsgan": {**GAN, **DCGAN},  # targets 0 and 1: Eq. 9, Mao et al. 2017
    "lapgan": GAME,
    "acgan": {  # L_S + L_C, Odena et al. 2017
        **GAME,
        "model.class_weight": 1.0,
        "model.fake_class_weight": 1.0,
        "model.generator.network": NORMED,
        "model.critic.network": {**NORMED, "leak": 0.2},
    },
    "began": {**moved_by("Adam", lr=1e-4), "model.k_step": 1e-3},  # Berthelot et al. 2017, which names no betas
    "ebgan": {  # Zhao et al. 2017: a margin of 10 on 28x28 pixels
        **ADAM,
        **DCGAN,
        "model.margin": round(10 / 28, 2),
        "model.pulling_away_weight": 0.1,
    },
    "hinge": {  # section 5, Zhang et al. 2019
        **moved_by("Adam", lr=4e-4, betas=[0.0, 0.9], players="critic"),
        **moved_by("Adam", lr=1e-4, betas=[0.0, 0.9], players="generator"),
        "model.n_critic": 1,
        "model.r1_weight": 0.0,
        "model.critic": RESIDUAL,
    },
    "projection": {**HINGE, "model.n_critic": 5, "model.r1_weight": 0.0},
    "multi_hinge": {**HINGE, "model.n_critic": 4},  # the code of Kavalerov et al. 2019
    "r3gan": {**moved_by("Adam", lr=2e-4, betas=[0.0, 0.99]), "model.generator": FIXUP, "model.critic": FIXUP},
    "msg_gan": {  # the code of Karnewar and Wang 2020
        **moved_by("Adam", lr=3e-3, betas=[0.0, 0.99]),
        **HARD,
        "model.latent_dim": 512,
        "model.n_critic": 1,
        "model.r1_weight": 10.0,
    },
    "vaegan": {  # Larsen et al. 2016
        **moved_by("RMSprop", lr=3e-4, players="encoder generator critic"),
        **HARD,
        **DCGAN,
    },
}
NUMBERED = [*((None, f"model={model}") for model in NUMBERS), *((name,) for name in PUBLISHED)]


@cache
def composed(name: str | None, *overrides: str) -> tuple[dict[str, Any], Any]:
    """The resolved configuration of train with an experiment or none, not to be changed, and Hydra's own part of it."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        chosen = [] if name is None else [f"experiment={name}"]
        full: Any = compose("train", overrides=[*chosen, *overrides], return_hydra_config=True)
    hydra = full.hydra
    config: Any = OmegaConf.to_container(OmegaConf.masked_copy(full, [k for k in full if k != "hydra"]), resolve=True)
    return config, hydra


def header(name: str) -> str:
    """The comment that a file begins with, as one line."""
    lines = (FOLDER / f"{name}.yaml").read_text().split("defaults:")[0].splitlines()
    return " ".join(line.lstrip("# ") for line in lines)


def built(config: dict[str, Any]) -> Any:
    return build_model(fit_to_data(config["model"], channels=1, classes=2, covariates=0))


def test_every_row_of_the_kidney_and_x_ray_tables_has_its_file():
    assert set(EXPERIMENTS) >= PUBLISHED.keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_its_configuration_is_one_that_train_takes(name: str):
    config, _ = composed(name)
    check(config)
    assert config["images"] % config["batch_size"] == 0


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_its_model_can_be_built_and_makes_images(name: str):
    config, _ = composed(name)
    with torch.device("meta"):  # shapes alone: the widest take a second to draw
        model = built(config)
        generator = getattr(model, "generator", None) or model.decoder
        needs = getattr(generator, "needs", frozenset())
        given = {"label": torch.zeros(2).long()} if "label" in needs else {}
        image = generator.eval()(torch.zeros(2, model.latent_dim), **given)
    assert image.shape == (2, 1, config["resolution"], config["resolution"])


@pytest.mark.parametrize("name", sorted({*EXPERIMENTS} - OURS))
def test_its_header_names_study_published_figure_and_command(name: str):
    text = header(name)
    assert re.search(r"(kidney CT|chest X-ray) study \(BSc thesis, 20\d\d", text)
    assert PUBLISHED[name] in text
    assert re.search(rf"python -m medsynth\.train (-m )?experiment={name} ", text)
    assert "images=" in text
    assert ("FID leaves out the 2" in text) == ("FID" in PUBLISHED[name] and "no FID" not in PUBLISHED[name])


@pytest.mark.parametrize("choice", NUMBERED, ids=lambda choice: choice[-1])
def test_its_numbers_are_the_published_ones(choice: Any):
    config, hydra = composed(*choice)
    for path, value in NUMBERS[hydra.runtime.choices.model].items():
        found = reduce(getitem, path.split("."), config)
        assert found == ({**found, **value} if isinstance(value, dict) else value), path


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith("kidney_")])
def test_the_kidney_rows_have_the_study_s_sizes_and_one_budget(name: str):
    config, _ = composed(name)
    assert config["resolution"] == (128 if "larger" in name else 64)
    assert config["batch_size"] == (100 if name == "kidney_dcgan" else 64)
    assert config["images"] == composed("kidney_dcgan")[0]["images"]
    assert config["model"]["_target_"].rpartition(".")[2] == (
        "GAN" if "dcgan" in name else "WGAN" if "_wgan_" in name else "WGANGP"
    )
    generator = config["model"]["generator"]
    if "gan_v" in name or "small" in name:
        assert generator["kernel"] == (name != "kidney_small_gan")
        assert generator["skips"] == ([1, 1] if "v2" in name else [2] if "v1" in name else [1])
    if latent := re.search(r"latent(\d+)", name):
        assert config["model"]["latent_dim"] == generator["latent_dim"] == int(latent[1])


@pytest.mark.parametrize("augment", ["none", "affine_mild_flipped"])
@pytest.mark.parametrize("name", XRAY)
def test_the_x_ray_rows_share_one_budget_and_flip_augmented_images_alone(name: str, augment: str):
    config, _ = composed(name) if augment == "none" else composed(name, f"augment={augment}")
    assert (config["batch_size"], config["images"], config["model"]["latent_dim"]) == (32, 320_000, 100)
    assert config["data"]["name"] == "covidx"
    assert config["data"]["flips"] == ("none" if augment == "none" else "horizontal")


def test_the_flipped_augmentation_is_the_mild_one():
    from hydra.utils import instantiate

    config, _ = composed("xray_gan", "augment=affine_mild_flipped")
    target = dict(config["augment"])
    assert target.pop("copies") == 0
    assert instantiate(target) == Affine(15.0, 0.15, 0.1, 0.15)


def test_the_sweep_is_every_x_ray_row_at_both_sizes_with_and_without_augmentation():
    _, hydra = composed("xray_sweep")
    params = dict(hydra.sweeper.params)
    assert params == {**params, "resolution": "64,256", "augment": "none,affine_mild_flipped"}
    rows = [name for name in XRAY if name != "xray_sweep"]
    models = params["model"].split(",")
    assert len(models) == len(rows) == 6
    alone = [composed(name)[0] for name in rows]
    for model in models:
        swept, _ = composed("xray_sweep", f"model={model}")
        assert swept in alone
