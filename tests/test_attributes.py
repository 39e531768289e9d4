"""What images are conditioned on: as in training, in turn, or as asked."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medsynth.attributes import LEAST_PATIENTS, LEVELS, PUBLIC, Attributes
from medsynth.data.covariates import POSITION
from medsynth.errors import UserError
from medsynth.latent import Truncation
from medsynth.sampling import CHUNK, synthesise


def described(*, counts: tuple[int, ...] = (30, 10, 0), seed: int = 0) -> SimpleNamespace:
    """Stands in for a Pack: an image a patient, classes a, b and c, whose ages are about 30, 70 and unknown, and a
    constant."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    ages = rng.normal(np.array([30.0, 70.0, 0.0])[labels], 2)
    return SimpleNamespace(
        splits={"train": np.arange(len(labels))},
        provides=frozenset({"image", "label", "covariates"}),
        labels=labels,
        patients=np.arange(len(labels)).astype(str),
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


def test_the_range_is_minus_one_to_one_what_lies_beyond_its_ends_and_a_constant_is_nought(attributes: Attributes):
    low, high = attributes.ranges[0]
    values = np.array([[low, 5.0], [(low + high) / 2, 7.0], [high, 5.0], [low - 9, 5.0], [high + 9, 5.0], [np.nan, 5]])
    scaled = attributes.scaled(values)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:, 0], [-1, 0, 1, -1, 1, np.nan], atol=1e-6)
    assert not scaled[:, 1].any()


def one_class(values: list[float], patients: list[int], name: str = "age") -> SimpleNamespace:
    """A pack without labels, and its one covariate."""
    return SimpleNamespace(
        splits={"train": np.arange(len(values))}, provides=frozenset({"image", "covariates"}),
        patients=np.array(patients), labels=np.full(len(values), -1), class_names=[],
        covariates=np.array(values)[:, None], covariate_names=(name,),
    )  # fmt: skip


def kept(pack: SimpleNamespace) -> list[float]:
    """The quantiles of its covariate."""
    return Attributes.of(pack).quantiles[0][0]  # type: ignore[arg-type]


def test_ages_of_many_patients_are_percentiles_in_whole_years() -> None:
    ages = np.random.default_rng(0).uniform(18, 98, 1000)
    percentiles = np.quantile(ages, np.linspace(0.05, 0.95, LEVELS), method="hazen")
    assert kept(one_class(ages.tolist(), list(range(1000)))) == np.round(percentiles).tolist()


@pytest.mark.parametrize("count", [10, 11, 25, 60])
def test_no_single_patient_moves_an_end_beyond_the_others(count: int) -> None:
    ages = np.linspace(40, 60, count)
    for place, extreme in ((0, -500.25), (-1, 103.25)):
        moved = ages.copy()
        moved[place] = extreme
        assert kept(one_class(moved.tolist(), list(range(count)))) == kept(one_class(ages.tolist(), list(range(count))))


def test_a_patient_weighs_the_same_with_one_image_or_a_hundred() -> None:
    ages = np.linspace(40, 60, 20)
    patients = [*range(20), *[19] * 99]
    many = one_class([*ages, *[60.0] * 99], patients)
    assert kept(many) == kept(one_class(ages.tolist(), list(range(20))))


def test_a_value_that_one_patient_alone_has_on_many_slices_stands_nowhere() -> None:
    areas = [*np.linspace(0, 500, 120), *[4321.0] * 40]
    found = kept(one_class(areas, [*np.repeat(np.arange(12), 10).tolist(), *[12] * 40], "mask_area_mm2"))
    assert max(found) <= 500


@pytest.mark.parametrize(("scale", "step"), [(80, 1), (9, 0.01), (0.5, 0.001), (4000, 10)])
def test_quantiles_are_rounded_to_their_spread(scale: float, step: float) -> None:
    found = np.array(kept(one_class((scale * np.random.default_rng(0).random(500)).tolist(), list(range(500)))))
    np.testing.assert_allclose(found / step, np.round(found / step), atol=1e-6)
    assert len(set(found)) == LEVELS


def test_a_class_of_few_patients_has_the_quantiles_of_all() -> None:
    pack = described(counts=(30, LEAST_PATIENTS - 1, 0))
    few = Attributes.of(pack)  # type: ignore[arg-type]
    pack.provides = frozenset({"image"})
    assert few.quantiles[1] == few.quantiles[2] == Attributes.of(pack).quantiles[0]  # type: ignore[arg-type]
    assert few.quantiles[0] == Attributes.of(described(counts=(30, 10, 0))).quantiles[0]  # type: ignore[arg-type]


def test_where_all_patients_are_few_only_what_tells_nothing_of_a_person_is_taken() -> None:
    values, patients = np.linspace(0, 1, 45).tolist(), np.repeat(np.arange(9), 5).tolist()
    with pytest.raises(UserError, match=r"data\.covariates=age: 9 training patients are so few"):
        Attributes.of(one_class(values, patients))  # type: ignore[arg-type]
    assert {POSITION} == PUBLIC
    assert Attributes.of(one_class(values, patients, POSITION)).ranges == [[0, 1]]  # type: ignore[arg-type]


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
    real = np.sort(described().covariates[30:, 0])
    stored = attributes.quantiles[1][0]
    assert real[1] - 0.5 <= stored[0] <= values[:, 0].min() < values[:, 0].max() <= stored[-1] <= real[-2] + 0.5
    np.testing.assert_allclose(np.quantile(values[:, 0], np.linspace(0, 1, LEVELS)), stored, atol=0.7)


def test_a_fixed_covariate_is_in_its_own_unit(attributes: Attributes):
    low, high = attributes.ranges[0]
    drawn = attributes.draw(0, 0, 3, covariates={"age": (low + 3 * high) / 4})["covariates"]
    torch.testing.assert_close(drawn[:, 0], torch.full((3,), 0.5))


def test_outside_of_the_range_seen_there_is_a_warning(attributes: Attributes, capsys: pytest.CaptureFixture[str]):
    attributes.check(covariates={"age": 40})
    assert capsys.readouterr().err == ""
    attributes.check(covariates={"age": 140})
    assert "warning: covariates.age=140 lies outside" in capsys.readouterr().err


def test_a_value_beyond_the_range_counts_as_its_end_and_is_written_down_as_that(attributes: Attributes):
    _, values = attributes.values(0, 0, 3, covariates={"age": 140})
    assert values[:, 0].tolist() == [attributes.ranges[0][1]] * 3
    assert attributes.draw(0, 0, 3, covariates={"age": 140})["covariates"][:, 0].tolist() == [1, 1, 1]


def test_a_class_called_balanced_cannot_be_asked_for_by_the_word_that_means_in_turn():
    pack = described()
    pack.class_names = ["a", "balanced", "c"]
    attributes = Attributes.of(pack)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="label=balanced asks for the classes in turn, and a class of this run"):
        attributes.check(label="balanced")
    attributes.check(label="a")
    assert attributes.draw(0, 3, 4, label="balanced")["label"].tolist() == [1, 0, 1, 0]


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
