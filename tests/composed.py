"""Configurations as a verb composes them from conf/ and its command line."""

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from medsynth.cli import conf_dir


def composed(verb: str, *overrides: str) -> dict[str, Any]:
    """The configuration of a verb, resolved, as plain Python."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose(verb, overrides=list(overrides)), resolve=True)
    return config
