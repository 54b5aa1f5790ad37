"""From records to results/accuracy.md.

- A score is the mean over the seeds on the test rows, with the standard deviation where there are several; the best of
  a table is bold.
- Ranks (1 is best, equal scores share one) and normalised scores (1 for the best, 0 for the median or worse; their
  means over the tables) are among those that were measured on every table that our default was measured on. Another
  one is ranked among them on the tables that it was measured on, with the mean rank of our default there beside it. A
  preset of ours is ranked among the others without our other presets.
- Wins, ties and losses of our default against another, a table each, by a paired bootstrap over test rows of their mean
  losses: a tie where zero lies within 95 % of the differences.
- Seconds to LightGBM's score: of our training, until the metric on the validation rows is first as good as that of
  LightGBM with its defaults; the median over seeds, — where most of them never get there.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from records import Floats, Key, Record, Store
from tables import PUBLISHED, PublicTable

from mlpipe.errors import how_many
from mlpipe.research.baselines.run import OURS
from mlpipe.training.metrics import HIGHER_IS_BETTER

#: The recipe that one of ours would be trained by now.
Recipe = Callable[[Key], str]

REFERENCE = "lightgbm"
DEFAULT = "default"
RESAMPLES = 1_000
NONE = "—"


@dataclass(frozen=True)
class Standing:
    """How a contestant does on a table: its records, one for each seed, all by the same recipe."""

    records: Sequence[Record]
    metric: str

    @property
    def score(self) -> float:
        """Mean on the test rows."""
        return statistics.mean(record.test[self.metric] for record in self.records)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None with one."""
        values = [record.test[self.metric] for record in self.records]
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def seconds(self) -> float:
        """Median of the training."""
        return statistics.median(record.seconds for record in self.records)

    @property
    def keys(self) -> list[Key]:
        return [record.key for record in self.records]

    def seconds_to(self, goal: float) -> float:
        """Median seconds until the validation rows' metric is as good as a goal; infinite if most never are."""
        return statistics.median(seconds_to(record.curve, goal, self.metric) for record in self.records)


Standings = Mapping[str, Mapping[str, Standing]]


def seconds_to(curve: Iterable[tuple[float, float]], goal: float, metric: str) -> float:
    """When a curve first reaches a goal; infinite if never.

    Examples:
        >>> seconds_to([(1.0, 0.5), (2.0, 0.4), (3.0, 0.45)], 0.42, "rmse")
        2.0
    """
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    return next((seconds for seconds, score in curve if sign * score >= sign * goal), math.inf)


