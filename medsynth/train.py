"""Train a model:   python -m medsynth.train model=wgan_gp data=kidney_ct resolution=64

Read on in synthesis.py, the training loop.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsynth.cli import verb
from medsynth.errors import Interrupted, UserError, check_whole, is_rank_zero, say
from medsynth.launch import launch, processes
from medsynth.rehearsal import blamed_on, choices_of, images_at_once, rehearse
from medsynth.run_directory import RunDirectory, default_name

if TYPE_CHECKING:
    from medsynth.callbacks.stop_on_signal import StopOnSignal
    from medsynth.data.pack import Pack
    from medsynth.synthesis import SynthesisModule

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
STRATEGIES = ("auto", "ddp", "ddp_fork")  # ddp_fork: for tests and notebooks, on a CPU
LABELLED = "kidney_ct, covidx, brain_tumor_mri, oasis, ppmi, class folders and tables of labels give labels"
KNOBS = """
model data resolution batch_size images seed run_dir log_every sample_every evaluate_every checkpoint_every
accumulate clip_norm lr_half_life optimizer augment critic_augment degrade metrics trainer logger
"""


def start(config: dict[str, Any]) -> dict[str, Any]:
    """Train as Hydra's command line says."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    choices = {group: hydra.runtime.choices[group] for group in ("model", "data")}
    return train(config, choices=choices, overrides=list(hydra.overrides.task))


def train(config: dict[str, Any], *, choices: dict[str, str], overrides: list[str]) -> dict[str, Any]:
    """Prepare the data, build the model, train it, or resume where the run directory's last checkpoint stands.

    Args:
        config: resolved, plain Python.
        choices: the names of the chosen `model` and `data`.
        overrides: the command line's, for the default name of the run directory and for further processes.
    """
    check(config)
    directory = _directory(config, choices=choices, overrides=overrides)

    from medsynth.checkpoint import fit_to_data
    from medsynth.data.prepare_pack import prepare_pack

    pack = prepare_pack(config["data"], resolution=config["resolution"], augment=config["augment"])
    config = {**config, "choices": choices, "run_dir": str(directory.path)}
    config["data"] = {**config["data"], "content": pack.content}
    try:
        config["model"] = fit_to_data(config["model"], **pack.shape_facts())
    except UserError as error:
        raise UserError(
            f"model={choices['model']} {error}, and data={choices['data']} has neither; {LABELLED}"
        ) from None
    _check_data(config, pack)
    if is_rank_zero():
        directory.check(config)
    with blamed_on(choices_of(config, overrides), model=choices["model"]) as words:
        model = _model(config, pack)
        if words:
            rehearse(model, size=min(2, images_at_once(config)), side=config["resolution"], **pack.shape_facts())
    if (count := processes(config["trainer"])) > 1:  # what can be refused has been refused by now, in one line
        return launch("medsynth.train", count, overrides)
    return _fit(model, pack, config, directory)


def check(config: dict[str, Any]) -> None:
    """Refuse what cannot work, before anything is read or written."""
    from medsynth.networks import check_resolution

    if wrong := config.keys() ^ set(KNOBS.split()):
        key = min(wrong)
        raise UserError(f"{key} is not a knob of train" if key in config else f"{key}= is missing")
    check_resolution(config["resolution"])
    for name in ("batch_size", "images", "log_every", "accumulate"):
        check_whole(config, name, least=1)
    for name in ("seed", "sample_every", "evaluate_every", "checkpoint_every"):
        check_whole(config, name, least=0)
    if config["lr_half_life"] is not None:
        check_whole(config, "lr_half_life", least=1)
    clip = config["clip_norm"]
    if clip is not None and not (isinstance(clip, int | float) and clip > 0):
        raise UserError(f"clip_norm={clip} must be above 0, or null for no clipping")
    _check_trainer(config["trainer"])
    share = config["accumulate"] * max(1, processes(config["trainer"]))
    if config["batch_size"] % share:
        raise UserError(
            f"batch_size={config['batch_size']} must be a multiple of {share} (accumulate={config['accumulate']} times "
            "the processes)"
        )


