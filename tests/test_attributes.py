"""What images are conditioned on: as in training, in turn, or as asked."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medsynth.attributes import LEVELS, Attributes
from medsynth.errors import UserError
from medsynth.latent import Truncation
from medsynth.sampling import CHUNK, synthesise


def described(*, counts: tuple[int, ...] = (30, 10, 0), seed: int = 0) -> SimpleNamespace:
    """Stands in for a Pack: classes a, b and c, whose ages are about 30, 70 and unknown, and a constant."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    ages = rng.normal(np.array([30.0, 70.0, 0.0])[labels], 2)
    return SimpleNamespace(
        splits={"train": np.arange(len(labels))},
        provides=frozenset({"image", "label", "covariates"}),
        labels=labels,
        class_names=["a", "b", "c"],
        covariates=np.stack([ages, np.full(len(labels), 5.0)], axis=1),
        covariate_names=("age", "dose"),
    )


@pytest.fixture
def attributes() -> Attributes:
    return Attributes.of(described())  # type: ignore[arg-type]


def test_they_are_plain_python_that_a_checkpoint_can_hold(attributes: Attributes, tmp_path):
    torch.save(attributes.plain(), tmp_path / "x")
    assert Attributes.of_plain(torch.load(tmp_path / "x", weights_only=True)) == attributes


def test_the_range_of_training_is_minus_one_to_one_and_a_constant_is_nought(attributes: Attributes):
    values = described().covariates
    scaled = attributes.scaled(values)
    assert scaled.dtype == np.float32
    assert (scaled[:, 0].min(), scaled[:, 0].max()) == (-1, 1)
    assert not scaled[:, 1].any()
    middle = (values[:, 0].min() + values[:, 0].max()) / 2
    assert attributes.scaled(np.array([[middle, 7.0]])).tolist() == [[pytest.approx(0, abs=1e-6), 0]]


def test_labels_are_as_frequent_as_in_training(attributes: Attributes):
    labels = attributes.draw(0, 0, 2000)["label"]
    shares = torch.bincount(labels, minlength=3) / 2000
    assert shares[0].item() == pytest.approx(0.75, abs=0.03)
    assert shares[2].item() == 0


def test_balanced_labels_are_the_classes_of_training_in_turn(attributes: Attributes):
    assert attributes.draw(0, 3, 4, label="balanced")["label"].tolist() == [1, 0, 1, 0]


def test_what_image_k_gets_depends_on_seed_and_k_alone(attributes: Attributes):
    whole, part = attributes.draw(4, 0, 12), attributes.draw(4, 7, 5)
    assert all(torch.equal(whole[key][7:], part[key]) for key in ("label", "covariates"))
    assert not torch.equal(attributes.draw(5, 0, 12)["covariates"], whole["covariates"])


def test_a_drawn_class_and_the_same_one_asked_for_have_the_same_covariates(attributes: Attributes):
    drawn, asked = attributes.draw(0, 0, 20), attributes.draw(0, 0, 20, label="b")
    mine = drawn["label"] == 1
    assert torch.equal(drawn["covariates"][mine], asked["covariates"][mine])


def test_covariates_are_those_of_the_images_class(attributes: Attributes):
    _, values = attributes.values(0, 0, 500, label="b")
    real = described().covariates[30:, 0]
    assert real.min() <= values[:, 0].min() < values[:, 0].max() <= real.max()
    levels = np.linspace(0, 1, LEVELS)
    # Kolmogorov's distance to the interpolated quantiles is below 1.36 / sqrt(500) with 95 %
    places = np.sort(np.interp(values[:, 0], np.quantile(real, levels), levels))
    assert np.abs(places - np.linspace(0, 1, 500)).max() < 0.07


def test_a_fixed_covariate_is_in_its_own_unit(attributes: Attributes):
    low, high = attributes.ranges[0]
    drawn = attributes.draw(0, 0, 3, covariates={"age": (low + 3 * high) / 4})["covariates"]
    torch.testing.assert_close(drawn[:, 0], torch.full((3,), 0.5))


def test_outside_of_the_range_seen_there_is_a_warning(attributes: Attributes, capsys: pytest.CaptureFixture[str]):
    attributes.check(covariates={"age": 40})
    assert capsys.readouterr().err == ""
    attributes.check(covariates={"age": 140})
    assert "warning: covariates.age=140 lies outside" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"label": "d"}, "label=d is no class of this run; choices: a, b, c, balanced"),
        ({"label": "c"}, "label=c: no training image"),
        ({"covariates": {"agee": 60}}, r"covariates\.agee is no covariate of this run; it has age, dose"),
        ({"covariates": {"age": float("nan")}}, r"covariates\.age=nan must be a number"),
    ],
)
def test_what_a_run_does_not_have_is_refused(asked, message: str, attributes: Attributes):
    for function in (attributes.check, lambda **asked: attributes.draw(0, 0, 1, **asked)):
        with pytest.raises(UserError, match=message):
            function(**asked)


def test_without_labels_there_is_one_count_and_no_label():
    pack = described(counts=(40,))
    pack.provides = frozenset({"image"})
    attributes = Attributes.of(pack)  # type: ignore[arg-type]
    assert (attributes.class_names, attributes.counts) == ([], [40])
    assert attributes.draw(0, 0, 3).keys() == {"covariates"}
    with pytest.raises(UserError, match="label=a: this run's training images have no labels"):
        attributes.check(label="a")


class Echo:
    """A model whose image is its request: latent, label and covariates as pixels."""

    latent_dim, device = 2, torch.device("cpu")

    def __init__(self, *needs: str) -> None:
        self.needs = frozenset({"image", *needs})

    def generate(self, request):
        parts = [request["latent"]]
        parts += [request["label"][:, None]] if "label" in request else []
        parts += [request["covariates"]] if "covariates" in request else []
        return torch.cat(parts, dim=1)[:, None, None]


def test_a_model_gets_what_it_needs_and_nothing_else(attributes: Attributes):
    widths = {(): 2, ("label",): 3, ("covariates",): 4, ("label", "covariates"): 5}
    for needs, width in widths.items():
        (images,) = synthesise(Echo(*needs), n=3, seed=0, attributes=attributes)
        assert images.shape == (3, 1, 1, width)
    with pytest.raises(UserError, match="conditioned on label"):
        next(synthesise(Echo("label"), n=1, seed=0))


def test_conditions_do_not_depend_on_how_many_images_are_asked_for(attributes: Attributes):
    asked = {"seed": 1, "attributes": attributes, "truncation": Truncation(0.5)}
    model = Echo("label", "covariates")
    whole = torch.cat(list(synthesise(model, n=CHUNK + 5, batch_size=7, **asked)))
    (late,) = synthesise(model, n=4, first=CHUNK - 1, **asked)
    assert torch.equal(whole[CHUNK - 1 : CHUNK + 3], late)
    assert whole[..., :2].abs().max() <= 0.5
