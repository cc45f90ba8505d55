"""Work in a thread of its own gives, and raises, what it would have where it was begun."""

from __future__ import annotations

import threading

import pytest

from edge_har.system.work import Work, interruptible


def test_work_gives_its_result_and_has_ended() -> None:
    go_on = threading.Event()
    work = Work(lambda: go_on.wait(30) and threading.current_thread())
    assert not work.wait(0)
    go_on.set()
    thread = work.result()
    assert thread is not threading.current_thread() and not thread.is_alive()


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
def test_what_work_raises_is_raised_by_who_waits(error: BaseException) -> None:
    @interruptible
    def fails(number: int, *, name: str) -> None:
        """A word."""
        assert (number, name) == (1, "a")
        raise error

    assert fails.__doc__ == "A word."
    with pytest.raises(type(error)) as raised:
        fails(1, name="a")
    assert raised.value is error
