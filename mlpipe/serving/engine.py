"""The worker's work: a batch of questions in, their answers out. No process, no socket; see `mlpipe.serving.worker`.

Bodies are parsed here, once; rows of different clients go through the model together, and a body that is wrong gets
its own answer while the others get theirs. If the work itself fails, every question is tried alone, so that only the
one at fault is answered by status 500.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

import mlpipe
from mlpipe.bundle.ensemble import Contents
from mlpipe.bundle.folder import read_file
from mlpipe.bundle.manifest import MODEL_CARD, SAMPLE_REQUEST, SCHEMA, refuse
from mlpipe.bundle.online import Answered, OnlinePredictor
from mlpipe.bundle.predictor import Predictor
from mlpipe.features.drift import DriftMeter
from mlpipe.serving import inference, invocations, protocol
from mlpipe.serving.choices import categories_of, limits_of, ranges_of
from mlpipe.serving.openapi import openapi
from mlpipe.serving.protocol import MAX_FAULTS, Query, RequestError, Rules
from mlpipe.serving.settings import Checks
from mlpipe.serving.wire import Answer, Kind, Question

logger = logging.getLogger(__name__)

#: Rows that are predicted at once, so that a large body does not hold up what comes after it in one piece.
MOST_ROWS = 1_024


@dataclass(frozen=True)
class Served:
    """One version that answers.

    Attributes:
        name: Under which it is served.
        version: The bundle's.
        online: Its predictor.
        rules: What its rows have to be.
        sample: One raw row.
        backend: What runs the network.
        documents: What it says of itself, by the kind of question; made when it is first asked for.
    """

    name: str
    version: str
    online: OnlinePredictor
    rules: Rules
    sample: dict[str, Any]
    backend: str = "torch"
    documents: Mapping[Kind, Callable[[], Answer]] = field(default_factory=dict)

    def meter(self) -> DriftMeter:
        """A meter of the drift of what this version is asked and answers."""
        predictor = self.online.predictor
        return DriftMeter(predictor.statistics, self.rules.schema.task.kind, threshold=predictor.threshold)

    @classmethod
    def of(
        cls, contents: Contents, name: str, checks: Checks, backend: str = "torch", versions: Sequence[str] = ()
    ) -> Served:
        """A bundle that was read, and tried on its sample request.

        Args:
            contents: Of the bundle.
            name: Under which it is served.
            checks: How strictly rows are taken.
            backend: What is to run the network.
            versions: All that are served under the name; empty: this one.

        Raises:
            BundleError: It cannot answer it.
        """
        predictor = Predictor.of(contents, backend)
        ranges = limits_of(predictor.schema, predictor.statistics) if checks.ranges == "error" else {}
        rules = Rules(predictor.schema, unknown=checks.unknown, ranges=ranges)
        online = OnlinePredictor(predictor)
        documents = _documents(online, contents, name, versions or [contents.version])
        served = cls(name, contents.version, online, rules, contents.sample_request, predictor.backend.name, documents)
        row = rules.pick(served.sample)
        for count in (1, 2, 8, 64):  # the first batch of a shape is slow
            for error in served.online.answer([row] * count).faults.values():
                refuse(contents.folder, SAMPLE_REQUEST, f"cannot be answered ({error})")
        return served


def check_alike(served: Sequence[Served], folders: Sequence[Path]) -> None:
    """Refuse versions that cannot stand for one another: those that predict something else.

    Raises:
        BundleError: Names the folder and says what it predicts.
    """
    first = served[0].rules.schema.task
    for other, folder in zip(served, folders, strict=True):
        task = other.rules.schema.task
        if (task.kind, task.target, task.classes) != (first.kind, first.target, first.classes):
            what = f"{task.kind.value} of {', '.join(task.target)}"
            refuse(folder, SCHEMA, f"is of another task ({what}) than the first version's")
        if other.rules.names != served[0].rules.names:
            logger.warning("%s has other features than the first version: some requests will be refused.", folder)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question that got its answer.

    Attributes:
        place: Where the question stands in its batch.
        question: As it came.
        served: The version that answered.
        rows: Of each the values of the features, in the order of the version's schema.
        records: What was predicted, one for each row, as `TargetCodec.records` has it.
    """

    place: int
    question: Question
    served: Served
    rows: Sequence[Sequence[Any]]
    records: Sequence[dict[str, Any]]


@dataclass
class Worked:
    """What a batch was and what it took, for the metrics.

    Attributes:
        answers: One for each question.
        rows: How many rows were predicted.
        stages: Seconds by stage.
        answered: What was predicted, by version.
        exchanges: The questions that were answered by predictions.
    """

    answers: list[Answer]
    rows: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    answered: list[tuple[Served, Answered]] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)

    def took(self, stage: str, seconds: float) -> None:
        """Count seconds for a stage."""
        self.stages[stage] = self.stages.get(stage, 0.0) + seconds


