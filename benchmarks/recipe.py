"""What each choice of the default recipe is worth: the default with one choice changed, on validation scores.

    python benchmarks/recipe.py --data FOLDER [--sets california adult churn] [--seeds 0 1 2] [--only rope ...]

Every variant is trained as `benchmarks/accuracy.py` trains the default, on the same rows. The recipe is chosen by the
validation scores alone; test rows are not looked at. A gain is what a variant's score is ahead of the default's, seed
by seed, in hundredths of the metric (percentage points of accuracy, 0.01 of RMSE), and above 0 where the variant is
better. Of every table both its own metric and the loss that is trained (log-loss, or RMSE) are shown: the loss tells
variants apart that agree in all but a handful of rows. Writes results/recipe.{json,md} and the table of docs/recipe.md;
what is measured stays and is added to, until a choice of the default itself changes and `--again` measures anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import polars as pl
from accuracy import fit_once
from sklearn.datasets import load_digits
from tables import TABLES, PublicTable
from update_readme import filled

from mlpipe.training.metrics import HIGHER_IS_BETTER

HERE = Path(__file__).resolve().parent
PRESETS = HERE.parent / "configs" / "presets"
#: Small and large, two classes and many, and a regression.
SETS = ("churn", "telco", "shoppers", "letter", "digits", "adult", "california")


def _digits() -> tuple[pl.DataFrame, None]:
    """scikit-learn's handwritten digits, 8 by 8 pixels: a second table of many classes, for the rule on them."""
    digits = load_digits()
    names = [f"pixel_{index}" for index in range(digits.data.shape[1])]
    return pl.DataFrame(digits.data, schema=names).with_columns(digit=pl.Series(map(str, digits.target))), None


TRIED = {**TABLES, "digits": PublicTable((), "digit", "accuracy", _digits, 1149, outputs=10)}
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
    "Transformer trunk on every table": ["--model.trunk=transformer"],
    "MLP trunk on every table": ["--model.trunk=mlp", "--model.width=16"],
    "MLP trunk, 16 members of 128, on every table": [
        *("--model.trunk=mlp", "--model.width=16", "--model.members=16", "--model.member_width=128"),
    ],
    "2 networks": ["--model.ensemble=2"],
    "preset fast: MLP trunk, 8 members": [f"--config={PRESETS / 'fast.yaml'}"],
    "preset best: 4 networks": [f"--config={PRESETS / 'best.yaml'}"],
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


#: Of a table, variant and seed: the validation score by metric.
Scores = dict[str, float]
#: By table, then variant, then seed.
Results = dict[str, dict[str, dict[str, Scores]]]


def gains(variant: str, metric: str, runs: dict[str, dict[str, Scores]]) -> list[float]:
    """How far a variant is ahead of the default, in hundredths of the metric: for each seed that both have."""
    sign = 100 if HIGHER_IS_BETTER[metric] else -100
    default, changed = runs.get("default", {}), runs.get(variant, {})
    return [sign * (changed[seed][metric] - default[seed][metric]) for seed in sorted(default.keys() & changed.keys())]


def shown_metrics(table: str) -> list[str]:
    """The metric by which a table is compared, and the loss if it is another."""
    metric = TRIED[table].metric
    return [metric] if metric == "rmse" else [metric, "log_loss"]


def as_markdown(results: Results) -> str:
    """A line per variant, a column per table and metric, the best mean gain first."""
    columns = [(table, metric) for table in results for metric in shown_metrics(table)]

    def mean_gain(variant: str) -> float:
        known = [
            statistics.mean(found)
            for table in results
            if (found := gains(variant, shown_metrics(table)[-1], results[table]))
        ]
        return statistics.mean(known) if known else 0.0

    lines = [
        "| the default with | "
        + " | ".join(f"{table} {metric}" for table, metric in columns)
        + " | mean gain in loss |",
        "|---" * (len(columns) + 2) + "|",
    ]
    measured = [name for name in VARIANTS if any(runs.get(name) for runs in results.values())]
    for variant in sorted(measured, key=mean_gain, reverse=True):
        cells = [_cell(variant, metric, results[table]) for table, metric in columns]
        lines.append(f"| {variant} | " + " | ".join(cells) + f" | {mean_gain(variant):+.2f} |")
    lines += [
        "",
        "Validation scores, means over seeds; in brackets what each seed gains on the default's, in hundredths.",
    ]
    return "\n".join(lines) + "\n"


def _cell(variant: str, metric: str, runs: dict[str, dict[str, Scores]]) -> str:
    scores = [found[metric] for found in runs.get(variant, {}).values()]
    if not scores:
        return ""
    ahead = gains(variant, metric, runs) if variant != "default" else []
    return f"{statistics.mean(scores):.4f}" + (f" ({', '.join(f'{gain + 0:+.2f}' for gain in ahead)})" if ahead else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--sets", nargs="+", choices=TRIED, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants, default first")
    parser.add_argument("--again", action="store_true", help="forget what an earlier run has measured")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument(
        "--page", type=Path, default=HERE.parent / "docs" / "recipe.md", help="where the table is shown"
    )
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    record = args.results / "recipe.json"
    known: Results = json.loads(record.read_text()) if record.exists() and not args.again else {}
    for variant in dict.fromkeys(["default", *args.only]):
        for name in args.sets:
            scores = known.setdefault(name, {}).setdefault(variant, {})
            with tempfile.TemporaryDirectory() as folder:
                for part, frame in TRIED[name].parts(args.data).items():
                    frame.write_csv(Path(folder) / f"{part}.csv")
                for seed in args.seeds:
                    if str(seed) in scores:
                        continue
                    run = fit_once(Path(folder), TRIED[name].target, seed, VARIANTS[variant])
                    scores[str(seed)] = {metric: run["validation"][metric] for metric in shown_metrics(name)}
                    told = ", ".join(f"{metric} {score:.4f}" for metric, score in scores[str(seed)].items())
                    print(f"{variant}, {name}, seed {seed}: {told}, {run['seconds']:.0f} s", flush=True)
                    record.write_text(json.dumps(known, indent=2) + "\n")
    (args.results / "recipe.md").write_text(as_markdown(known))
    args.page.write_text(filled(args.page.read_text(encoding="utf-8"), args.results), encoding="utf-8")
    print(as_markdown(known))


if __name__ == "__main__":
    main()