def verdict(ours: Floats, theirs: Floats) -> str:
    """`win`, `tie` or `loss` of the mean losses, by a paired bootstrap over rows."""
    difference = theirs - ours
    random = np.random.default_rng(0)
    means = [difference[random.integers(0, len(difference), len(difference))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return "win" if low > 0 else "loss" if high < 0 else "tie"


def ranks(scores: Mapping[str, float], metric: str) -> dict[str, float]:
    """1 for the best; equal scores share a rank.

    Examples:
        >>> ranks({"a": 0.9, "b": 0.8, "c": 0.9}, "accuracy")
        {'a': 1.5, 'b': 3.0, 'c': 1.5}
    """
    sign = -1 if HIGHER_IS_BETTER[metric] else 1
    ordered = sorted(sign * score for score in scores.values())
    return {name: ordered.index(sign * s) + (ordered.count(sign * s) + 1) / 2 for name, s in scores.items()}


def normalised(scores: Mapping[str, float], metric: str) -> dict[str, float]:
    """1 for the best, 0 for the median or worse.

    Examples:
        >>> normalised({"a": 4.0, "b": 2.0, "c": 3.0}, "rmse")
        {'a': 0.0, 'b': 1.0, 'c': 0.0}
    """
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    values = {name: sign * score for name, score in scores.items()}
    best, middle = max(values.values()), statistics.median(values.values())
    if best == middle:
        return {name: float(value == best) for name, value in values.items()}
    return {name: max(0.0, (value - middle) / (best - middle)) for name, value in values.items()}


def label(key: Key) -> str:
    """A contestant's name in the tables."""
    return f"{key.contestant} {key.preset}" if key.preset not in ("", DEFAULT) else key.contestant


def standings(records: Iterable[Record], tables: Mapping[str, PublicTable]) -> Standings:
    """By table and label, the tables in their order; of several recipes the one that was measured last."""
    grouped: dict[str, dict[str, list[Record]]] = {name: {} for name in tables}
    for record in records:
        grouped[record.key.table].setdefault(label(record.key), []).append(record)
    found: dict[str, dict[str, Standing]] = {}
    for table, by_label in grouped.items():
        for name, group in by_label.items():
            latest = max(group, key=lambda record: record.measured).recipe
            kept = [record for record in group if record.recipe == latest]
            found.setdefault(table, {})[name] = Standing(kept, tables[table].metric)
    return found


def as_markdown(store: Store, current: Recipe, tables: Mapping[str, PublicTable]) -> str:
    """All of results/accuracy.md, or of results/unseen.md.

    Args:
        store: What was measured.
        current: The recipe that one of ours would be trained by now.
        tables: Those that can be measured.
    """
    records = list(store.records.values())
    found = standings(records, tables)
    labels = _labels(found)
    if not labels:
        return "Nothing has been measured.\n"
    outdated = {
        (table, name)
        for table, by_label in found.items()
        for name, standing in by_label.items()
        if _is_ours(name) and standing.records[0].recipe != current(standing.records[0].key)
    }
    parts = [
        _scores(found, labels, outdated),
        _summary(found, labels, store),
        _times(found, labels),
        _notes(found, records, outdated, [name for name in tables if name not in found]),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _metric(by_label: Mapping[str, Standing]) -> str:
    """By which a table's contestants are compared."""
    return next(iter(by_label.values())).metric


def _ranks(by_label: Mapping[str, Standing]) -> dict[str, float]:
    return ranks({name: standing.score for name, standing in by_label.items()}, _metric(by_label))


def _labels(found: Standings) -> list[str]:
    """Ours first, then the others by the order of their mean ranks where they were measured."""
    names = dict.fromkeys(name for by_label in found.values() for name in by_label)

    def place(name: str) -> tuple[bool, bool, float]:
        places = [_ranks(by_label)[name] for by_label in found.values() if name in by_label]
        return not _is_ours(name), name != OURS, statistics.mean(places)

    return sorted(names, key=place)


def _is_ours(name: str) -> bool:
    return name.split(" ", maxsplit=1)[0] == OURS


def _scores(found: Standings, labels: Sequence[str], outdated: Collection[tuple[str, str]]) -> list[str]:
    published = PUBLISHED.keys() & found.keys()
    heads = ["table", "metric", *labels, *(["published"] if published else [])]
    lines = [_row(*heads), "|---" * len(heads) + "|"]
    for table, by_label in found.items():
        best = min(places := _ranks(by_label), key=lambda n: places[n])
        cells = []
        for name in labels:
            if name not in by_label:
                cells.append(NONE)
                continue
            standing = by_label[name]
            text = _number(standing.score)
            text = f"**{text}**" if places[name] == places[best] else text
            text += f" ± {_number(standing.spread)}" if standing.spread is not None else ""
            cells.append(text + (" †" if (table, name) in outdated else ""))
        lines.append(_row(table, _metric(by_label), *cells, *([PUBLISHED.get(table, NONE)] if published else [])))
    return lines


def _summary(found: Standings, labels: Sequence[str], store: Store) -> list[str]:
    counted = {table: by_label for table, by_label in found.items() if OURS in by_label} or dict(found)
    whole = [name for name in labels if all(name in by_label for by_label in counted.values())]
    lines = [
        _row("model", "tables", "mean rank", "normalised score", "ours wins, ties, loses", "seconds, median"),
        "|---" * 6 + "|",
    ]
    for name in labels:
        own_preset = name if _is_ours(name) else OURS  # of ours, the one that is ranked among the others
        rivals = [other for other in whole if other == own_preset or not _is_ours(other)]
        rank = share = NONE
        if name in whole:
            scores = [({n: by_label[n].score for n in rivals}, _metric(by_label)) for by_label in counted.values()]
            rank = f"{statistics.mean(ranks(*compared)[name] for compared in scores):.2f}"
            share = f"{statistics.mean(normalised(*compared)[name] for compared in scores):.2f}"
        elif not _is_ours(name) and OURS in rivals:
            rank = _rank_where_measured(name, rivals, counted)
        own = [by_label[name] for by_label in found.values() if name in by_label]
        told = [] if _is_ours(name) else _verdicts(found, name, store)
        wins = ", ".join(str(told.count(word)) for word in ("win", "tie", "loss")) if told else NONE
        seconds = statistics.median(standing.seconds for standing in own)
        lines.append(_row(name, str(len(own)), rank, share, wins, f"{seconds:.1f}"))
    return lines


def _rank_where_measured(name: str, rivals: Sequence[str], found: Standings) -> str:
    """Mean ranks of one that lacks tables, and of our default, on the tables that it has."""
    places = [
        ranks({n: by_label[n].score for n in (*rivals, name)}, _metric(by_label))
        for by_label in found.values()
        if name in by_label
    ]
    if not places:
        return NONE
    theirs, ours = (statistics.mean(place[n] for place in places) for n in (name, OURS))
    return f"{theirs:.2f}, ours {ours:.2f}"


def _verdicts(found: Standings, name: str, store: Store) -> list[str]:
    told = []
    for by_label in found.values():
        if OURS in by_label and name in by_label:
            ours, theirs = store.losses(by_label[OURS].keys), store.losses(by_label[name].keys)
            if ours is not None and theirs is not None:
                told.append(verdict(ours, theirs))
    return told


def _times(found: Standings, labels: Sequence[str]) -> list[str]:
    own = [name for name in labels if _is_ours(name)]
    if not own:
        return []
    heads = [text for name in own for text in (f"seconds of {name}", f"to {REFERENCE}'s score")]
    lines = [_row("table", *heads, f"seconds of {REFERENCE}"), "|---" * (len(heads) + 2) + "|"]
    for table, by_label in found.items():
        reference = by_label.get(REFERENCE)
        cells = []
        for name in own:
            standing = by_label.get(name)
            cells.append(f"{standing.seconds:.0f}" if standing else NONE)
            reached = math.inf
            if standing and reference:
                goal = statistics.mean(record.validation[reference.metric] for record in reference.records)
                reached = standing.seconds_to(goal)
            cells.append(f"{reached:.0f}" if math.isfinite(reached) else NONE)
        lines.append(_row(table, *cells, f"{reference.seconds:.1f}" if reference else NONE))
    return lines


def _notes(
    found: Standings, records: Sequence[Record], outdated: Collection[tuple[str, str]], left: Sequence[str]
) -> list[str]:
    shown = [standing for by_label in found.values() for standing in by_label.values()]
    ours = sorted({len(s.records) for s in shown if s.records[0].key.contestant == OURS})
    others = sorted({len(s.records) for s in shown if s.records[0].key.contestant != OURS})
    notes = ["Normalised score: 1 for the best on a table, 0 for the median or worse."]
    if ours:
        notes.append(f"Ours: mean and standard deviation over {_seeds(ours)}.")
    if others:
        notes.append(f"The others: {_seeds(others)}.")
    machines = sorted({f"{r.machine['cpu']}, {how_many(r.machine['threads'], 'thread')}" for r in records if r.machine})
    if machines:
        notes.append(f"Trained on: {'; '.join(machines)}.")
    shared = sum(bool(r.machine.get("shared")) for r in records)
    if shared:
        notes.append(f"Other work ran beside {shared} of the {len(records)} trainings: their seconds are too many.")
    if outdated:
        notes.append("† By an earlier recipe than today's; run again to renew it.")
    if left:
        notes.append(f"Not measured: {', '.join(left)}.")
    return [" ".join(notes)]


def _number(value: float) -> str:
    return f"{value:.4f}" if value < 10 else f"{value:.2f}"


def _seeds(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers)) + (" seed" if numbers[-1] == 1 else " seeds")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