def _check_trainer(trainer: dict[str, Any]) -> None:
    if wrong := trainer.keys() ^ {"accelerator", "devices", "num_nodes", "strategy", "precision"}:
        raise UserError(f"trainer.{min(wrong)} is not a knob of trainer, or is missing")
    for key, choices in (("precision", PRECISIONS), ("strategy", STRATEGIES), ("accelerator", ("auto", "cpu", "gpu"))):
        if trainer[key] not in choices:
            raise UserError(f"trainer.{key}={trainer[key]} is unknown; choices: {', '.join(choices)}")
    if trainer["devices"] != "auto":
        check_whole({"trainer.devices": trainer["devices"]}, "trainer.devices", least=1)
        if trainer["strategy"] == "auto" and trainer["devices"] > 1:
            raise UserError(f"trainer.devices={trainer['devices']} needs several processes: trainer=ddp")
    if "gpu" in trainer.values() and not _has_gpu(trainer):
        raise UserError("trainer.accelerator=gpu, but torch finds no GPU here; use trainer=cpu or trainer=auto")
    if trainer["precision"] == "16-mixed" and not _has_gpu(trainer):
        raise UserError("trainer.precision=16-mixed needs a GPU; on a CPU use 32-true or bf16-mixed")


def _has_gpu(trainer: dict[str, Any]) -> bool:
    if trainer["accelerator"] == "cpu":
        return False
    import torch

    return torch.cuda.is_available()


def _directory(config: dict[str, Any], *, choices: dict[str, str], overrides: list[str]) -> RunDirectory:
    name = default_name(resolution=config["resolution"], seed=config["seed"], overrides=overrides, **choices)
    return RunDirectory(Path("runs") / name if config["run_dir"] is None else Path(str(config["run_dir"])))


def _check_data(config: dict[str, Any], pack: "Pack") -> None:
    count = len(pack.training("train"))
    if config["batch_size"] > count:
        raise UserError(
            f"batch_size={config['batch_size']} is larger than the data: the train split has {count} images"
        )


def _model(config: dict[str, Any], pack: "Pack") -> "SynthesisModule":
    import torch

    from medsynth.checkpoint import build_model
    from medsynth.seeds import fold
    from medsynth.synthesis import Training

    torch.manual_seed(fold(config["seed"], "weights"))
    model = build_model(config["model"])
    _check_needs(model, pack, config)
    critic_augment = _build(config["critic_augment"]) if config["critic_augment"].get("_target_") else None
    if critic_augment is not None and not any(player.startswith("critic") for player in model.players()):
        raise UserError(f"critic_augment= acts on what a critic sees, and model={config['choices']['model']} has none")
    model.begin(
        Training(
            batch_size=config["batch_size"],
            seed=config["seed"],
            optimizers=_build(config["optimizer"]),
            accumulate=config["accumulate"],
            clip_norm=config["clip_norm"],
            lr_half_life=config["lr_half_life"],
            critic_augment=critic_augment,
            mask_channels=int(pack.mask_channel),
        )
    )
    return model


def _check_needs(model: "SynthesisModule", pack: "Pack", config: dict[str, Any]) -> None:
    """Refuse data that lacks what the model needs, and a condition that it would ignore."""
    names, degrades = config["choices"], bool(config["degrade"].get("_target_"))
    provides = pack.provides | ({"condition"} if degrades else set())
    if missing := model.needs - provides:
        raise UserError(
            f"model={names['model']} needs {', '.join(sorted(missing))}s, data={names['data']} provides only "
            f"{', '.join(sorted(provides))}s; {LABELLED}"
        )
    if pack.covariate_names and "covariates" not in model.needs:
        raise UserError(
            f"data.covariates={','.join(pack.covariate_names)} would leave images out for nothing: "
            f"model={names['model']} takes none; take cgan, acgan, cwgan_gp, projection, multi_hinge, cr3gan or "
            "clapgan, or leave it out"
        )
    if degrades and "condition" not in model.needs:
        raise UserError(f"degrade= makes a condition, which model={names['model']} does not take: degrade=none")


