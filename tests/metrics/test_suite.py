"""The suite: names, entries, counts and what it refuses."""

import json

import pytest
import torch
import torch.nn.functional as F

from medsynth.errors import UserError
from medsynth.metrics import comparison, measurement
from medsynth.metrics.bootstrap import resample
from medsynth.metrics.classifier_score import class_sums, classifier_score
from medsynth.metrics.comparison import class_scores
from medsynth.metrics.encoder.extractor import Encoder, cached_encoder
from medsynth.metrics.encoder.network import EncoderNetwork
from medsynth.metrics.entries import Finding, count_name, find
from medsynth.metrics.inception import Inception
from medsynth.metrics.measurement import Measurement
from medsynth.metrics.origin import Origin
from medsynth.metrics.settings import settings
from medsynth.metrics.statistics_cache import StatisticsCache
from medsynth.metrics.suite import Patients, Yardstick, judge, scalars

FAST = {"count": 24, "extractors": ["random"], "extractor": {"weights": None, "download": False}}


def images(count, *, seed, side=32, channels=1):
    coarse = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=(side, side), mode="bilinear")


def sets(count=24, **options):
    return {
        "reference": images(count, seed=0, **options).split(7),
        "held_out": images(count, seed=1, **options).split(7),
        "fake": images(count, seed=2, **options).split(7),
    }


def test_a_set_with_more_images_than_features_kept_is_judged_like_any_other(monkeypatch):
    monkeypatch.setattr(measurement, "MOST_FEATURES", 20)
    monkeypatch.setattr(comparison, "MOST_FEATURES", 20)
    data, unseen = sets(30), [images(30, seed=6)]
    config = {**FAST, "count": 30}
    found = judge(**data, config=config, train=data["reference"], unseen=unseen)
    for name in ("frechet_random", "kid_random", "precision_random"):
        low, high = find(found, name)["interval"]
        assert low <= find(found, name)["value"] <= high
        assert find(found, name)["unseen"]["n"] == 20
        assert find(found, name)["n_fake"] == (30 if name == "frechet_random" else 20)  # moments are of all images


@pytest.mark.parametrize(
    ("count", "name"), [(256, "256"), (999, "999"), (1000, "1k"), (2000, "2k"), (2048, "2048"), (10_000, "10k")]
)
def test_counts_are_named_as_papers_do(count, name):
    assert count_name(count) == name


@pytest.mark.parametrize(("side", "channels"), [(16, 1), (32, 3), (48, 1)])
def test_every_metric_stands_beside_its_real_against_real_value(side, channels):
    judgement = judge(**sets(side=side, channels=channels), config=FAST)
    of_features = {f"{kind}_random" for kind in ("frechet", "kid", "precision", "recall", "density", "coverage")}
    others = {"swd", "spectrum", "ms_ssim", "nearest_train", "duplicates", "authenticity"}
    keys = {f"{name}_24" for name in of_features | others}
    assert keys == set(judgement) - {"insufficient", "warnings", "images"} == set(scalars(judgement))
    for key in keys:
        found = judgement[key]
        assert found["value"] is not None
        assert found["real_against_real"] is not None
        assert (found["n_real"], found["n_fake"], found["real_split"]) == (24, 24, "train")
    assert judgement["frechet_random_24"]["extractor"]["name"] == "random"
    assert len(judgement["frechet_random_24"]["extractor"]["sha256"]) == 64
    assert judgement["swd_24"]["ratio"] == pytest.approx(
        judgement["swd_24"]["value"] / judgement["swd_24"]["real_against_real"]
    )


def test_a_judgement_is_json_and_the_same_every_time():
    first, second = (json.dumps(judge(**sets(), config=FAST), allow_nan=False) for _ in range(2))
    assert first == second


def test_a_judgement_does_not_depend_on_the_batches():
    data = sets()
    whole = scalars(judge(**{name: [torch.cat(parts)] for name, parts in data.items()}, config=FAST))
    assert scalars(judge(**data, config=FAST)) == pytest.approx(whole, rel=1e-5)


def test_each_set_is_read_once():
    reads = []

    def once(name, parts):
        reads.append(name)
        yield from parts

    judge(**{name: once(name, parts) for name, parts in sets().items()}, config=FAST)
    assert sorted(reads) == ["fake", "held_out", "reference"]


