"""Memorisation in words: copies first, then what lies closer to training images than new patients do."""

import pytest
from made_up import whole

from medsynth.report.verdict import verdict


def test_copies_no_more_frequent_than_among_unseen_patients_are_no_alarm():
    figures = whole(copies=2)
    figures["nearest_train_256"]["copies_unseen"] = 1
    assert {p.aspect: p.tone for p in verdict(figures).points}["Memorisation"] == "good"


def duplicates(rate, *, copies=0, normal=(0.0, 0.05), threshold=0.2, expected=0.01, patients=30, **nearest):
    figures = whole()
    entry = {**figures["swd_256"], "value": rate, "real_against_real": expected, "normal": normal}
    entry |= {"copies": copies, "threshold": threshold, "n_patients": patients}
    figures["duplicates_256"] = entry
    figures["nearest_train_256"] |= nearest
    return memory(figures)


def memory(figures):
    return next(point for point in verdict(figures).points if point.aspect == "Memorisation")


def noisy(rate, authentic, *, normal=(0.2, 0.4), **more):
    figures = whole()
    entry = {**figures["swd_256"], "value": authentic, "real_against_real": 0.3, "normal": normal}
    figures["authenticity_256"] = entry
    changed = {**entry, "value": rate, "real_against_real": 0.01, "normal": (0.0, 0.6), "copies": 0, "threshold": 0.2}
    figures["duplicates_256"] = {**changed, "n_patients": 8, **more}
    return memory(figures)


def test_a_changed_copy_counts_as_a_copy():
    point = duplicates(0.004, copies=1)
    assert point.tone == "poor"
    assert "1 of 256 synthetic images copies one of 500 training images, mirrored" in point.text
    assert "2 of 256 synthetic images copy one" in duplicates(0.008, copies=2).text


@pytest.mark.parametrize(
    ("rate", "normal", "tone"),
    [
        (0.04, (0.0, 0.05), "good"),
        (0.06, (0.0, 0.05), "mixed"),
        (0.04, None, "unknown"),
        (0.06, None, "mixed"),
        (0.0, (0.0, 0.63), "unknown"),
        (0.52, (0.0, 0.63), "unknown"),
        (0.7, (0.0, 0.63), "mixed"),
    ],
)
def test_likely_duplicates_are_held_against_new_patients(rate, normal, tone):
    point = duplicates(rate, normal=normal)
    assert point.tone == tone
    assert f"{rate:.1%} of 256" in point.text


def test_unseen_patients_that_are_too_few_are_counted():
    assert "too few unseen patients (8) to tell" in duplicates(0.1, normal=(0.0, 0.6), patients=8).text
    assert "too few unseen images (98) to tell" in duplicates(0.01, normal=None, patients=None, copies_unseen=2).text


def test_noisy_versions_of_training_images_raise_the_tone_whatever_patients_there_are():
    assert noisy(0.1, 0.3).tone == "unknown"
    found = noisy(0.52, 0.08)
    assert found.tone == "mixed"
    assert found.text == "92% look like noisy versions of training images, of new patients' 70%."
    assert noisy(0.7, 0.08).tone == "poor"
    assert noisy(0.52, 0.18).tone == "unknown"  # lower than the normal range, but no clear deficit
    assert noisy(0.52, 0.08, normal=None).tone == "unknown"


def test_many_images_near_by_their_pixels_raise_the_tone():
    assert duplicates(0.0, near=0.54, near_normal=[0.0, 0.47]).tone == "mixed"
    assert "54% lie closer" in duplicates(0.0, near=0.54, near_normal=[0.0, 0.47]).text
    assert duplicates(0.0, near=0.4, near_normal=[0.0, 0.47]).tone == "good"
    assert duplicates(0.0, near=0.08, near_normal=[0.0, 0.03]).tone == "good"  # patients nobody knows: range too narrow


def test_changed_copies_tell_nothing_where_unseen_images_lie_as_close():
    point = duplicates(0.04, copies=4, threshold=0.001)
    assert point.tone == "unknown"
    assert "a changed copy cannot be told" in point.text


def test_unseen_images_that_are_all_training_images_excuse_no_copy():
    figures = whole()
    figures["nearest_train_256"] |= {"n_unseen": 30, "copies_unseen": 30, "copies": 256}
    point = memory(figures)
    assert point.tone == "poor"
    assert "256 of 256 synthetic images copy one" in point.text


@pytest.mark.parametrize(("copies", "unseen", "tone"), [(2, 1, "good"), (30, 10, "mixed"), (2, 60, "poor")])
def test_copies_that_unseen_images_are_too_are_told_of(copies, unseen, tone):
    figures = whole()
    figures["nearest_train_256"] |= {"copies": copies, "copies_unseen": unseen}
    point = memory(figures)
    assert point.tone == tone
    assert "No copy" not in point.text
    assert f"{copies} of 256 synthetic images" in point.text


def test_without_unseen_patients_only_exact_copies_were_looked_for():
    figures = whole()
    for fact in ("n_unseen", "copies_unseen", "near"):
        del figures["nearest_train_256"][fact]
    point = memory(figures)
    assert point.tone == "unknown"
    assert point.text.startswith("No exact copy of one of 500 training images; mirrored or recoloured ones were not ")
    assert "unseen=DIR" in point.text
    figures["nearest_train_256"]["copies"] = 1
    assert memory(figures).text == "1 of 256 synthetic images copies one of 500 training images."


def test_duplicates_that_could_not_be_computed_fall_back_to_plain_copies():
    assert duplicates(None).text == duplicates_absent().text


def test_of_few_unseen_images_the_rate_of_likely_duplicates_says_little():
    point = duplicates(0.6, normal=None, expected=0.5)  # of one unseen image: half of all new ones lie closer
    assert point.tone == "unknown"
    assert "up to 100% is taken as chance" in point.text
    assert "than 75% of unseen patients' do" in duplicates(0.6, normal=None, expected=0.25).text


def duplicates_absent():
    return next(point for point in verdict(whole()).points if point.aspect == "Memorisation")


def member(low, high, **figures):
    found = whole(**figures)
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
