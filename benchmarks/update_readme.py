"""Put the tables of the results into README.md and docs/recipe.md, each between the markers of its name.

    python benchmarks/update_readme.py [--pages FILE...] [--results FOLDER]

`<!-- flights:start -->` to `<!-- flights:end -->` becomes what `results/flights.md` holds, and so on for every name
that a page has markers for. `tests/unit/test_docs.py` compares the two.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES = [HERE.parent / "README.md", HERE.parent / "docs" / "recipe.md"]
MARKED = re.compile(
    r"(?P<start><!-- (?P<name>\w+):start -->\n)(?P<content>.*?)(?P<end><!-- (?P=name):end -->)", re.DOTALL
)


def marked(text: str) -> dict[str, str]:
    """What stands between the markers, by name."""
    return {found["name"]: found["content"] for found in MARKED.finditer(text)}


def filled(text: str, results: Path) -> str:
    """The text with the results' files between its markers.

    Raises:
        FileNotFoundError: There is no file for a marker's name.
    """
    return MARKED.sub(lambda m: m["start"] + (results / f"{m['name']}.md").read_text("utf-8") + m["end"], text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", nargs="+", type=Path, default=PAGES)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    args = parser.parse_args()
    for page in args.pages:
        before = page.read_text(encoding="utf-8")
        try:
            after = filled(before, args.results)
        except FileNotFoundError as error:
            print(f"error: {error.filename} is not there; run the benchmark that writes it first.", file=sys.stderr)
            return 2
        page.write_text(after, encoding="utf-8")
        print(f"{page}: {', '.join(marked(after))}" + ("" if after != before else ", as they were"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
