"""What was built: every symbol found, kernels for every device, PTX that rounds as the CPU does."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs_bench import ops
from jobs_bench.ops._backend import NATIVE_OPS

ROOT = Path(__file__).parents[2]
NVCC = shutil.which("nvcc")
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="no nvcc")


@pytest.fixture
def native() -> Path:
    """The compiled operators."""
    if ops.why_no_native:
        pytest.skip(ops.why_no_native)
    path = sys.modules["jobs_bench._C"].__file__
    assert path is not None
    return Path(path)


def _setup(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    """Return the names of setup.py as run in an environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(ROOT / "setup.py"), run_name="read")


def test_every_symbol_is_found_at_once(native: Path) -> None:
    modules = ["jobs_bench._C"]
    if list(native.parent.glob("_host.*")):
        modules.append("jobs_bench._host")
    code = "import torch, jobs_bench.ops\n" + "\n".join(f"import {name}" for name in modules)
    env = {**os.environ, "LD_BIND_NOW": "1"}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_neither_driver_nor_cuda_library_is_asked_for(native: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("no readelf")
    said = subprocess.run(
        ["readelf", "--dynamic", str(native)], check=True, capture_output=True, text=True
    ).stdout
    needed = [line for line in said.splitlines() if "(NEEDED)" in line]
    assert any("libtorch_cpu" in line for line in needed)
    assert not any("cuda" in line or "nvidia" in line for line in needed), needed


def test_nothing_newer_than_the_oldest_torch_is_asked_for(native: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("no readelf")
    said = subprocess.run(
        ["readelf", "--dyn-syms", "--wide", str(native)], check=True, capture_output=True, text=True
    ).stdout
    # what the headers of torch 2.13 call where a file does not say that it is for 2.11
    assert "torch_call_dispatcher" in said
    assert "torch_exception_get_what" not in said


@needs_nvcc
def test_with_a_toolkit_every_operator_has_a_cuda_kernel(native: Path) -> None:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    assert [name for name in NATIVE_OPS["CUDA"] if not has(f"jobs_bench::{name}", "CUDA")] == []


TINY = """
#include "{root}/csrc/core/gp.h"
extern "C" __global__ void tiny(double* x) {{
  using namespace jobs_bench;
  x[0] = x[1] * x[2] + x[3];
  x[4] = fused(x[5], x[6], x[7]);
  x[8] = gp_reach<kMatern12>(x[9]) / x[10];
}}
"""


@needs_nvcc
def test_nvcc_contracts_nothing_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ptx = _ptx(tmp_path, TINY.format(root=ROOT), monkeypatch)
    assert ptx.count("fma.rn.f64") == 1
    assert ptx.count("mul.rn.f64") == 1
    assert ptx.count("add.rn.f64") == 1
    assert ptx.count("sqrt.rn.f64") == 1
    assert ptx.count("div.rn.f64") == 1


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("name", ["mix", "gp"])
def test_kernels_round_as_the_processor_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ptx = _ptx(tmp_path, f'#include "{ROOT}/csrc/cuda/{name}.cu"\n', monkeypatch)
    assert ".entry" in ptx
    for loose in (".approx", ".ftz", ".full.f32", "fma.rz", "fma.rm", "fma.rp"):
        assert loose not in ptx
    assert ("fma.rn.f64" in ptx) == (name == "gp"), "mixtures are drawn by integers alone"


def _ptx(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what nvcc makes of a source with the build's own flags."""
    flags = [f for f in _setup(monkeypatch)["NVCC"] if not f.startswith("--threads")]
    (folder / "source.cu").write_text(source, encoding="utf-8")
    command = [str(NVCC), *flags, "-arch=compute_80", "-ptx", "source.cu", "-o", "out.ptx"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "out.ptx").read_text(encoding="utf-8")


BITS = """
#include <cstdio>
#include <cstring>
#include "{root}/csrc/core/gp_plan.h"
using namespace jobs_bench;

// Hash of what the shared arithmetic makes of many numbers.
int main() {{
  uint64_t hash = 1469598103934665603u;
  const auto take = [&](double x) {{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    hash = (hash ^ bits) * 1099511628211u;
  }};
  const PlanTerm terms[] = {{{{2, 2, 1, 2, 0, 0, 7, {{0, 2}}}}, {{3, 1, 0, 1, 5, 8, 10, {{1}}}}}};
  const PlanColumn columns[8] = {{}};
  const GpPlan plan = {{2, 8, 11, 8, terms, columns}};
  for (uint32_t i = 0; i < 20000; ++i) {{
    const Words4 w = philox({{{{i, 1, 2, 3}}}}, 7, 9);
    double x[16], theta[16];
    for (int k = 0; k < 16; ++k) {{
      x[k] = philox({{{{i, k + 4u, 0, 0}}}}, 7, 9).w[0] * 0x1p-32;
      theta[k] = 0.1 + philox({{{{i, k + 4u, 1, 0}}}}, 7, 9).w[0] * 0x1p-31;
    }}
    take(exp_of((w.w[0] * 0x1p-32 - 0.5) * 1500));
    take(log_of(exp_of((w.w[1] * 0x1p-32 - 0.5) * 1000)));
    const PlanPoints at = {{x, 2}};
    take(plan_covariance(plan, theta, at, 0, at, 1));
    take(plan_variance(plan, theta, at, 0, x, nullptr));
  }}
  std::printf("%llx\\n", static_cast<unsigned long long>(hash));
}}
"""


@needs_nvcc
def test_the_covariance_of_a_pair_has_one_set_of_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nvcc's host code, and the compiler's plain, with fused multiply-adds and vectorised."""
    names = _setup(monkeypatch)
    text = BITS.format(root=ROOT)
    (tmp_path / "bits.cu").write_text(text, encoding="utf-8")
    (tmp_path / "bits.cpp").write_text(text, encoding="utf-8")
    cxx = [str(names["compiler"]()), *names["CXX"], "bits.cpp", "-o"]
    fast = ["-mavx2", "-mfma"] if os.uname().machine == "x86_64" else []
    commands = [
        [str(NVCC), *names["NVCC"], "bits.cu", "-o", "nvcc"],
        [*cxx, "plain"],
        [*cxx, "vectors", *fast],
        [*cxx, "slow", "-O0"],
    ]
    hashes = set()
    for command in commands:
        subprocess.run(command, cwd=tmp_path, check=True)
        program = next(word for word in command if word in ("nvcc", "plain", "vectors", "slow"))
        hashes.add(subprocess.run([f"./{program}"], cwd=tmp_path, capture_output=True).stdout)
    assert len(hashes) == 1, hashes


def test_the_build_says_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CUDA_HOME", raising=False)
    assert _setup(monkeypatch, JOBS_BENCH_NATIVE="off")["NATIVE"] == set()
    assert capsys.readouterr().err == ""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is not None:
        (tmp_path / "c++").symlink_to(compiler)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("CXX", "c++")
        assert _setup(monkeypatch, JOBS_BENCH_NATIVE="auto")["NATIVE"] == {"cpu"}
        assert "no nvcc" in capsys.readouterr().err
        with pytest.raises(SystemExit, match="no nvcc"):
            _setup(monkeypatch, JOBS_BENCH_NATIVE="cuda")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert _setup(monkeypatch, JOBS_BENCH_NATIVE="auto")["NATIVE"] == set()
    assert "WITHOUT NATIVE OPERATORS" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"no C\+\+ compiler \(no-such-compiler\)"):
        _setup(monkeypatch, JOBS_BENCH_NATIVE="cpu")
    with pytest.raises(SystemExit, match="'fast'; wanted one of off, cpu, cuda, auto"):
        _setup(monkeypatch, JOBS_BENCH_NATIVE="fast")
