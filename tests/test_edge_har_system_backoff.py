"""Pauses between tries."""

from __future__ import annotations

import pytest

from edge_har.system.backoff import JITTER, Backoff


def test_pauses_double_up_to_a_limit_and_start_again_after_a_success() -> None:
    backoff = Backoff(1.0, 8.0)
    for expected_s in (1, 2, 4, 8, 8):
        assert backoff.after_failure() == pytest.approx(expected_s, rel=JITTER)
    backoff.reset()
    assert backoff.after_failure() == pytest.approx(1, rel=JITTER)


def test_pauses_differ_so_that_many_devices_do_not_try_at_once() -> None:
    assert len({Backoff(0.5, 60.0).after_failure() for _ in range(10)}) == 10
