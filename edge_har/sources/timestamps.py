"""Times that run forward, from what a container stamps on its frames: a wrong stamp moves no other frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

LOOK_AHEAD = 4  # frames after a leap that show whether it holds: longer runs of wrong stamps count as a gap
LEAP_S, LEAP_FRAMES = 0.5, 3  # a step forward above both is a leap
REORDER_S = 1.0  # stamps that go back by less may be out of order
# Near the first and the last frame little shows which side is wrong: a longer gap there is a wrong stamp.
LONE_GAP_S = 60.0
RESTART_FRAMES, RESTART_SLACK = 4, 1.5  # a run of stamps that passes where they had come to, without a leap


class TimestampRepair:
    """The times of a recording's frames, in the order in which they are decoded.

    A missing stamp (not finite, or 0 after the first frame) is one step after the frame before. A stamp that
    leaps away and is left again within LOOK_AHEAD frames is wrong, and moves no later time; a leap forward
    that holds is a silence, one back is a recording that starts over and runs on. Stamps out of order make
    times that stay within their span. step_s: a frame's duration by the stated rate, in seconds.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._leap_s = max(LEAP_S, LEAP_FRAMES * step_s)
        self._time_s: float | None = None  # None before the first frame
        self._stamp_s = 0.0  # the last one that was believed
        self._shift_s = 0.0  # from stamps to times
        self._run: list[float] = []  # stamps since, that stand before it

    def needs_following(self, stamp_s: float) -> bool:
        """Whether the frame's time hangs on the stamps of the frames after it."""
        if self._time_s is None:
            return True
        passed_s = stamp_s - self._stamp_s
        return _known(stamp_s) and (passed_s > self._leap_s or passed_s < -REORDER_S)

    def at(self, stamp_s: float, following: Sequence[float] = ()) -> float:
        """The time of the next frame in seconds; never decreases.

        following: stamps of the frames after it, up to LOOK_AHEAD, fewer only at the end of the recording;
        looked at where `needs_following` says so.
        """
        if self._time_s is None:
            self._time_s = self._stamp_s = self._first(stamp_s, following)
            return self._time_s
        passed_s = stamp_s - self._stamp_s
        if not _known(stamp_s):
            self._time_s += self._step_s
        elif self.needs_following(stamp_s) and self._is_left_again(stamp_s, following):
            self._time_s += self._stray_step_s(following)
        elif passed_s < -REORDER_S and self._runs_on(stamp_s, following):
            self._start_over(stamp_s, self._step_s)
        elif passed_s <= 0:
            self._step_back(stamp_s)
        else:
            self._step_on(stamp_s)
        return self._time_s

    def _first(self, stamp_s: float, following: Sequence[float]) -> float:
        stamp_s = stamp_s if math.isfinite(stamp_s) else 0.0
        later = [later_s for later_s in following if _known(later_s)]
        usual_s = sorted([stamp_s, *later])[(len(later) + 1) // 2]
        if not later or -REORDER_S <= usual_s - stamp_s <= LONE_GAP_S:
            return stamp_s
        good = (n for n, later_s in enumerate(later) if abs(later_s - usual_s) < abs(later_s - stamp_s))
        place = next(good)  # that of usual_s at the latest
        return max(0.0, later[place] - (place + 1) * self._step_s)

    def _is_left_again(self, stamp_s: float, following: Sequence[float]) -> bool:
        """Whether frames after a leap go on where it left."""
        later = [later_s for later_s in following if _known(later_s)]
        if any(abs(later_s - self._stamp_s) < abs(later_s - stamp_s) for later_s in later):
            return True
        return len(following) < LOOK_AHEAD and stamp_s - self._stamp_s > LONE_GAP_S

    def _runs_on(self, stamp_s: float, following: Sequence[float]) -> bool:
        """Whether the frames after a leap follow it as those of a recording do."""
        later = [stamp_s, *(later_s for later_s in following if _known(later_s))]
        return all(0 < b - a <= self._leap_s for a, b in pairwise(later))

    def _stray_step_s(self, following: Sequence[float]) -> float:
        """One step, or less where the frames up to the next good stamp stand closer."""
        assert self._time_s is not None
        for place, later_s in enumerate(following, start=2):
            left_s = later_s + self._shift_s - self._time_s
            if _known(later_s) and 0 < left_s <= place * self._step_s:
                return left_s / place
        return self._step_s

    def _step_on(self, stamp_s: float) -> None:
        assert self._time_s is not None
        if self._runs_past(stamp_s):
            self._start_over(stamp_s, stamp_s - self._run[-1])
            return
        self._run.clear()
        self._stamp_s = stamp_s
        self._time_s = max(self._time_s, stamp_s + self._shift_s)

    def _step_back(self, stamp_s: float) -> None:
        assert self._time_s is not None
        step_s = stamp_s - self._run[-1] if self._run else self._step_s
        self._time_s += min(step_s, self._step_s) if step_s > 0 else self._step_s
        if step_s <= 0:
            self._run.clear()
        self._run.append(stamp_s)

    def _runs_past(self, stamp_s: float) -> bool:
        """Whether the run since a step back goes by the last stamp as if that were not there: then it starts
        over. Frames that are out of order leap over it.
        """
        if len(self._run) < RESTART_FRAMES:
            return False
        usual_s = (self._run[-1] - self._run[0]) / (len(self._run) - 1)
        return stamp_s - self._run[-1] < RESTART_SLACK * usual_s

    def _start_over(self, stamp_s: float, step_s: float) -> None:
        assert self._time_s is not None
        self._time_s += step_s
        self._shift_s = self._time_s - stamp_s
        self._stamp_s = stamp_s
        self._run.clear()


def _known(stamp_s: float) -> bool:
    return stamp_s != 0 and math.isfinite(stamp_s)
