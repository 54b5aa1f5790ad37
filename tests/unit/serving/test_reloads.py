"""When a reload begins, whom it waits for, and how it ends; the workers are played by the test."""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, cast

import pytest

from mlpipe.errors import ConfigError
from mlpipe.serving import lookup, reloads
from mlpipe.serving.children import Child
from mlpipe.serving.reloads import Outcome, Reloads
from mlpipe.serving.settings import Slot

NEW = (Slot(Path("new")),)
ALIVE = cast(Any, object())


def never(*_: object) -> Any:
    raise AssertionError("no process is started here")


def worker(number: int, *, ready: bool = True, alive: bool = True) -> tuple[Child, Any]:
    ours, theirs = multiprocessing.Pipe()
    return Child("worker", number, never, ALIVE if alive else None, ours, ready and alive), theirs


def heard(pipe: Any) -> list[Any]:
    messages = []
    while pipe.poll():
        messages.append(pipe.recv())
    return messages


def begin(following: Reloads, asker: Any = None) -> Outcome | None:
    """Ask for a reload, and let it begin."""
    following.ask(asker)
    return look(following)


def look(following: Reloads) -> Outcome | None:
    """Look until it is known what to load."""
    outcome = following.look()
    while outcome is None and following.pipes:
        assert wait(following.pipes, 60)
        outcome = following.look()
    return outcome


def test_all_living_workers_are_waited_for_and_the_ready_ones_are_told() -> None:
    (first, of_first), (second, of_second), (gone, of_gone) = worker(0), worker(1, ready=False), worker(2, alive=False)
    following = Reloads([first, second, gone], lambda: NEW)
    assert following.look() is None
    begin(following)
    assert (heard(of_first), heard(of_second), heard(of_gone)) == ([("load", NEW)], [], [])
    following.loaded(first, ["v2"])
    assert following.look() is None
    following.ready(second)
    assert heard(of_second) == [("load", NEW)]
    following.loaded(second, ["v2"])
    assert following.left == 0
    assert following.look() == Outcome(NEW, ["v2"])
    assert following.look() is None


def test_one_that_starts_meanwhile_is_waited_for_and_one_that_dies_is_not() -> None:
    (first, _), (second, of_second) = worker(0), worker(1, alive=False)
    following = Reloads([first, second], lambda: NEW)
    begin(following)
    following.started(second)
    following.loaded(first, ["v2"])
    assert following.look() is None
    following.died(second)
    assert following.look() == Outcome(NEW, ["v2"])
    following.ready(second)
    assert heard(of_second) == []


@pytest.mark.parametrize("last", ["loaded", "died"])
def test_one_refusal_is_enough(last: str) -> None:
    (first, _), (second, _) = worker(0), worker(1)
    following = Reloads([first, second], lambda: NEW)
    begin(following)
    following.refused(first, "it is damaged")
    if last == "loaded":
        following.loaded(second, ["v2"])
    else:
        following.died(second)
    outcome = following.look()
    assert outcome is not None
    assert outcome.refused == "it is damaged"


def test_there_has_to_be_a_worker_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Reloads([], lambda: NEW)
    assert begin(nobody) == Outcome(NEW, [], "there is no worker that could load it")
    monkeypatch.setattr(reloads, "RELOAD_SECONDS", 0.0)
    slow = Reloads([worker(0)[0]], lambda: NEW)
    assert begin(slow) == Outcome(NEW, [], "not every worker had loaded it after 0 s")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError("There is no such alias."), "There is no such alias."),
        (PermissionError(13, "Permission denied", "weights"), "'weights' cannot be read: Permission denied."),
        (OSError("odd"), "odd"),
    ],
)
def test_a_reference_that_leads_nowhere_ends_it_at_once(error: Exception, said: str) -> None:
    def resolve() -> tuple[Slot, ...]:
        raise error

    following = Reloads([worker(0)[0]], resolve)
    assert begin(following) == Outcome(refused=said)
    assert following.look() is None
    assert following.left is None


def test_a_lookup_that_dies_is_told() -> None:
    following = Reloads([worker(0)[0]], lambda: os._exit(3))
    assert begin(following) == Outcome(refused="the lookup ended without an answer (exit code 3)")


def asleep() -> tuple[Slot, ...]:
    time.sleep(3_600)
    return NEW


def test_a_registry_that_does_not_answer_is_given_up_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "LOOKUP_SECONDS", 0.3)
    following = Reloads([worker(0)[0]], asleep)
    following.ask()
    assert following.look() is None
    assert following.left is not None
    assert wait(following.pipes, following.left) == []
    assert following.look() == Outcome(refused="the registry has not answered within 0.3 s")
    assert not multiprocessing.active_children()


def test_nothing_is_looked_up_any_more_when_the_server_ends() -> None:
    following = Reloads([worker(0)[0]], asleep)
    following.ask()
    following.look()
    following.close()
    assert not multiprocessing.active_children()


def test_who_asks_while_a_reload_is_under_way_is_told_of_the_next() -> None:
    (first, _), early, late = worker(0), (worker(5)[0], 1), (worker(6)[0], 2)
    following = Reloads([first], lambda: NEW)
    begin(following, early)
    following.ask(late)
    following.loaded(first, ["v2"])
    assert following.look() == Outcome(NEW, ["v2"], askers=(early,))
    assert look(following) is None
    following.loaded(first, ["v3"])
    assert following.look() == Outcome(NEW, ["v3"], askers=(late,))