def _build(config: Any) -> Any:
    from hydra.utils import instantiate

    return instantiate(config, _convert_="all")


def _fit(model: "SynthesisModule", pack: "Pack", config: dict[str, Any], directory: RunDirectory) -> dict[str, Any]:
    """Run Lightning's Trainer on the run directory, under its lock."""
    from contextlib import nullcontext

    import medsynth.checkpoint as checkpoint
    from medsynth.loggers import build_loggers, finish_wandb

    trainer, stop, data = _assemble(model, pack, config, directory)
    with directory.locked() if is_rank_zero() else nullcontext():
        resume = directory.last if directory.last.exists() else None
        seen = checkpoint.read(directory.last)["clock"]["images_seen"] if resume else 0
        if seen >= config["images"]:
            say(
                f"finished: {directory.path} has seen {seen:,} of {config['images']:,} images; a larger images= goes on"
            )
            return _result(directory, seen)
        if is_rank_zero():
            directory.create(config)
            trainer.loggers = build_loggers(config, directory.path)
        data.images_seen = seen
        _introduce(model, pack, config, device=str(trainer.strategy.root_device), seen=seen)
        finished = False
        try:
            trainer.fit(model, datamodule=data, ckpt_path=str(resume) if resume else None, weights_only=True)
            finished = True
        finally:
            finish_wandb(failed=not finished)
        if stop.received:
            name = {2: "SIGINT", 15: "SIGTERM"}.get(stop.received, str(stop.received))
            seen = model.clock.images_seen
            raise Interrupted(stop.received, f"{name}: saved at image {seen:,}; the same command goes on")
    return _result(directory, model.clock.images_seen)


