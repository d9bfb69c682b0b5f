"""Which tap of which window meets an element, as the scatter of a max pool's gradient counts it."""

from jaxconv.algorithms.shared._scatter import shifts_of
from tests.algorithms.meetings import lines, only


def test_each_shift_has_the_tap_of_each_phase():
    """By d·r - lo = s·u + φ: every tap is there once, and no shift has none."""
    for geometry in lines(input_dilation=(1,)):
        axis = only(geometry)
        found = {
            (shift, phase, tap)
            for shift, taps in shifts_of(axis).items()
            for phase, tap in enumerate(taps)
            if tap >= 0
        }
        expected = {(*divmod(axis.d * tap - axis.lo, axis.s), tap) for tap in range(axis.r)}
        assert found == expected
        assert all(len(taps) == axis.s and (taps >= -1).all() for taps in shifts_of(axis).values())
        assert len(shifts_of(axis)) == len({shift for shift, _, _ in expected})