@dataclass(frozen=True)
class _Asked:
    """A question whose body was parsed: where it stands in the batch, and where its rows start among all."""

    place: int
    query: Query
    start: int
    name: str | None = None


def _documents(
    online: OnlinePredictor, contents: Contents, name: str, versions: Sequence[str]
) -> dict[Kind, Callable[[], Answer]]:
    """What a version says of itself."""
    predictor = online.predictor
    schema, version = predictor.schema, contents.version
    card = read_file(contents.folder, contents.manifest, MODEL_CARD).decode()

    def document() -> dict[str, Any]:
        return openapi(
            schema,
            sample=contents.sample_request,
            ranges=ranges_of(schema, predictor.statistics),
            categories=categories_of(*online.preprocessors),
            version=mlpipe.__version__,
            model_name=name,
            model_version=version,
            card=card,
            level=predictor.level,
        )

    def model() -> dict[str, Any]:
        return inference.metadata(schema, name, versions, interval=predictor.level is not None)

    return {
        Kind.OPENAPI: lambda: Answer(200, orjson.dumps(document())),
        Kind.MODEL: lambda: Answer(200, orjson.dumps(model())),
    }


def work(questions: Sequence[Question], slots: Sequence[Served]) -> Worked:
    """Answer a batch.

    Args:
        questions: What is asked, of any kind.
        slots: The versions by which questions are answered, in the order of their `slot`.
    """
    try:
        return _work(questions, slots)
    except Exception:
        logger.exception("A batch of %d requests failed; each is tried alone.", len(questions))
    worked = Worked([])
    for place, question in enumerate(questions):
        try:
            alone = _work([question], slots)
        except Exception:
            logger.exception("A request failed.")
            alone = Worked([Answer(500, _sentence("The server failed to answer this request; its log says why."))])
        worked.answers += alone.answers
        worked.rows += alone.rows
        worked.answered += alone.answered
        worked.exchanges += [replace(exchange, place=place) for exchange in alone.exchanges]
        for stage, seconds in alone.stages.items():
            worked.took(stage, seconds)
    return worked


def _work(questions: Sequence[Question], slots: Sequence[Served]) -> Worked:
    worked = Worked([Answer(500, b"")] * len(questions))
    for slot in sorted({question.slot for question in questions}):
        places = [place for place, question in enumerate(questions) if question.slot == slot]
        _work_slot(questions, places, slots[min(slot, len(slots) - 1)], worked)
    return worked


def _work_slot(questions: Sequence[Question], places: Sequence[int], served: Served, worked: Worked) -> None:
    """Answer those questions of a batch that are for one version."""
    start = time.perf_counter()
    asked: list[_Asked] = []
    rows: list[Sequence[Any]] = []
    for place in places:
        question = questions[place]
        if question.kind in served.documents:
            worked.answers[place] = served.documents[Kind(question.kind)]()
            continue
        try:
            query, name = _parse(question, served)
        except RequestError as error:
            worked.answers[place] = _refused(error.detail)
            continue
        asked.append(_Asked(place, query, len(rows), name))
        rows += query.rows
    worked.took("parse", time.perf_counter() - start)
    if not asked:
        return
    records: list[dict[str, Any]] = []
    faults = {}
    for first in range(0, max(len(rows), 1), MOST_ROWS):
        answered = served.online.answer(rows[first : first + MOST_ROWS])
        worked.took("preprocess", answered.preprocess_seconds)
        worked.took("model", answered.model_seconds)
        worked.answered.append((served, answered))
        records += answered.records
        faults.update({first + row: error for row, error in answered.faults.items()})
    worked.rows += len(rows)
    start = time.perf_counter()
    for one in asked:
        own = range(one.start, one.start + len(one.query.rows))
        wrong = [one.query.fault(faults[row].at(row - one.start)) for row in own if row in faults] if faults else []
        if wrong:
            worked.answers[one.place] = _refused(wrong)
        else:
            question, told = questions[one.place], records[own.start : own.stop]
            worked.answers[one.place] = Answer(200, orjson.dumps(_told(question.kind, one, told, served)))
            worked.exchanges.append(Exchange(one.place, question, served, one.query.rows, told))
    worked.took("encode", time.perf_counter() - start)


def _parse(question: Question, served: Served) -> tuple[Query, str | None]:
    match question.kind:
        case Kind.INVOCATIONS:
            return invocations.parse(question.body, served.rules), None
        case Kind.INFER:
            return inference.parse(question.body, served.rules)
    return protocol.parse(question.body, served.rules), None


def _told(kind: int, asked: _Asked, records: list[dict[str, Any]], served: Served) -> dict[str, Any]:
    if kind == Kind.INFER:
        return inference.answer(records, served.rules.schema, served.name, served.version, asked.name)
    return protocol.answer(asked.query, records, served.version)


def _refused(detail: list[protocol.Fault]) -> Answer:
    return Answer(422, orjson.dumps({"detail": detail[:MAX_FAULTS]}))


def _sentence(detail: str) -> bytes:
    return orjson.dumps({"detail": detail})
