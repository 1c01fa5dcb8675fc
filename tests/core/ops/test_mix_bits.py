"""The headers that CPU and CUDA share give one set of bits, whichever compiler reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from jobs_bench import ops
from jobs_bench.ops._mix import draw
from jobs_bench.ops._mix_pack import next_fit
from jobs_bench.ops._mix_tree import build_tree
from jobs_bench.ops._philox import philox

CORE = Path(__file__).parents[3] / "csrc" / "core"

PROGRAM = r"""
#include <cstdio>
#include <vector>
#include "mix_image.h"
#include "mix_pack.h"

using namespace jobs_bench;

// Reads an image and prints what the shared arithmetic makes of it: draws, Philox words, rows.
int main() {
  long long n = 0, streams = 0, domains = 0, count = 0;
  if (std::scanf("%lld %lld %lld %lld", &streams, &domains, &count, &n) != 4) return 1;
  std::vector<int64_t> image(n);
  for (auto& x : image) {
    long long v;
    if (std::scanf("%lld", &v) != 1) return 1;
    x = v;
  }
  for (int64_t k = 0; k < streams; ++k) {
    const StreamView view = image_stream(image.data(), streams, domains, k);
    for (int64_t i = 0; i < count; ++i) {
      const Drawn d = draw_at(view, image_position(image.data(), k) + i);
      std::printf("%lld %lld\n", (long long)d.domain, (long long)d.row);
    }
  }
  for (uint32_t i = 0; i < 100; ++i) {
    const Words4 w = philox({{i, i * 77u, ~i, 5u}}, i ^ 0xABCDu, 1u << (i % 32));
    std::printf("%u %u %u %u\n", w.w[0], w.w[1], w.w[2], w.w[3]);
  }
  NextFit fit{40, 100};
  for (int64_t i = 0; i < 200; ++i) {
    const bool room = fit.place(kept(0, i * i % 131, 100));
    std::printf("%lld\n", room ? (long long)fit.row : -1ll);
  }
}
"""


def image_of(
    nodes: list[list[int]], frozen: list[int], sizes: list[int], seed: int, start: int
) -> list[int]:
    """Two streams, stratified and iid, of one phase each, as core/mix_image.h lays them out."""
    domains = len(frozen)
    body = [*sizes, *[0] * (domains + 1)]
    at = 16 + len(body)
    flat = [x for node in nodes for x in node]
    root = len(nodes) - 1
    tables = [*flat, 0, root, *[0] * domains, *np.cumsum(frozen).tolist()]
    marks = [at, at + len(flat), at + len(flat) + 2, at + len(flat) + 2 + domains]
    heads = [x for kind in (1, 0) for x in (*marks, 1, seed, start, kind)]
    return [*heads, *body, *tables]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[int]]]:
    """What the program prints, by compiler."""
    folder = tmp_path_factory.mktemp("bits")
    (folder / "bits.cpp").write_text(PROGRAM)
    shutil.copy(folder / "bits.cpp", folder / "bits.cu")
    commands = {
        "g++ -O0": ["g++", "-std=c++20", "-O0", f"-I{CORE}", "bits.cpp"],
        "g++ -O3": ["g++", "-std=c++20", "-O3", f"-I{CORE}", "bits.cpp"],
        "nvcc": ["nvcc", "-std=c++20", "-O3", "-fmad=false", f"-I{CORE}", "bits.cu"],
    }
    given = f"2 {len(FROZEN)} {COUNT} {len(IMAGE)} " + " ".join(map(str, IMAGE))
    out = {}
    for name, command in commands.items():
        if shutil.which(command[0]) is None:
            continue
        subprocess.run([*command, "-o", "bits"], cwd=folder, check=True, capture_output=True)
        run = subprocess.run(
            [str(folder / "bits")], input=given, check=True, capture_output=True, text=True
        )
        out[name] = [[int(x) for x in line.split()] for line in run.stdout.splitlines()]
    return out


FROZEN = ops.freeze_weights([0.5, 1e-4, 0.0, 0.2, 0.3])
SIZES = [10, 1, 7, 2**34 + 3, 3000]
COUNT, SEED, START = 500, 2**62 + 9, 2**59 + 1
NODES = [list(node) for node in build_tree(tuple(FROZEN))]
IMAGE = image_of(NODES, FROZEN, SIZES, SEED, START)


@pytest.mark.parametrize("compiler", ["g++ -O0", "g++ -O3", "nvcc"])
def test_every_compiler_gives_the_references_bits(
    printed: dict[str, list[list[int]]], compiler: str
) -> None:
    if compiler not in printed:
        pytest.skip(f"no {compiler.split()[0]} on this machine")
    lines = printed[compiler]
    for k, stratified in enumerate((True, False)):
        domain, row = draw(FROZEN, SIZES, SEED, START, COUNT, stratified, ())
        want = np.stack([domain, row], axis=1).tolist()
        assert lines[k * COUNT : (k + 1) * COUNT] == want
    at = 2 * COUNT
    for i, words in enumerate(lines[at : at + 100]):
        counter = (i, i * 77, ~i & 0xFFFFFFFF, 5)
        c = tuple(np.asarray(x, dtype=np.uint64) for x in counter)
        key = tuple(np.asarray(x, dtype=np.uint64) for x in (i ^ 0xABCD, 1 << i % 32))
        assert [int(w) for w in philox(c, key)] == words  # type: ignore[arg-type]
    lengths = np.minimum(np.arange(200) ** 2 % 131, 100)
    placed = next_fit(lengths, 40, 100)
    got = [line[0] for line in lines[at + 100 :]]
    assert got == placed + [-1] * (200 - len(placed))
