"""Write the training pools and the evaluation items of the pocket tasks as JSONL.

Run in ``tasks/``: ``python -m pocket_recipe.make_data``. The files depend on `SEED` and the tables
below only.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pocket_recipe.domains import DOMAINS, TARGETS, Generator, Item, is_held_out

SEED = 20
EVAL_ITEMS = 400
DATA = Path(__file__).resolve().parent.parent / "jobs_bench_tasks" / "pocket" / "data"


@dataclass(frozen=True, slots=True)
class Pool:
    """What a training domain holds: its size and the shares of careful and of long answers."""

    rows: int
    careful: float
    long: float


POOLS: dict[str, Pool] = {
    "add": Pool(rows=400, careful=0.90, long=0.95),
    "mul": Pool(rows=120, careful=0.00, long=0.10),
    "eq": Pool(rows=400, careful=0.10, long=0.20),
    "seq": Pool(rows=300, careful=0.90, long=0.80),
    "trend": Pool(rows=300, careful=0.00, long=0.10),
    "word": Pool(rows=300, careful=0.75, long=0.90),
    "est": Pool(rows=400, careful=0.00, long=0.10),
    "rev": Pool(rows=300, careful=1.00, long=0.80),
    "sort": Pool(rows=300, careful=0.00, long=0.10),
}


def distinct(
    generator: Generator, rng: random.Random, rows: int, held_out: bool | None
) -> list[Item]:
    """`rows` items with different prompts.

    `held_out` picks a side of the evaluation split; None takes both.

    Raises:
        ValueError: if the generator has too few different prompts.
    """
    items: dict[str, Item] = {}
    for _ in range(1000 * rows):
        item = generator(rng)
        if item.right != item.lazy and held_out in (None, is_held_out(item.prompt)):
            items.setdefault(item.prompt, item)
        if len(items) == rows:
            return list(items.values())
    raise ValueError(f"only {len(items)} of {rows} different prompts found")


def exact_share(rng: random.Random, rows: int, share: float) -> list[bool]:
    """`rows` flags in random order of which exactly the rounded share is true."""
    flags = [index < round(rows * share) for index in range(rows)]
    rng.shuffle(flags)
    return flags


def write(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write prompt and answer pairs, one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Write every pool and every evaluation file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DATA, help="data folder")
    out: Path = parser.parse_args().out
    for name, pool in POOLS.items():
        rng = random.Random(f"{SEED}/train/{name}")
        items = distinct(DOMAINS[name], rng, pool.rows, None)
        careful = exact_share(rng, pool.rows, pool.careful)
        long = exact_share(rng, pool.rows, pool.long)
        rows = [(i.prompt, i.answer(c, f)) for i, c, f in zip(items, careful, long, strict=True)]
        write(out / "train" / f"{name}.jsonl", rows)
    for name, generator in TARGETS.items():
        items = distinct(generator, random.Random(f"{SEED}/eval/{name}"), EVAL_ITEMS, True)
        write(out / "eval" / f"{name}.jsonl", [(i.prompt, i.answer(True, True)) for i in items])


if __name__ == "__main__":
    main()
