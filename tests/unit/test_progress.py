"""A bar where someone looks at it, and nothing anywhere else."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from types import ModuleType, SimpleNamespace

import pytest

from barloop.progress import progress


class Terminal(io.StringIO):
    """What standard error is when a person reads it."""

    def __init__(self, *, is_terminal=True):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.fixture
def look(monkeypatch):
    """Give standard error a reader; in the test, for pytest sets it at its start."""

    def look(*, is_terminal=True):
        stream = Terminal(is_terminal=is_terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return look


def last_line(stream):
    return stream.getvalue().rstrip("\n").split("\r")[-1]


def test_rate_and_time_left_on_a_terminal(look):
    terminal = look()
    with progress(4, show=True) as bar:
        bar.update()
        bar.update(2)
    line = last_line(terminal)
    assert line.startswith("sweep:  75%")
    assert "| 3/4 [" in line
    assert " sets/s]" in line
    assert "<" in line
    assert terminal.getvalue().endswith("\n")


def test_failed_sets_are_counted(look):
    terminal = look()
    with progress(2_000, show=True) as bar:
        bar.update(1, failed=1)
        bar.update(1)
        bar.update(1_500, failed=1_100)
    assert ", 1,101 failed]" in last_line(terminal)


def test_no_word_of_failures_without_any(look):
    terminal = look()
    with progress(2, show=True) as bar:
        bar.update(2, failed=0)
    assert "failed" not in terminal.getvalue()


def test_sets_that_were_finished_before_do_not_count_for_the_rate(look, monkeypatch):
    terminal = look()
    clock = SimpleNamespace(now=100.0)
    from tqdm import std

    monkeypatch.setattr(std, "time", lambda: clock.now)
    with progress(1_000, 900, show=True) as bar:
        clock.now += 10.0
        bar.update(20)
    assert "920/1000 [00:10<00:40,  2.00 sets/s]" in last_line(terminal)


def test_bar_that_becomes_slow_is_shown(look, monkeypatch):
    terminal = look()
    clock = SimpleNamespace(now=100.0)
    from tqdm import std

    monkeypatch.setattr(std, "time", lambda: clock.now)
    with progress(2_000, show=True) as bar:
        for _ in range(1_000):
            clock.now += 0.001
            bar.update()
        for done in range(1_001, 1_010):
            clock.now += 1.0
            bar.update()
            assert f" {done}/2000 " in last_line(terminal)


def test_line_is_ended_when_the_sweep_is_stopped(look):
    terminal = look()

    def stop():
        with progress(4, show=True) as bar:
            bar.update(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert terminal.getvalue().endswith("\n")
    assert "| 1/4 [" in last_line(terminal)


def test_nothing_is_shown_when_it_is_not_wanted(look):
    terminal = look()
    with progress(4, show=False) as bar:
        bar.update(2, failed=1)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("kind", ["file", "none", "closed"])
def test_nothing_is_shown_where_no_one_looks(monkeypatch, kind):
    stream = Terminal(is_terminal=False)
    if kind == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", None if kind == "none" else stream)
    with progress(4, show=True) as bar:
        bar.update(2, failed=1)
    if kind == "file":
        assert stream.getvalue() == ""


def test_text_in_a_notebook_without_widgets(monkeypatch, look):
    stream = look(is_terminal=False)
    interactive = ModuleType("IPython")
    interactive.get_ipython = lambda: SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", interactive)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with progress(4, show=True) as bar:
        bar.update(3)
    assert "| 3/4 [" in last_line(stream)


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_ipython_without_a_notebook_is_a_terminal(monkeypatch, look, shell):
    stream = look(is_terminal=False)
    interactive = ModuleType("IPython")
    interactive.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", interactive)
    with progress(4, show=True) as bar:
        bar.update(3)
    assert stream.getvalue() == ""


def test_no_thread_watches_the_bar(look):
    look()
    before = threading.active_count()
    with progress(4, show=True) as bar:
        bar.update(1)
        assert threading.active_count() == before


def test_tqdm_is_imported_only_to_show_a_bar():
    script = """
import sys
from barloop.progress import progress
with progress(3, show=True) as bar:
    bar.update(3)
assert "tqdm" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
