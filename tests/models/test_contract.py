"""What every model owes, over all of conf/model: a new YAML is tested by existing."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hydra.utils import get_class

from medsynth.attributes import Attributes
from medsynth.augment.ada import ADA
from medsynth.augment.diffaugment import DiffAugment
from medsynth.batch import Batch, Request
from medsynth.checkpoint import TRUSTED, build_model, check_targets, fit_to_data, load_run
from medsynth.cli import conf_dir
from medsynth.errors import UserError
from medsynth.sampling import CHUNK, synthesise
from medsynth.synthesis import SynthesisModule, Training
from medsynth.train import train

ENERGIES = ("began", "ebgan")
MODELS = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))
Compose = Callable[..., dict[str, Any]]
Run = Callable[..., dict[str, Any]]

ATTRIBUTES = Attributes(class_names=["lying", "upright"], counts=[1, 1], covariates=[], ranges=[], quantiles=[[], []])

pytestmark = pytest.mark.parametrize("name", MODELS)


def begun(compose: Compose, name: str, *overrides: str, channels: int = 1, **training: Any) -> SynthesisModule:
    """The model with its training configuration, as train() builds it; `training` adds to that."""
    config = compose(*overrides, model=name)
    torch.manual_seed(0)
    model = build_model(fit_to_data(config["model"], channels=channels, classes=2, covariates=0))
    optimizers = {player: torch.optim.Adam for player in model.players()}
    model.begin(Training(batch_size=config["batch_size"], seed=0, optimizers=optimizers, **training))
    return model


def batch(*, channels: int = 1, side: int = 16) -> Batch:
    image = torch.rand(8, channels, side, side) * 2 - 1
    return Batch(image=image, row=torch.arange(8), label=torch.arange(8) % 2)


def labelled(model: SynthesisModule, **request: torch.Tensor) -> Request:
    """A request with the label that a conditional model needs."""
    count = len(request["latent"])
    return Request(**request, label=torch.arange(count) % 2) if "label" in model.needs else Request(**request)


@pytest.mark.parametrize("channels", [1, 3])
def test_it_generates_images_in_range(name: str, channels: int, compose: Compose):
    model = begun(compose, name, channels=channels).eval()
    (images,) = synthesise(model, n=3, seed=0, attributes=ATTRIBUTES)
    assert images.shape == (3, channels, 16, 16)
    assert images.abs().max() <= 1


@pytest.mark.parametrize("side", [32, 64, 128, 256])
def test_it_fits_any_resolution(name: str, side: int, compose: Compose):
    model = begun(compose, name, f"resolution={side}", "batch_size=2", channels=2)
    part = cast(Batch, {key: value[:2] for key, value in batch(channels=2, side=side).items()})
    for phase in model.phases():
        with model._only(phase.player):
            assert all(term.isfinite() for term in phase.loss(part).values())
    images = model.eval().generate(labelled(model, latent=torch.randn(2, model.latent_dim)))
    assert images.shape == (2, 2, side, side)


def test_only_energies_refuse_an_augmentation_that_adapts_to_a_boundary(name: str, compose: Compose):
    model = begun(compose, name)
    assert model.has_boundary == (name not in ENERGIES)
    optimizers = {player: torch.optim.Adam for player in model.players()}
    for augment in (ADA(), ADA(p=0.2, target=None), DiffAugment()):
        training = Training(batch_size=8, seed=0, optimizers=optimizers, critic_augment=augment)
        if augment.adapts and not model.has_boundary:
            with pytest.raises(UserError, match=r"=ada .*: critic_augment=diffaugment, or critic_augment.target=null"):
                model.begin(training)
            continue
        model.begin(training)
        for phase in model.phases():
            assert all(term.isfinite() for term in phase.loss(batch()).values())


def test_every_phase_has_finite_terms_and_reaches_its_player(name: str, compose: Compose):
    model = begun(compose, name)
    for phase in model.phases():
        model.zero_grad(set_to_none=True)
        with model._only(phase.player):
            terms = phase.loss(batch())
            torch.stack(list(terms.values())).sum().backward()
        assert all(term.isfinite() and term.ndim == 0 for term in terms.values())
        assert any(weight.grad is not None and weight.grad.any() for weight in model.weights(phase.player))


def test_each_phase_moves_only_its_player(name: str, compose: Compose, tmp_path: Path):
    """Data that pass through other networks move their running statistics, at the player's own level of a pyramid;
    averages and BEGAN's k do not move at all."""
    moved: dict[str, set[str]] = {}
    original = SynthesisModule._move

    def level(player: str) -> str:
        return player.partition("/")[2]

    def watched(self: SynthesisModule, phase: Any, part: Batch) -> Any:
        owner = {id(weight): player for player in self.players() for weight in self.weights(player)}
        near = [networks for player, networks in self.players().items() if level(player) == level(phase.player)]
        passed = {id(buffer) for networks in near for network in networks for buffer in network.buffers()}
        state = self.state_dict(keep_vars=True)
        before = {key: value.detach().clone() for key, value in state.items() if id(value) not in passed}
        terms = original(self, phase, part)
        after = self.state_dict()
        changed = [key for key, value in before.items() if not torch.equal(value, after[key])]
        moved.setdefault(phase.player, set()).update(owner.get(id(state[key]), key) for key in changed)
        return terms

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SynthesisModule, "_move", watched)
        config = compose(f"run_dir={tmp_path / 'run'}", model=name)
        train(config, choices={"model": name, "data": "image_folder"}, overrides=[])
    assert moved == {player: {player} for player in moved}
    assert moved.keys() == begun(compose, name).players().keys()