def test_only_as_many_images_as_asked_for_are_judged():
    more = sets(count=60)
    judgement = judge(**more, config=FAST)
    assert judgement["images"]["n_fake"] == judgement["swd_24"]["n_real"] == 24
    first = {name: [torch.cat(parts)[:24]] for name, parts in more.items()}
    assert scalars(judge(**first, config=FAST)) == pytest.approx(scalars(judgement), rel=1e-5)


def test_fewer_images_than_the_name_says_fall_under_insufficient():
    judgement = judge(**sets(count=10), config=FAST)
    assert "swd_24" not in judgement
    assert judgement["insufficient"]["swd_24"]["n_fake"] == 10
    assert any("fewer than metrics.count=24" in line for line in judgement["warnings"])
    assert find(judgement, "swd") == judgement["insufficient"]["swd_24"]


def test_the_sliced_distance_of_the_same_images_does_not_depend_on_the_count_that_was_asked_for():
    data = sets(count=10)
    found = [find(judge(**data, config={**FAST, "count": count}), "swd") for count in (24, 50_000)]
    assert found[0] == found[1]


def test_a_figure_of_counts_of_its_own_is_never_insufficient():
    data = sets(count=10)
    yardstick = Yardstick(reference=data["reference"], held_out=data["held_out"], config=FAST)
    fake = yardstick.measure(data["fake"])
    judgement = yardstick.judgement(fake, {**yardstick.find(fake), "pair_mae": Finding(0.5, counts=(97, 97))})
    assert (judgement["pair_mae_24"]["n_real"], judgement["pair_mae_24"]["n_fake"]) == (97, 97)
    assert "swd_24" in judgement["insufficient"]
    assert "pair_mae_24" not in judgement["insufficient"]


def test_absent_inception_weights_give_null_with_a_reason_and_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path))
    judgement = judge(**sets(), config={**FAST, "extractors": ["random", "inception"]})
    for key in ("fid_24", "kid_24"):
        assert judgement[key]["value"] is None
        assert "metrics.extractor.weights" in judgement[key]["reason"]
        assert judgement[key]["fill"].startswith(str(tmp_path))
    assert judgement["frechet_random_24"]["value"] is not None
    assert "fid_24" not in scalars(judgement)


def test_without_held_out_images_there_is_no_real_against_real_value():
    judgement = judge(**{**sets(), "held_out": None}, config=FAST)
    assert judgement["swd_24"]["real_against_real"] is None
    assert judgement["swd_24"]["ratio"] is None
    assert any("no real-against-real" in line for line in judgement["warnings"])


def test_real_images_score_about_as_the_real_images_do_and_noise_far_worse():
    data = sets(count=64)
    config = {**FAST, "count": 64}
    good = judge(**data, config=config)
    noise = torch.randn(64, 1, 32, 32, generator=torch.Generator().manual_seed(3)).clamp(-1, 1)
    bad = judge(**{**data, "fake": [noise]}, config=config)
    for name in ("frechet_random_64", "swd_64"):
        assert good[name]["ratio"] < 2
        assert bad[name]["ratio"] > 3


def test_copies_of_training_images_outside_the_reference_are_found():
    data = sets()
    train = [images(40, seed=5), torch.cat(data["fake"])[:3]]
    judgement = judge(**data, config=FAST, train=train, unseen=[images(30, seed=6)])
    found = judgement["nearest_train_24"]
    assert (found["copies"], found["copies_unseen"], found["n_train"], found["n_unseen"]) == (3, 0, 43, 30)
    assert {(p["fake"], p["train"]) for p in found["pairs"][:3]} == {(0, 40), (1, 41), (2, 42)}
    assert found["near"] >= 3 / 24


def test_every_distance_to_unseen_patients_stands_beside_that_to_training_ones():
    data, unseen = sets(), images(10, seed=6)
    judgement = judge(**data, config=FAST, train=data["reference"], unseen=unseen.split(4))
    first = {name: [torch.cat(data[name])[:10]] for name in ("reference", "fake")}
    config = {**FAST, "count": 10}
    alone = Yardstick(reference=[unseen], held_out=first["reference"], config=config).judge(first["fake"])
    kinds = ("frechet", "kid", "precision", "recall", "density", "coverage")
    for name in (*(f"{kind}_random" for kind in kinds), "swd", "spectrum"):
        found, expected = judgement[f"{name}_24"]["unseen"], alone[f"{name}_10"]
        assert found["n"] == 10
        assert found["value"] == pytest.approx(expected["value"], rel=1e-5)
        assert found["real"] == pytest.approx(expected["real_against_real"], rel=1e-5)
    levels = judgement["swd_24"]["unseen"]["levels"]
    assert list(levels) == ["32", "16"]
    assert sum(level["value"] for level in levels.values()) / 2 == pytest.approx(judgement["swd_24"]["unseen"]["value"])
    assert "unseen" not in judgement["ms_ssim_24"]


