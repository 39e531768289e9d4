"""Per class: a class is judged by its own images, small ones say so, and the bad class is the one that shows."""

import pytest
import torch

from medsynth.metrics.per_class import LEAST, ClassSets, judge_classes
from medsynth.metrics.random_features import RandomConvolutions


def images(count, *, seed, blur=0):
    found = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    for _ in range(blur):
        found = torch.nn.functional.avg_pool2d(found, 3, stride=1, padding=1)
    return found


@pytest.fixture(scope="module")
def extractors():
    return {"random": RandomConvolutions(1)}


@pytest.fixture(scope="module")
def judged(extractors):
    classes = {
        "Cyst": ClassSets([images(12, seed=0)], [images(12, seed=1)], [images(8, seed=2), images(8, seed=3)]),
        "Tumour": ClassSets([images(12, seed=4)], None, [images(12, seed=5, blur=1)]),
        "Stone": ClassSets([images(LEAST - 1, seed=6)], [images(9, seed=7)], [images(20, seed=8)]),
        "Empty": ClassSets([], [], [images(20, seed=8)]),
    }
    return judge_classes(classes, extractors=extractors, count=100, real_split="test")


def test_a_class_is_compared_at_the_count_of_its_real_images(judged):
    assert {name: (found["n_real"], found["n_fake"]) for name, found in judged.items()} == {
        "Cyst": (12, 12), "Tumour": (12, 12), "Stone": (9, 9), "Empty": (0, 0),
    }  # fmt: skip
    assert judged["Cyst"]["n_held_out"] == 12
    one = judged["Cyst"]["metrics"]["kid_random"]
    assert (one["n_real"], one["n_fake"], one["real_split"], one["extractor"]["name"]) == (12, 12, "test", "random")


def test_every_class_has_the_same_metrics_named_without_count(judged):
    names = {tuple(found["metrics"]) for found in judged.values()}
    assert len(names) == 1
    assert {"kid_random", "frechet_random", "precision_random", "recall_random", "swd", "spectrum", "ms_ssim"} <= {
        *names.pop()
    }


def test_only_classes_with_other_patients_have_real_against_real(judged):
    cyst, tumour = (judged[name]["metrics"] for name in ("Cyst", "Tumour"))
    assert all(cyst[name]["real_against_real"] is not None for name in ("kid_random", "swd", "spectrum", "ms_ssim"))
    assert all(tumour[name]["real_against_real"] is None for name in ("kid_random", "swd", "spectrum"))
    assert tumour["ms_ssim"]["ratio"] is not None


def test_the_blurred_class_is_the_one_that_shows(judged):
    cyst, tumour = (judged[name]["metrics"] for name in ("Cyst", "Tumour"))
    assert all(tumour[name]["value"] > 2 * cyst[name]["value"] for name in ("frechet_random", "spectrum"))


def test_a_class_of_few_held_out_images_is_compared_with_as_few_or_not_at_all(extractors):
    classes = {
        name: ClassSets([images(40, seed=0)], [images(others, seed=1)], [images(40, seed=2, blur=1)])
        for name, others in (("fewer", 12), ("too few", LEAST - 1))
    }
    found = judge_classes(classes, extractors=extractors, count=100)
    fewer, too_few = found["fewer"], found["too few"]
    assert (fewer["n_real"], fewer["n_fake"], fewer["n_held_out"]) == (12, 12, 12)
    assert (too_few["n_real"], too_few["n_fake"], too_few["n_held_out"]) == (40, 40, LEAST - 1)
    assert fewer["metrics"]["frechet_random"]["ratio"] > 1
    assert all(too_few["metrics"][name]["real_against_real"] is None for name in ("frechet_random", "swd", "spectrum"))


@pytest.mark.parametrize(("name", "words"), [("Stone", "9 images a side"), ("Empty", "0 images a side")])
def test_a_small_class_says_why_it_has_no_figures(judged, name, words):
    metrics = judged[name]["metrics"]
    assert all(one["value"] is None for one in metrics.values())
    assert all(one["reason"].startswith(words) for one in metrics.values())


def test_no_more_than_count_images_are_asked_for(extractors):
    taken = []

    def batches(seed):
        for number in range(5):
            taken.append(seed)
            yield images(10, seed=10 * seed + number)

    found = judge_classes({"a": ClassSets(batches(1), batches(2), batches(3))}, extractors=extractors, count=20)
    assert found["a"]["n_fake"] == found["a"]["n_real"] == found["a"]["n_held_out"] == 20
    assert sorted(taken) == [1, 1, 2, 2, 3, 3]


def test_classes_do_not_touch_each_other(extractors):
    def sets():
        return ClassSets([images(12, seed=0)], [images(12, seed=1)], [images(12, seed=2)])

    other = ClassSets([images(12, seed=4)], None, [images(12, seed=5)])
    alone = judge_classes({"a": sets()}, extractors=extractors, count=12)
    beside = judge_classes({"b": other, "a": sets()}, extractors=extractors, count=12)
    assert alone["a"] == beside["a"]
