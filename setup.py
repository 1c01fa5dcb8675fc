"""Build the native extension; everything else is declared in pyproject.toml."""

import os
from pathlib import Path

from setuptools import Extension, setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

MODE = os.environ.get("JOBS_BENCH_NATIVE", "cpu")  # off | cpu
ROOT = Path(__file__).parent
FLAGS = ["-O3", "-g0", "-Wall", "-Wextra", "-fno-math-errno", "-ffp-contract=off"]


def extensions() -> list[Extension]:
    """Return the extension to build, or nothing when ``JOBS_BENCH_NATIVE=off``."""
    if MODE not in ("off", "cpu"):
        raise SystemExit(f"got JOBS_BENCH_NATIVE={MODE!r}; wanted off or cpu")
    if MODE == "off":
        return []
    sources = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/**/*.cpp"))
    return [
        CppExtension(
            "jobs_bench._C",
            sources,
            depends=sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/**/*.h")),
            extra_compile_args={"cxx": FLAGS},
            py_limited_api=True,
        )
    ]


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
