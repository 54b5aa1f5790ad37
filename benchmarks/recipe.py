"""What each choice of the default recipe is worth: the default with one choice changed, on validation scores.

    python benchmarks/recipe.py --data FOLDER [--sets california adult churn] [--seeds 0 1 2] [--only rope ...]

Every variant is trained as `benchmarks/accuracy.py` trains the default, on the same rows. The recipe is chosen by the
validation scores alone; test rows are not looked at. A variant's figure for a table is its mean over the seeds against
the default's, in units of the default's spread over the seeds, so that tables and metrics can be averaged; above 0 is
better than the default. Writes results/recipe.{json,md}, and keeps what an earlier run of the same version measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from accuracy import fit_once
from tables import TABLES

from mlpipe.training.metrics import HIGHER_IS_BETTER

HERE = Path(__file__).resolve().parent
#: Name of a variant: what it changes.
VARIANTS: dict[str, list[str]] = {
    "default": [],
    "no neighbours": ["--features.neighbors=never"],
    "neighbours on every table": ["--features.neighbors=always"],
    "no rotary position": ["--model.rope=none"],
    "readout tokens from the first block on": ["--model.readout=all"],
    "8 readout tokens": ["--model.readout_tokens=8"],
    "32 readout tokens": ["--model.readout_tokens=32"],
    "1 readout token": ["--model.readout_tokens=1"],
    "16 members in an MLP head": ["--model.readout_tokens=1", "--model.head=members"],
    "3 blocks": ["--model.num_layers=3"],
    "width 96": ["--model.width=96"],
    "quantile bins": ["--features.bins=quantile"],
    "tree bins": ["--features.bins=tree"],
    "periodic embeddings": ["--model.numeric_embedding=plr"],
    "linear embeddings": ["--model.numeric_embedding=linear"],
    "AdamW alone": ["--training.optimizer=adamw", "--training.lr=0.001"],
    "no average of the weights": ["--training.ema_decay=0"],
    "no dropout": ["--model.dropout=0"],
    "dropout 0.1": ["--model.dropout=0.1"],
    "no weight decay": ["--training.weight_decay=0"],
    "label smoothing 0.1": ["--training.label_smoothing=0.1"],
}


def better(name: str, metric: str, runs: dict[str, list[float]]) -> float | None:
    """How far a variant's validation scores are ahead of the default's, in the default's standard deviations."""
    base = runs["default"]
    if name not in runs or len(base) < 2:
        return None
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    spread = statistics.stdev(base) or 1e-9
    return sign * (statistics.mean(runs[name]) - statistics.mean(base)) / spread


def as_markdown(results: dict[str, dict[str, list[float]]]) -> str:
    """A line per variant, a column per table, best first."""
    names = [name for name in VARIANTS if any(name in runs for runs in results.values())]

    def mean(name: str) -> float:
        gains = [better(name, TABLES[table].metric, runs) for table, runs in results.items()]
        known = [gain for gain in gains if gain is not None]
        return statistics.mean(known) if known else 0.0

    head = [f"{table} ({TABLES[table].metric})" for table in results]
    lines = ["| the default with | " + " | ".join(head) + " | mean gain |", "|---" * (len(head) + 2) + "|"]
    for name in sorted(names, key=mean, reverse=True):
        cells = [f"{statistics.mean(runs[name]):.4f}" if name in runs else "" for runs in results.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {mean(name):+.1f} |")
    counts = sorted({len(values) for runs in results.values() for values in runs.values()})
    lines += ["", f"Validation scores, means of {' to '.join(map(str, counts))} seeds."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--sets", nargs="+", choices=TABLES, default=["california", "adult", "churn"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants, default first")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    record = args.results / "recipe.json"
    known: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    for variant in dict.fromkeys(["default", *args.only]):
        for name in args.sets:
            scores = known.setdefault(name, {}).setdefault(variant, {})
            with tempfile.TemporaryDirectory() as folder:
                for part, frame in TABLES[name].parts(args.data).items():
                    frame.write_csv(Path(folder) / f"{part}.csv")
                for seed in args.seeds:
                    if str(seed) in scores:
                        continue
                    run = fit_once(Path(folder), TABLES[name].target, seed, VARIANTS[variant])
                    scores[str(seed)] = run["validation"][TABLES[name].metric]
                    print(
                        f"{variant}, {name}, seed {seed}: {scores[str(seed)]:.4f}, {run['seconds']:.0f} s", flush=True
                    )
                    record.write_text(json.dumps(known, indent=2) + "\n")
    results = {n: {v: list(s.values()) for v, s in variants.items() if s} for n, variants in known.items()}
    (args.results / "recipe.md").write_text(as_markdown(results))
    print(as_markdown(results))


if __name__ == "__main__":
    main()
