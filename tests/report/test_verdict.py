"""The verdict follows the figures."""

import pytest
from made_up import whole

from medsynth.report.points import number, ratio, times
from medsynth.report.verdict import verdict


@pytest.mark.parametrize(
    ("figures", "tone", "words"),
    [
        ({}, "good", "close to the real ones, as varied, and no copies"),
        ({"frechet": 2.9}, "mixed", "resemble the real ones, but can be told apart"),
        ({"frechet": 3.1}, "mixed", "can easily be told apart from the real ones"),
        ({"spectrum": 8.0}, "mixed", "can easily be told apart from the real ones"),
        ({"swd": 50.0}, "poor", "far from the real ones"),
        ({"spectrum": 2.5}, "mixed", "can be told apart"),
        ({"ms_ssim": 1.3}, "mixed", "with reservations"),
        ({"ms_ssim": 2.5}, "poor", "collapsed"),
        ({"copies": 3}, "poor", "copy training images"),
        ({"copies": 3, "swd": 50.0}, "poor", "copy training images"),
        ({"near": 0.3}, "mixed", "suspiciously"),
        ({"enough": False}, "mixed", "From too few images to be sure: the synthetic images are close"),
        ({"enough": False, "swd": 50.0}, "poor", "From too few images to be sure: the synthetic images are still far"),
        ({"enough": False, "copies": 3}, "poor", "Do not share these images"),
        ({"calibrated": False}, "unknown", "No overall verdict"),
    ],
)
def test_the_headline_tells_the_worst_first(figures, tone, words):
    found = verdict(whole(**figures))
    assert words in found.headline
    assert found.tone == tone


def test_each_point_carries_its_figures():
    points = {point.aspect: point for point in verdict(whole(frechet=3.2, copies=0)).points}
    assert list(points) == ["Fidelity", "Diversity", "Memorisation", "Evidence"]
    assert "Fréchet distance is 3.2 times" in points["Fidelity"].text
    assert "the sliced Wasserstein distance at 64 pixels is 1.1 times" in points["Fidelity"].text
    assert "and the power spectrum distance is 1.4 times that between" in points["Fidelity"].text
    assert "0.200 against 0.200" in points["Diversity"].text
    assert "256 real and 256 synthetic" in points["Evidence"].text


def usable(share, expected=0.95, **more):
    figures = whole()
    figures["usable_256"] = {"value": share, "real_against_real": expected, "ratio": None, **more}
    return verdict(figures)


@pytest.mark.parametrize(
    ("share", "tone", "headline"),
    [
        (0.93, "good", "close to the real ones, as varied"),
        (0.8, "mixed", "with reservations"),
        (0.3, "poor", "Most of the synthetic images are spoilt"),
    ],
)
def test_usable_images_are_held_against_new_real_ones(share, tone, headline):
    found = usable(share)
    point = next(point for point in found.points if point.aspect == "Usable images")
    assert point.tone == tone
    assert f"{share:.0%} of the synthetic images" in point.text
    assert headline in found.headline


def test_spoilt_images_that_are_all_alike_are_called_spoilt_first():
    figures = whole(ms_ssim=1.6)
    figures["usable_256"] = {"value": 0.2, "real_against_real": 0.95, "ratio": None}
    found = verdict(figures)
    assert found.headline == "Most of the synthetic images are spoilt, and they are too much alike."
    assert found.tone == "poor"


def test_a_blind_detector_says_so_and_changes_no_headline():
    found = usable(None, None, reason="the detector is blind (AUC 0.55)")
    assert found.points[3].text == "Not known: the detector is blind (AUC 0.55)."
    assert found.tone == "good"


# ------------------------------------------------------------------------------------------- diversity and pairs


def varied(value, real, **more):
    figures = whole()
    figures["ms_ssim_256"] |= {"value": value, "real_against_real": real, "ratio": value / real}
    for kind, (one, other) in more.items():
        figures[f"{kind}_random_256"] = {**figures["swd_256"], "value": one, "real_against_real": other}
    return verdict(figures)


@pytest.mark.parametrize(
    ("value", "real", "tone"),
    [
        (1.0, 0.976, "poor"),
        (0.99, 0.976, "poor"),
        (0.983, 0.976, "mixed"),
        (0.977, 0.976, "good"),
        (0.974, 0.976, "good"),
        (0.93, 0.976, "mixed"),
        (1.0, 0.785, "poor"),
        (1.0, 1.0, "good"),
        (0.9999, 1.0, "good"),
        (0.3, 0.29, "good"),
    ],
)
def test_equal_images_are_no_variety_where_real_ones_are_alike_too(value, real, tone):
    point = varied(value, real).points[1]
    assert (point.aspect, point.tone) == ("Diversity", tone)
    assert varied(value, real).tone == tone


def test_few_different_images_are_a_collapse_unless_real_ones_repeat_as_well():
    figures = whole()
    figures["nearest_train_256"]["different"] = {"real": 250, "fake": 3}
    point = verdict(figures).points[1]
    assert point.tone == "poor"
    assert point.text.startswith("The 256 synthetic images are only 3 different ones.")
    for different in ({"real": 4, "fake": 3}, {"real": 256, "fake": 200}):
        figures["nearest_train_256"]["different"] = different
        assert verdict(figures).points[1].tone == "good"