def test_a_yardstick_serves_many_judgements():
    data = sets()
    yardstick = Yardstick(reference=data["reference"], held_out=data["held_out"], config=FAST, thorough=True)
    assert yardstick.judge(data["fake"]) == yardstick.judge(data["fake"]) == judge(**data, config=FAST)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"fake": [images(24, seed=2, side=48)]},
            "synthetic images are 48x48 of 1 channel, real ones 32x32 of 1 channel",
        ),
        (
            {"held_out": [images(24, seed=2, channels=3)]},
            "held-out real images are 32x32 of 3 channels, real ones 32x32 of 1 channel",
        ),
        ({"fake": [images(4, seed=2), images(4, seed=2, side=48)]}, "synthetic images are 48x48"),
        ({"fake": []}, "there are no synthetic images"),
        ({"reference": []}, "there are no real images"),
        ({"fake": [torch.full((3, 1, 32, 32), torch.nan)]}, "3 of 3 synthetic images hold NaN"),
        (sets(side=8), "metrics need 16x16 or more"),
    ],
    ids=["size", "channels", "two sizes", "no fakes", "no reals", "nan", "tiny"],
)
def test_what_cannot_be_judged_is_refused_in_words(change, message):
    with pytest.raises(UserError, match=message):
        judge(**{**sets(), **change}, config=FAST)


def test_one_image_has_entries_without_values_where_a_spread_is_needed():
    one = [images(1, seed=2)]
    judgement = judge(**{**sets(), "fake": one}, config=FAST)["insufficient"]
    assert judgement["frechet_random_24"]["value"] is None
    assert "no spread" in judgement["frechet_random_24"]["reason"]
    assert judgement["ms_ssim_24"]["value"] is None
    assert judgement["swd_24"]["value"] > 0


def test_identical_images_are_judged():
    same = images(1, seed=2).expand(24, -1, -1, -1)
    judgement = judge(**{**sets(), "fake": [same]}, config=FAST)
    assert judgement["ms_ssim_24"]["value"] == pytest.approx(1, abs=1e-5)
    flat = judge(**{**sets(), "fake": [torch.zeros(24, 1, 32, 32)]}, config=FAST)
    assert json.dumps(flat, allow_nan=False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cuont": 3}, "metrics.cuont is unknown"),
        ({"extractor": {"weight": "x"}}, "metrics.extractor.weight is unknown"),
        ({"extractors": ["vgg"]}, "metrics.extractors=vgg is unknown; choices: random, inception"),
        ({"count": 1}, "metrics.count=1 must be"),
        ({"count": "many"}, "metrics.count=many must be"),
    ],
)
def test_a_wrong_metrics_group_is_refused_by_its_key(config, message):
    with pytest.raises(UserError, match=message):
        settings(config)


# ------------------------------------------------------------------------------------------------ class scores


def encoder_file(path, *, classes=3, facts=None):
    network = EncoderNetwork(1, classes=classes)
    with torch.no_grad():
        network.class_weight.copy_(torch.randn(network.class_weight.shape, generator=torch.Generator().manual_seed(0)))
    made = Encoder(network, class_names=("a", "b", "c")[:classes], facts=facts)
    made.save(path)
    return made


def with_encoder(path):
    return {**FAST, "extractors": ["encoder"], "extractor": {"encoder": str(path)}}


KNOWS = {"data": "phantoms", "content": "c0ffee", "held_out": {"share": 0.9, "balanced": 0.9, "images": 50}}


def test_an_encoder_with_classes_gives_a_score_beside_that_of_real_images(tmp_path):
    made = encoder_file(tmp_path / "e.pt", facts=KNOWS)
    data = sets()
    judgement = judge(**data, config=with_encoder(tmp_path / "e.pt"))
    found = judgement["classifier_score_encoder_24"]
    for key, parts in (("value", "fake"), ("real_against_real", "reference")):
        probabilities = made.probabilities(made(torch.cat(data[parts])))
        assert found[key] == pytest.approx(classifier_score(class_sums(probabilities)).mean, rel=1e-5)
    assert 1 < found["value"] <= 3
    assert (found["splits"], found["split_size"]) == (10, 2)
    assert found["extractor"] == {"name": "encoder", "sha256": made.sha256}
    assert judgement["frechet_encoder_24"]["value"] > 0
    assert not [line for line in judgement["warnings"] if "classifier score" in line]