def _assemble(
    model: "SynthesisModule", pack: "Pack", config: dict[str, Any], directory: RunDirectory
) -> tuple[Any, "StopOnSignal", Any]:
    """The Trainer, its callbacks and loggers, and the data."""
    from pytorch_lightning import Trainer

    from medsynth import __version__
    from medsynth.attributes import Attributes
    from medsynth.callbacks.checkpoints import Checkpoints
    from medsynth.callbacks.evaluation import Evaluation
    from medsynth.callbacks.journal import Journal
    from medsynth.callbacks.samples import SampleGrid
    from medsynth.callbacks.stop_on_signal import StopOnSignal
    from medsynth.checkpoint import WholeCheckpointIO
    from medsynth.data.module import ImageDataModule
    from medsynth.loggers import check_logger

    check_logger(config["logger"])
    _quieten_lightning()
    images, attributes = config["images"], Attributes.of(pack)
    facts = {
        "config": config,
        "class_names": pack.class_names,
        "intensity": pack.intensity,
        "ranges": pack.ranges(),
        "spacing": list(pack.spacing) if pack.spacing else None,
        "attributes": attributes.plain(),
        "pack_key": pack.key,
        "pack_content": pack.content,
        "version": __version__,
    }
    journal = Journal(images=images, every=(config["log_every"], config["checkpoint_every"]))
    checkpoints = Checkpoints(directory.checkpoints, every=config["checkpoint_every"], images=images, facts=facts)
    stop = StopOnSignal(journal, checkpoints)
    grids = SampleGrid(
        directory.samples,
        seed=config["seed"],
        every=config["sample_every"],
        images=images,
        real=pack.targets(pack.splits["train"][:: max(1, len(pack.splits["train"]) // 64)][:64]),
        real_to_loggers=config["logger"].get("real_images", False),
        attributes=attributes,
        masks=int(pack.mask_channel),
    )
    judge = Evaluation(pack, config["metrics"], checkpoints, every=config["evaluate_every"], seed=config["seed"])
    trainer = Trainer(
        **{**config["trainer"], "strategy": _strategy(config["trainer"]["strategy"])},
        max_epochs=1,  # the sampler gives the whole budget as one epoch
        callbacks=[journal, grids, judge, checkpoints, stop],
        logger=False,  # loggers come when the run directory is there
        default_root_dir=str(directory.path),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        plugins=[WholeCheckpointIO()],
        log_every_n_steps=1,  # or Lightning warns of short runs; nothing is logged through it
    )
    data = ImageDataModule(
        pack,
        batch_size=config["batch_size"],
        seed=config["seed"],
        images=images,
        augment=_augment(config["augment"]),
        flips="none" if config["augment"].get("copies") else config["data"]["flips"],  # copies are flipped already
        workers=config["data"]["workers"],
        balance=config["data"]["balance"],
        degrade=_build(config["degrade"]) if config["degrade"].get("_target_") else None,
    )
    return trainer, stop, data


def _augment(config: dict[str, Any]) -> Any:
    """What changes training images on the fly; None where the pack holds augmented copies."""
    target = {key: value for key, value in config.items() if key != "copies"}
    return _build(target) if target.get("_target_") and not config.get("copies") else None


def _strategy(name: str) -> Any:
    """Lightning's strategy. Running statistics stay each rank's own until they are reduced: DDP would replace them by
    rank 0's at every batch."""
    if name == "auto":
        return name
    from pytorch_lightning.strategies import DDPStrategy

    start_method = "fork" if name == "ddp_fork" else "popen"
    return DDPStrategy(find_unused_parameters=True, broadcast_buffers=False, start_method=start_method)


def _quieten_lightning() -> None:
    """Silence what Lightning says to everyone and means nobody here; its other warnings stay."""
    import logging
    import warnings

    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*module.s. in eval mode at the start of training.*",  # the averages are meant to be
        ".*does not have many workers.*",  # gathering from a Pack is faster than handing a batch over
        ".*pre-optimization state.*",  # checkpoints are written between batches
        ".*LeafSpec.* is deprecated.*",
        ".*Grad strides do not match bucket view strides.*",  # of penalties, for convolutions of one channel
        ".*broadcast_buffers. is deprecated.*",  # its successor is not in every torch that we run on
    ):
        warnings.filterwarnings("ignore", message)


def _introduce(model: "SynthesisModule", pack: "Pack", config: dict[str, Any], *, device: str, seen: int) -> None:
    """Five facts: where, data, players, budget, device."""
    names, trainer = config["choices"], config["trainer"]
    players = ", ".join(f"{name} {sum(w.numel() for w in model.weights(name)):,}" for name in model.players())
    side, train = config["resolution"], pack.splits["train"]
    groups = len(set(pack.patients[train]))
    resumed = f", resumed at {seen:,}" if seen else ""
    say(f"run      {config['run_dir']}{resumed}")
    say(f"data     {names['data']}: {len(train):,} training images of {side}x{side}, {groups} patients or series")
    say(f"model    {names['model']}, parameters: {players}")
    say(f"budget   {config['images']:,} images in batches of {config['batch_size']}, seed {config['seed']}")
    say(f"device   {device} x {trainer['devices']}, {trainer['precision']}")


def _result(directory: RunDirectory, images_seen: int) -> dict[str, Any]:
    """The verb's JSON: paths, and the last row's figures."""
    from medsynth.loggers import read_rows

    figures: dict[str, Any] = {}
    for row in read_rows(directory.path / "metrics.jsonl"):
        figures.update(row)
    grids = sorted(directory.samples.glob("[0-9]*.png"))
    return {
        "run_dir": str(directory.path),
        "checkpoint": str(directory.last),
        "samples": str(grids[-1]) if grids else None,
        "images_seen": images_seen,
        **{key: value for key, value in figures.items() if key != "images_seen"},
    }


if __name__ == "__main__":
    verb("train", start)()
