#!/usr/bin/env bash
# Everything that needs a GPU, in one go: build, CUDA tests, compute-sanitizer, benchmarks.
#   tests/bench/gpu.sh [python]        python: of an environment with a CUDA build of torch and the
#                                      project's needs; else .venv/bin/python
# Writes results/<GPU's name>/: machine.json, tests.txt, sanitizer.txt, gpu.jsonl. No figure for a
# GPU is claimed anywhere that does not come from such a folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-.venv/bin/python}
export JOBS_BENCH_NATIVE=cuda JOBS_BENCH_REQUIRE_NATIVE=cuda OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# an environment's own tools (ninja) are found first, also where it is not activated
PATH="$(cd "$(dirname "$(command -v "$python")")" && pwd):$PATH"
export PATH
"$python" -m pip install --quiet --no-build-isolation --no-deps -e .
name=$("$python" -c "import re, torch; print(re.sub('[^a-z0-9]+', '-', torch.cuda.get_device_name().lower()).strip('-'))")
out="results/$name"
mkdir -p "$out"
"$python" -c "
import json, platform, torch
from jobs_bench import ops
ops.require_native()
p = torch.cuda.get_device_properties(0)
print(json.dumps({'gpu': p.name, 'capability': f'{p.major}.{p.minor}', 'sms': p.multi_processor_count,
    'bytes': p.total_memory, 'torch': torch.__version__, 'cuda': torch.version.cuda,
    'python': platform.python_version(), **ops.backend_record()}, indent=1))" > "$out/machine.json"

"$python" -P -m pytest -q -m cuda tests 2>&1 | tee "$out/tests.txt"

# memory errors, races in shared memory, reads of what was never written; torch's own kernels left out
if command -v compute-sanitizer > /dev/null; then
  : > "$out/sanitizer.txt"
  for tool in memcheck racecheck initcheck synccheck; do
    echo "== $tool" | tee -a "$out/sanitizer.txt"
    compute-sanitizer --tool "$tool" --kernel-name-exclude regex=at:: --error-exitcode 9 \
      "$python" -P -m pytest -q -x -m cuda tests/core/ops -k "not 1100 and not 70_001 and not 700" \
      2>&1 | tee -a "$out/sanitizer.txt"
  done
else
  echo "no compute-sanitizer here: not run" | tee "$out/sanitizer.txt"
fi

"$python" -P tests/bench/gpu.py >> "$out/gpu.jsonl"
tail -n 20 "$out/gpu.jsonl"
