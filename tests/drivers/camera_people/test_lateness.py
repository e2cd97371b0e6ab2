"""Pictures that lay in a queue are told from prompt ones, by the camera's own clock, however that goes."""

from hypothesis import given
from hypothesis import strategies as st

from drivers.camera_people.worker.lateness import JUMP_S, LATE_S, Lateness


def late(pictures):
    lateness = Lateness()
    return [lateness.is_late(pictured_s=pictured_s, arrived_s=arrived_s) for pictured_s, arrived_s in pictures]


@given(st.lists(st.floats(0, LATE_S / 2), max_size=50), st.floats(-1e6, 1e6), st.floats(-0.0005, 0.0005))
def test_prompt_pictures_are_never_late(delays, offset, drift):
    assert not any(late([(offset + n * (1 + drift), n + delay) for n, delay in enumerate(delays)]))


@given(st.floats(1.5, 3.5), st.integers(2, 25))
def test_a_burst_after_a_standstill_is_late_until_it_has_caught_up(stood_s, fps):
    prompt = [(n / fps, n / fps) for n in range(10 * fps)]
    pictured = [10 + n / fps for n in range(int(stood_s * fps))]
    told = late(prompt + [(at_s, 10 + stood_s) for at_s in pictured])
    assert not any(told[: len(prompt)])
    for at_s, is_late in zip(pictured, told[len(prompt) :], strict=True):
        behind_s = 10 + stood_s - at_s
        assert is_late or behind_s < LATE_S + 0.05
        assert not is_late or behind_s > LATE_S - 0.05


def test_a_clock_that_jumps_is_believed_again():
    told = late([(n / 5, n / 5) for n in range(50)] + [(n / 5 - 100, n / 5) for n in range(50, 100)])
    assert not any(told[:50])
    assert all(told[50 : 50 + int(JUMP_S * 5)])
    assert not any(told[50 + int(JUMP_S * 5) :])
    assert not any(late([(n / 5, n / 5) for n in range(50)] + [(n / 5 + 100, n / 5) for n in range(50, 100)]))