def test_real_images_are_scored_at_the_count_of_the_synthetic_ones(tmp_path):
    encoder_file(tmp_path / "e.pt", facts=KNOWS)
    data = sets()
    few = {**data, "fake": [torch.cat(data["reference"])[:11]]}
    found = judge(**few, config=with_encoder(tmp_path / "e.pt"))["insufficient"]["classifier_score_encoder_24"]
    assert found["value"] == pytest.approx(found["real_against_real"], rel=1e-5)


def test_an_encoder_without_classes_has_no_score(tmp_path):
    encoder_file(tmp_path / "e.pt", classes=0, facts=KNOWS)
    found = judge(**sets(), config=with_encoder(tmp_path / "e.pt"))["classifier_score_encoder_24"]
    assert (found["value"], found["reason"]) == (None, "encoder was trained without labels, so it knows no classes")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({**KNOWS, "content": "beef"}, "trained on other images (phantoms)"),
        ({**KNOWS, "held_out": {"share": 0.6, "balanced": 0.4, "images": 50}}, "40% their class, chance 33%"),
        ({**KNOWS, "held_out": None}, "nobody knows how well"),
        (KNOWS, None),
    ],
    ids=["other data", "near chance", "no held-out labels", "fine"],
)
def test_an_encoder_that_does_not_know_these_images_is_warned_of(facts, words, tmp_path):
    encoder_file(tmp_path / "e.pt", facts=facts)
    origin = Origin("phantoms", "c0ffee", cache=StatisticsCache(tmp_path))
    lines = judge(**sets(), config=with_encoder(tmp_path / "e.pt"), origin=origin)["warnings"]
    found = [line for line in lines if line.startswith("encoder: ") and "do not fill" not in line]
    assert len(found) == (words is not None)
    assert all(words in line for line in found)


def test_the_encoder_of_the_pack_is_found_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path))
    config = {**FAST, "extractors": ["encoder"]}
    absent = judge(**sets(), config=config, origin=Origin("phantoms", "c0ffee"))
    assert "python -m medsynth.metrics.encoder" in absent["frechet_encoder_24"]["reason"]
    assert absent["classifier_score_encoder_24"]["fill"].endswith("encoder-phantoms-c0ffee-s0.pt")
    made = encoder_file(cached_encoder("phantoms", content="c0ffee"), facts=KNOWS)
    present = judge(**sets(), config=config, origin=Origin("phantoms", "c0ffee"))
    assert present["frechet_encoder_24"]["extractor"]["sha256"] == made.sha256


class Pooled(torch.nn.Module):
    """As torch-fidelity's: 8-bit images -> features, and a last layer with a bias."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2048, 5)
        torch.nn.init.normal_(self.fc.weight, std=0.02, generator=torch.Generator().manual_seed(0))

    def forward(self, images):
        return (F.interpolate(images[:, :1].float() / 255, size=(32, 64)).flatten(1),)


def test_inception_gives_its_own_score_without_the_last_bias():
    network = Pooled()
    extractors = {"inception": Inception(network, sha256="0" * 64)}
    reference, fake = (Measurement(name, count=24, extractors=extractors) for name in ("real", "synthetic"))
    reference.update(images(24, seed=0))
    fake.update(images(24, seed=2))
    found = class_scores(reference, fake, drawn=resample(range(24), name="synthetic"))["inception_score"]
    logits = fake.features("inception") @ network.fc.weight.T
    assert found.value == pytest.approx(classifier_score(class_sums(logits.softmax(dim=1))).mean, rel=1e-5)
    assert found.real is not None
    assert found.value > 1
    assert found.interval is not None
    assert 1 <= found.interval[0] <= found.value <= found.interval[1]


def test_intervals_of_few_patients_carry_a_warning():
    def lines(patients):
        reference = torch.arange(24).remainder(patients).numpy()
        return judge(**sets(), config=FAST, patients=Patients(reference=reference))["warnings"]

    assert any("intervals rest on 3 real patients" in line for line in lines(3))
    assert not any("intervals rest on" in line for line in lines(24))
