"""Looking up what is to be served, where it takes MLflow in a process of its own that ends with the answer.

MLflow is hundreds of megabytes of modules, which the supervisor, and every API process that it forks, would keep.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection

from mlpipe.errors import ConfigError, MlpipeError
from mlpipe.serving.mlflow_registry import MlflowRegistry
from mlpipe.serving.registry import Registry
from mlpipe.serving.settings import Slot
from mlpipe.serving.versions import Reference, open_registry, resolve


def find_slots(references: Sequence[str], where: str | None = None) -> list[Slot]:
    """What references lead to now, every file verified.

    Args:
        references: Paths or `models:/` references.
        where: The registry, as `open_registry` takes it.

    Raises:
        ConfigError: A reference is none or leads to nothing, or the registry does not answer.
        BundleError: A bundle is missing or damaged.
    """
    if all(Reference.parse(reference) is None for reference in references):
        return _find(references)
    registry = open_registry(where)
    return _find_apart(references, where) if isinstance(registry, MlflowRegistry) else _find(references, registry)


def _find(references: Sequence[str], registry: Registry | None = None) -> list[Slot]:
    found = [resolve(reference, registry) for reference in references]
    return [Slot(one.folder, one.alias or "") for one in found]


def _find_apart(references: Sequence[str], where: str | None) -> list[Slot]:
    """`_find` in a process of its own, with its errors."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, references, where), name="mlpipe-registry")
    process.start()
    theirs.close()
    try:
        found: list[Slot] | MlpipeError = ours.recv()
    except EOFError:
        process.join()
        raise ConfigError(
            f"The process that looked up {references[0]!r} ended without an answer (exit code {process.exitcode})."
        ) from None
    finally:
        ours.close()
        process.kill()  # it has answered, or nobody waits for it any more
        process.join()
    if isinstance(found, MlpipeError):
        raise found
    return found


def _answer(pipe: Connection, references: Sequence[str], where: str | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor ends us
    try:
        pipe.send(_find(references, open_registry(where)))
    except MlpipeError as error:
        pipe.send(error)
