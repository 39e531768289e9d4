"""What every file of conf/experiment owes: it composes, its model can be built, and its header says what was published
and by whom."""

import re
from functools import cache
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


@cache
def composed(name: str, *overrides: str) -> tuple[dict[str, Any], Any]:
    """The resolved configuration of train, not to be changed, and Hydra's own part of it."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        full: Any = compose("train", overrides=[f"experiment={name}", *overrides], return_hydra_config=True)
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
