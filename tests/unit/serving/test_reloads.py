"""When a reload begins, whom it waits for, and how it ends; the workers are played by the test."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any, cast

import pytest

from mlpipe.errors import ConfigError
from mlpipe.serving import reloads
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


def test_all_living_workers_are_waited_for_and_the_ready_ones_are_told() -> None:
    (first, of_first), (second, of_second), (gone, of_gone) = worker(0), worker(1, ready=False), worker(2, alive=False)
    following = Reloads([first, second, gone], lambda: NEW)
    assert following.look() is None
    following.wanted = True
    assert following.look() is None
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
    following.wanted = True
    following.look()
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
    following.wanted = True
    following.look()
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
    nobody.wanted = True
    assert nobody.look() == Outcome(NEW, [], "there is no worker that could load it")
    monkeypatch.setattr(reloads, "RELOAD_SECONDS", 0.0)
    slow = Reloads([worker(0)[0]], lambda: NEW)
    slow.wanted = True
    assert slow.look() == Outcome(NEW, [], "not every worker had loaded it after 0 s")


def test_a_reference_that_leads_nowhere_ends_it_at_once() -> None:
    def resolve() -> tuple[Slot, ...]:
        raise ConfigError("There is no such alias.")

    following = Reloads([worker(0)[0]], resolve)
    following.wanted = True
    assert following.look() == Outcome(refused="There is no such alias.")
    assert not following.wanted
