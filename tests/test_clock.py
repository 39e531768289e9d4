from medsynth.clock import Clock


def test_every_third_batch_is_due_across_any_number_of_stops():
    whole, stopped = Clock(4), Clock(4)
    seen: list[bool] = []
    expected: list[bool] = []
    for batch in range(12):
        expected.append(whole.due(3))
        whole.advance()
        if batch == 5:
            stopped = Clock(4, images_seen=stopped.images_seen, batches_seen=stopped.batches_seen)
        seen.append(stopped.due(3))
        stopped.advance()
    assert seen == expected == [False, False, True] * 4


def test_a_cadence_in_images_is_passed_once_a_multiple():
    clock = Clock(batch_size=64)
    passed = []
    for _ in range(20):
        clock.advance()
        if clock.passed(200):
            passed.append(clock.images_seen)
    assert passed == [256, 448, 640, 832, 1024, 1216]


def test_zero_means_never():
    clock = Clock(8)
    clock.advance()
    assert not clock.passed(0)
