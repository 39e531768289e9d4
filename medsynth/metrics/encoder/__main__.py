"""Train the encoder of a dataset:   python -m medsynth.metrics.encoder data=kidney_ct data.root=DIR out=FILE"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medsynth.cli import verb
from medsynth.errors import UserError, check_whole, say


def encoder(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train on the training patients of config["data"], measure on the others; returns the verb's JSON."""
    check_whole(config, "steps", least=1)
    check_whole(config, "seed", least=0)
    if config["accelerator"] not in ("auto", "cpu", "gpu"):
        raise UserError(f"accelerator={config['accelerator']} is unknown; choices: auto, cpu, gpu")
    if config["out"]:
        _make_place(Path(config["out"]))

    import numpy as np

    from medsynth.data.prepare_pack import prepare_pack
    from medsynth.metrics.encoder.extractor import cached_encoder
    from medsynth.metrics.encoder.training import MOST_IMAGES, accuracy, train_encoder
    from medsynth.networks import check_resolution
    from medsynth.seeds import fold

    check_resolution(config["resolution"])
    pack = prepare_pack(config["data"], resolution=config["resolution"])
    out = Path(config["out"]) if config["out"] else cached_encoder(pack.name, content=pack.content, seed=config["seed"])
    device = _device(config["accelerator"])
    names = pack.class_names if "label" in pack.provides else []
    train = np.random.default_rng(fold(config["seed"], "encoder")).permutation(pack.splits["train"])[:MOST_IMAGES]
    made = train_encoder(
        pack.batches(train),
        pack.labels[train].astype(np.int64) if names else None,
        class_names=names,
        seed=config["seed"],
        steps=config["steps"],
        device=device,
    )
    held_out = np.concatenate([pack.splits["val"], pack.splits["test"]])
    found = accuracy(made, pack.batches(held_out), pack.labels[held_out].astype(np.int64)) if made.class_names else None
    made.facts |= {
        "data": pack.name,
        "resolution": pack.resolution,
        "content": pack.content,
        "held_out": asdict(found) if found else None,
    }
    made.save(out)
    say(_summary(made.facts, classes=len(made.class_names)) + f"\nencoder: {out}")
    return {"encoder": str(out), "sha256": made.sha256, "classes": list(made.class_names), **made.facts}


def _make_place(out: Path) -> None:
    """Before any work, so that a file that cannot be written costs nobody a training."""
    if out.is_dir():
        raise UserError(f"out={out} is a folder; name a file, such as {out / 'encoder.pt'}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out} cannot be made: {error.strerror}") from None


def _summary(facts: Mapping[str, Any], *, classes: int) -> str:
    trained = f"trained on {facts['images']:,} images of the training patients"
    if (found := facts["held_out"]) is None:
        return f"{trained}; no held-out labels, so no accuracy"
    return (
        f"{trained}; of {found['images']:,} images of other patients {found['share']:.1%} are given their class "
        f"({found['balanced']:.1%} as the mean over classes, chance {1 / classes:.1%})"
    )


def _device(accelerator: str) -> Any:
    import torch

    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("accelerator=gpu: no GPU is here; use accelerator=cpu")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    verb("metrics.encoder", encoder)()