@pytest.mark.parametrize(
    ("left_out", "tone"),
    [
        ({"recall": (0.1, 0.9)}, "mixed"),
        ({"recall": (0.8, 0.9), "coverage": (0.03, 1.0)}, "mixed"),
        ({"recall": (0.8, 0.9), "coverage": (0.7, 1.0)}, "good"),
        ({"coverage": (0.005, 0.1)}, "good"),  # real images hardly cover each other: it says nothing
    ],
)
def test_real_images_that_nothing_is_like_are_a_reservation(left_out, tone):
    assert varied(0.3, 0.3, **left_out).points[1].tone == tone


def paired(**figures):
    found = whole(**figures)
    for name, (value, unit) in {"mae": (4.2, "HU"), "psnr": (31.0, "dB"), "ssim": (0.91, None)}.items():
        found[f"pair_{name}_256"] = {
            **found["swd_256"],
            "value": value,
            "pairs": 40,
            **({"unit": unit} if unit else {}),
        }
    return verdict(found)


def test_images_meant_to_be_like_real_ones_are_no_copies():
    found = paired(copies=200)
    assert [point.aspect for point in found.points] == ["Fidelity", "Diversity", "Pairs", "Evidence"]
    assert found.headline == "The synthetic images are close to the real ones and as varied."
    point = found.points[2]
    assert point.tone == "figures"
    assert "Of 40 pairs: mean absolute error 4.20 HU, PSNR 31.0 dB, SSIM 0.910." in point.text
    assert "meant to be alike" in point.text


# -------------------------------------------------------------------------------------------------------- evidence


@pytest.mark.parametrize(
    ("facts", "headline", "text"),
    [
        ({"n_real": 2, "n_fake": 2}, "From too few images to be sure: ", "2 real and 2 synthetic images, as many as"),
        ({"n_fake": 49}, "From too few images to be sure: ", "but 50 each are the least"),
        ({"drawn": "patients", "n_drawn": 4}, "From too few patients to be sure: ", "the real ones are of 4 patients"),
        ({"drawn": "volumes", "n_drawn": 9}, "From too few volumes to be sure: ", "the real ones are of 9 volumes"),
    ],
)
def test_few_images_or_patients_are_no_good_evidence_however_few_were_asked_for(facts, headline, text):
    figures = whole()
    figures["images"] |= facts
    found = verdict(figures)
    assert found.headline.startswith(headline)
    assert found.points[-1].tone == found.tone == "mixed"
    assert text in found.points[-1].text


@pytest.mark.parametrize(
    "facts", [{"drawn": "images", "n_drawn": 50, "n_real": 50}, {"drawn": "patients", "n_drawn": 10}]
)
def test_enough_images_are_good_evidence(facts):
    figures = whole()
    figures["images"] |= facts
    assert verdict(figures).points[-1].tone == "good"


def test_evidence_says_when_no_figure_has_its_images():
    points = {point.aspect: point for point in verdict(whole(enough=False)).points}
    assert points["Evidence"].text.startswith("No figure has the images it needs: 256 real")


@pytest.mark.parametrize(
    ("nulls", "told"),
    [
        ([], "as many as asked for."),
        ([{"fill": "FILE"}], "as many as asked for; 1 metric waits for a file of weights."),
        ([{"fill": "FILE"}] * 2 + [{}], "; 2 metrics wait for a file of weights; 1 metric could not be computed."),
    ],
)
def test_evidence_tells_why_figures_are_missing(nulls, told):
    figures = whole()
    figures |= {f"null {number}_256": {"value": None, "reason": "why", **one} for number, one in enumerate(nulls)}
    assert verdict(figures).points[-1].text.endswith(told)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123456, "0.0123"), (12.345, "12.3"), (1234.5, "1,234"), (0.0, "0"), (3.2e-6, "3.20e-06"), (-0.5, "-0.500")],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("name", "value", "real", "interval", "expected"),
    [
        ("kid_random", 0.3, 0.0002, (0.2, 0.4), None),
        ("kid", 0.3, 0.0002, None, None),
        ("kid_random", 0.3, 0.15, (0.2, 0.4), 2),
        ("frechet_random", 0.3, 0.0003, (0.2, 0.4), 1000),
        ("frechet_random", 0.3, 0.15, None, 2),
        ("swd", 0.3, 0.0, None, None),
        ("swd", None, 0.1, None, None),
        ("kid_random", -0.1, 0.2, (-0.2, 0.0), None),
    ],
)
def test_a_kernel_distance_has_no_ratio_to_one_that_is_0_by_chance(name, value, real, interval, expected):
    found = ratio(name, {"value": value, "real_against_real": real}, interval=interval)
    assert found == (expected and pytest.approx(expected))


def test_ratios_near_one_are_about_equal():
    assert (times(1.04), times(3.21), times(120.0)) == ("is about equal to", "is 3.2 times", "is 120 times")