def test_a_saved_model_generates_the_same_images_again(name: str, run: Run):
    result = run("run", model=name)
    first = load_run(result["run_dir"])
    second = load_run(result["run_dir"])
    (a,), (b,) = (synthesise(loaded.model, n=4, seed=1, attributes=loaded.attributes) for loaded in (first, second))
    assert torch.equal(a, b)
    assert first.images_seen == 64


def test_image_k_depends_on_seed_and_k_alone(name: str, compose: Compose):
    model = begun(compose, name).eval()
    (whole,) = synthesise(model, n=CHUNK + 5, seed=2, batch_size=100, attributes=ATTRIBUTES)
    parts = torch.cat(list(synthesise(model, n=CHUNK + 5, seed=2, batch_size=7, attributes=ATTRIBUTES)))
    (late,) = synthesise(model, n=4, first=CHUNK - 1, seed=2, attributes=ATTRIBUTES)
    assert torch.equal(whole, parts)
    assert torch.equal(whole[CHUNK - 1 : CHUNK + 3], late)
    assert not torch.equal(whole[0], whole[1])


def test_resume_is_bit_for_bit(name: str, run: Run):
    whole = run("whole", "images=96", model=name)
    run("stopped", "images=24", model=name)
    stopped = run("stopped", "images=96", model=name)
    a, b = (torch.load(r["checkpoint"], weights_only=True) for r in (whole, stopped))
    for key in ("state_dict", "optimizer_states", "clock"):
        torch.testing.assert_close(b[key], a[key], rtol=0, atol=0)


def test_training_in_bf16_stays_finite(name: str, run: Run):
    result = run("run", "trainer.precision=bf16-mixed", "images=48", model=name)
    state = torch.load(result["checkpoint"], weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())


def test_norm_layers_have_a_small_epsilon(name: str, compose: Compose):
    model = begun(compose, name)
    assert all(layer.eps <= 1e-3 for layer in model.modules() if hasattr(layer, "eps"))


def test_its_configuration_may_come_from_a_stranger(name: str, compose: Compose):
    check_targets(compose(model=name)["model"], TRUSTED)


def test_its_yaml_says_paper_and_command(name: str):
    header = (conf_dir() / "model" / f"{name}.yaml").read_text().split("defaults:")[0]
    assert "arXiv:" in header
    assert f"model={name}" in header


def knobs(kind: type) -> set[str]:
    """The parameters of a class, and of those that it passes keyword arguments on to."""
    found = inspect.signature(kind.__init__).parameters
    passed_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in found.values())
    return set(found) - {"self", "shared"} | (knobs(kind.__mro__[1]) if passed_on else set())


def test_its_yaml_names_every_knob(name: str, compose: Compose):
    """All parameters of all classes stand in the YAML, but for those that a model gives to the networks it makes."""

    def check(config: Any) -> None:
        if isinstance(config, dict):
            if "_target_" in config and not config.get("_partial_"):
                assert knobs(get_class(config["_target_"])) == config.keys() - {"_target_"}, config["_target_"]
            for value in config.values():
                check(value)

    check(compose(model=name)["model"])
