"""Build the native parts; everything else is declared in pyproject.toml.

``JOBS_BENCH_NATIVE`` says which: ``off`` builds none, ``cpu`` those for the CPU, ``cuda`` those for
both, ``auto`` (the default) those that there are compilers for, and says what is left out. A source
that does not compile is an error in every mode: what was left out silently would be missed late.

- ``jobs_bench._C``: the operators, on torch's stable ABI. CUDA sources know no torch and are
  compiled by nvcc directly, so that they build beside any build of torch; the result links all of
  the CUDA runtime it needs and loads where there is neither driver nor toolkit.
- ``jobs_bench._host``: classes with a state of their own, by pybind11.

Contraction of ``a * b + c`` is off everywhere: CPU and GPU shall give the same bits.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

MODES = ("off", "cpu", "cuda", "auto")
ROOT = Path(__file__).parent
CXX = ["-O3", "-g0", "-Wall", "-Wextra", "-std=c++20", "-fvisibility=hidden"]
CXX += ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
CXX += ["-DTORCH_TARGET_VERSION=0x020b000000000000"]  # 2.11, the oldest that the binary loads with
NVCC = ["-O3", "-std=c++20", "-fmad=false", "--threads=3"]
NVCC += ["-Xcompiler=-fPIC,-ffp-contract=off,-fvisibility=hidden"]
PTX = "compute_80"  # what a device that is none of MACHINES compiles for itself
MACHINES = ("sm_80", "sm_90", "sm_100")  # A100, H100 and H200, B200


def say(message: str) -> None:
    """Print `message` where a build's warnings are looked for."""
    print(f"jobs-bench: {message}", file=sys.stderr)  # noqa: T201


def sources(*patterns: str) -> list[str]:
    """Return files below csrc, relative to the root, in a fixed order."""
    return sorted(str(p.relative_to(ROOT)) for g in patterns for p in ROOT.glob(f"csrc/{g}"))


def compiler() -> str | None:
    """Return the C++ compiler that torch's build would take, if it is there."""
    return shutil.which(os.environ.get("CXX", "c++").split()[0])


def toolkit() -> str | None:
    """Return nvcc: that of ``CUDA_HOME``, else the one on the path, else none."""
    home = os.environ.get("CUDA_HOME")
    return shutil.which("nvcc", path=str(Path(home) / "bin")) if home else shutil.which("nvcc")


def wanted() -> set[str]:
    """Return ``cpu`` and ``cuda`` as asked for and possible.

    Raises:
        SystemExit: What was asked for is unknown or has no compiler.
    """
    mode = os.environ.get("JOBS_BENCH_NATIVE", "auto")
    if mode not in MODES:
        raise SystemExit(f"got JOBS_BENCH_NATIVE={mode!r}; wanted one of {', '.join(MODES)}")
    if mode == "off":
        return set()
    if compiler() is None:
        missing = f"no C++ compiler ({os.environ.get('CXX', 'c++')})"
        if mode != "auto":
            raise SystemExit(f"got JOBS_BENCH_NATIVE={mode}, but {missing}")
        say(f"{missing}: WITHOUT NATIVE OPERATORS; the plain reference will run, slowly")
        return set()
    if mode == "cpu":
        return {"cpu"}
    if toolkit() is None:
        if mode == "cuda":
            raise SystemExit("got JOBS_BENCH_NATIVE=cuda, but no nvcc, on PATH or in CUDA_HOME")
        say("no nvcc: native operators for the CPU only")
        return {"cpu"}
    return {"cpu", "cuda"}


NATIVE = wanted()


class Build(BuildExtension):
    """torch's build, with nvcc's objects made beforehand."""

    def build_extensions(self) -> None:
        """Compile the CUDA sources, then build every extension."""
        if "cuda" in NATIVE:
            operators = next(e for e in self.extensions if e.name == "jobs_bench._C")
            operators.extra_objects = self.cuda_objects()
            operators.library_dirs.append(str(cuda_libraries()))
        super().build_extensions()

    def cuda_objects(self) -> list[str]:
        """Return the compiled CUDA sources; ninja makes them, all at once."""
        folder = Path(self.build_temp).resolve() / "cuda"
        folder.mkdir(parents=True, exist_ok=True)
        objects = {source: f"{Path(source).stem}.o" for source in sources("cuda/*.cu")}
        command = [toolkit(), *NVCC, targets(), "-MD", "-MF", "$out.d", "-c", "$in", "-o", "$out"]
        rules = [f"rule nvcc\n  command = {' '.join(map(str, command))}\n  depfile = $out.d"]
        rules += [f"build {out}: nvcc {ROOT.resolve() / src}" for src, out in objects.items()]
        (folder / "build.ninja").write_text("\n".join(rules) + "\n", encoding="utf-8")
        subprocess.run(["ninja", "-C", str(folder)], check=True, stdout=sys.stderr)
        return [str(folder / out) for out in objects.values()]


def targets() -> str:
    """Return nvcc's flag for those of `MACHINES` that it knows; one PTX is the source of all."""
    known = subprocess.run(
        [str(toolkit()), "--list-gpu-code"], check=True, capture_output=True, text=True
    ).stdout.split()
    codes = [PTX, *(machine for machine in MACHINES if machine in known)]
    if len(codes) == 1:
        raise SystemExit(f"got nvcc for {', '.join(known)}; wanted any of {', '.join(MACHINES)}")
    return f"-gencode=arch={PTX},code=[{','.join(codes)}]"


def cuda_libraries() -> Path:
    """Return the folder of the static CUDA runtime that belongs to nvcc."""
    dry = [str(toolkit()), "--dryrun", "-x", "cu", "-c", os.devnull, "-o", os.devnull]
    said = subprocess.run(dry, check=True, capture_output=True, text=True).stderr
    top = re.search(r"^#\$ TOP=(.*)$", said, re.MULTILINE)
    folders = (
        [Path(top[1]) / d for d in ("lib64", "lib", "targets/x86_64-linux/lib")] if top else []
    )
    for folder in folders:
        if (folder / "libcudart_static.a").exists():
            return folder.resolve()
    raise SystemExit(f"no libcudart_static.a in {', '.join(map(str, folders)) or 'the toolkit'}")


def operators() -> Extension:
    """Return ``jobs_bench._C``."""
    names = sources("library.cpp", "cpu/*.cpp", "ops/*.cpp")
    link = ["-Wl,-z,defs", "-Wl,--exclude-libs,ALL"] if sys.platform == "linux" else []
    if "cuda" in NATIVE:
        link += ["-lcudart_static", "-ldl", "-lrt", "-lpthread"]
    else:
        names = [name for name in names if not name.endswith("_cuda.cpp")]
    return CppExtension(
        "jobs_bench._C",
        names,
        depends=sources("**/*.h"),
        extra_compile_args={"cxx": CXX},
        extra_link_args=link,
        py_limited_api=True,
    )


def host() -> Extension:
    """Return ``jobs_bench._host``."""
    return Extension(
        "jobs_bench._host",
        sources("host/*.cpp"),
        include_dirs=[pybind11.get_include()],
        depends=sources("**/*.h"),
        extra_compile_args={"cxx": CXX},
        language="c++",
    )


if __name__ == "__main__":
    HOST = bool(sources("host/*.cpp"))
    setup(
        ext_modules=[operators(), *([host()] if HOST else [])] if NATIVE else [],
        cmdclass={"build_ext": Build},
        # pybind11 is not on the limited API: with it, a wheel is for one version of Python
        options={} if HOST else {"bdist_wheel": {"py_limited_api": "cp311"}},
    )
