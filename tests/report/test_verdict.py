"""The verdict follows the figures."""

import pytest

from medsynth.report.verdict import number, times, verdict


def judgement(*, frechet=1.2, swd=1.1, spectrum=1.4, ms_ssim=1.0, copies=0, near=0.01, enough=True, calibrated=True):
    def entry(ratio, **more):
        real = 0.2 if calibrated else None
        return {
            "value": 0.2 * ratio,
            "real_against_real": real,
            "ratio": ratio if calibrated else None,
            "n_real": 256,
            "n_fake": 256,
            **more,
        }

    def level(ratio):
        return {"value": 30.0 * ratio, "real_against_real": 30.0 if calibrated else None}

    unseen = {"n_unseen": 100, "copies_unseen": 0, "near": near} if calibrated else {}
    found = {
        "frechet_random_256": entry(frechet),
        "swd_256": entry(1.0, levels={"64": level(swd), "16": level(1.0)}),
        "spectrum_256": entry(spectrum),
        "ms_ssim_256": entry(ms_ssim),
        "nearest_train_256": entry(1.0, copies=copies, n_train=500, **unseen),
    }
    images = {"count": 256, "n_real": 256, "n_fake": 256}
    return {**(found if enough else {}), "insufficient": {} if enough else found, "warnings": [], "images": images}


@pytest.mark.parametrize(
    ("figures", "tone", "words"),
    [
        ({}, "good", "close to the real ones, as varied, and no copies"),
        ({"frechet": 5.0}, "mixed", "resemble the real ones, but can be told apart"),
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
    found = verdict(judgement(**figures))
    assert words in found.headline
    assert found.tone == tone


def test_each_point_carries_its_figures():
    points = {point.aspect: point for point in verdict(judgement(frechet=3.2, copies=0)).points}
    assert list(points) == ["Fidelity", "Diversity", "Memorisation", "Evidence"]
    assert "Fréchet distance is 3.2 times" in points["Fidelity"].text
    assert "the sliced Wasserstein distance at 64 pixels is 1.1 times" in points["Fidelity"].text
    assert "and the power spectrum distance is 1.4 times that between" in points["Fidelity"].text
    assert "0.200 against 0.200" in points["Diversity"].text
    assert "256 real and 256 synthetic" in points["Evidence"].text


def test_copies_no_more_frequent_than_among_unseen_patients_are_no_alarm():
    figures = judgement(copies=2)
    figures["nearest_train_256"]["copies_unseen"] = 1
    assert {p.aspect: p.tone for p in verdict(figures).points}["Memorisation"] == "good"


def duplicates(rate, *, copies=0, normal=(0.0, 0.05), threshold=0.2, expected=0.01):
    figures = judgement()
    entry = {**figures["swd_256"], "value": rate, "real_against_real": expected, "normal": normal}
    entry |= {"copies": copies, "threshold": threshold}
    figures["duplicates_256"] = entry
    return next(point for point in verdict(figures).points if point.aspect == "Memorisation")


def test_a_changed_copy_counts_as_a_copy():
    point = duplicates(0.004, copies=1)
    assert point.tone == "poor"
    assert "1 of 256 synthetic images copy one of 500 training images, mirrored" in point.text


@pytest.mark.parametrize(
    ("rate", "normal", "tone"),
    [(0.04, (0.0, 0.05), "good"), (0.06, (0.0, 0.05), "mixed"), (0.04, None, "good"), (0.06, None, "mixed")],
)
def test_likely_duplicates_are_held_against_new_patients(rate, normal, tone):
    point = duplicates(rate, normal=normal)
    assert point.tone == tone
    assert f"{rate:.1%} of 256" in point.text


def test_copies_tell_nothing_where_unseen_images_are_copies_too():
    assert duplicates(0.04, copies=4, threshold=0.001).tone == "good"


def test_duplicates_that_could_not_be_computed_fall_back_to_plain_copies():
    assert duplicates(None).text == duplicates_absent().text


def test_of_few_unseen_images_the_rate_of_likely_duplicates_says_little():
    point = duplicates(0.6, normal=None, expected=0.5)  # of one unseen image: half of all new ones lie closer
    assert point.tone == "good"
    assert "up to 100% is taken as chance" in point.text
    assert "than 75% of unseen patients' do" in duplicates(0.6, normal=None, expected=0.25).text


def duplicates_absent():
    return next(point for point in verdict(judgement()).points if point.aspect == "Memorisation")


def usable(share, expected=0.95, **more):
    figures = judgement()
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
    figures = judgement(ms_ssim=1.6)
    figures["usable_256"] = {"value": 0.2, "real_against_real": 0.95, "ratio": None}
    found = verdict(figures)
    assert found.headline == "Most of the synthetic images are spoilt, and they are too much alike."
    assert found.tone == "poor"


def test_a_blind_detector_says_so_and_changes_no_headline():
    found = usable(None, None, reason="the detector is blind (AUC 0.55)")
    assert found.points[3].text == "Not known: the detector is blind (AUC 0.55)."
    assert found.tone == "good"


def member(low, high, **figures):
    found = judgement(**figures)
    found["membership_256"] = {**found["swd_256"], "value": (low + high) / 2, "interval": [low, high]}
    return verdict(found)


def test_a_critic_that_knows_its_training_images_is_a_reservation():
    found = member(0.6, 0.7)
    point = next(point for point in found.points if point.aspect == "Memorisation")
    assert point.tone == found.tone == "mixed"
    assert "AUC 0.650, 0.600 to 0.700" in point.text
    assert "the critic knows its training images" in found.headline


def test_a_critic_that_tells_nothing_changes_nothing():
    found = member(0.45, 0.55)
    assert found.tone == "good"
    assert "do not give training images away" in found.points[2].text


def test_copies_weigh_more_than_what_the_critic_knows():
    found = member(0.6, 0.7, copies=3)
    assert "Do not share these images" in found.headline
    assert "suspiciously" in member(0.6, 0.7, near=0.3).headline


def test_evidence_says_when_no_figure_has_its_images():
    points = {point.aspect: point for point in verdict(judgement(enough=False)).points}
    assert points["Evidence"].text.startswith("No figure has the images it needs: 256 real")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123456, "0.0123"), (12.345, "12.3"), (1234.5, "1,234"), (0.0, "0"), (3.2e-6, "3.20e-06"), (-0.5, "-0.500")],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_ratios_near_one_are_about_equal():
    assert (times(1.04), times(3.21), times(120.0)) == ("is about equal to", "is 3.2 times", "is 120 times")
