"""Check what a source distribution and a wheel hold: every native source, every module, the tag."""

from __future__ import annotations

import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path


def main(folder: Path) -> None:
    """Check the one sdist and the one wheel of `folder`.

    Raises:
        SystemExit: Something is missing, too much, or wrongly named.
    """
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    root = Path(__file__).parents[1]
    sources = {str(p.relative_to(root)) for p in root.glob("csrc/**/*.*")}
    if missing := sources - packed:
        raise SystemExit(f"{sdist.name} lacks {', '.join(sorted(missing))}")
    if extra := {name for name in packed if name.endswith((".so", ".o")) or name[:6] == "tests/"}:
        raise SystemExit(f"{sdist.name} holds {', '.join(sorted(extra))}")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    with zipfile.ZipFile(wheel) as archive:
        modules = {name for name in archive.namelist() if name.endswith(".so")}
    wanted = {"jobs_bench/_C.abi3.so"}
    if any(name.startswith("csrc/host/") for name in sources):
        wanted.add(f"jobs_bench/_host{suffix}")
    if modules != wanted:
        raise SystemExit(f"{wheel.name} holds {sorted(modules)}; wanted {sorted(wanted)}")
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tag = f"{python}-{python}-" if len(wanted) > 1 else "cp311-abi3-"
    if tag not in wheel.name:
        raise SystemExit(f"got {wheel.name}; wanted it to be for {tag}")
    held = ", ".join(sorted(modules))
    sys.stdout.write(f"{sdist.name}: {len(sources)} native sources; {wheel.name}: {held}\n")


main(Path(sys.argv[1]))
