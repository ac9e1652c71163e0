#!/usr/bin/env bash
# Checks and timings on a machine with an NVIDIA GPU. NOT YET RUN ON A GPU: no GPU was at hand when it was written.
#
#   benchmarks/gpu.sh [MODEL.onnx] [SLICES]
#
# MODEL   an FP32 model, default models/infnet.onnx
# SLICES  a scan or a folder of slices; default INFNET_DATA or ../shared/data, the 48 COVID-SemiSeg test slices
#
# Needs: pip install 'infnet[gpu,export]', driver r580 or newer. With 'infnet[tensorrt]' and
# 'tensorrt-rtx>=1.7,<2' as well, engines are built; otherwise those steps say what is missing. Writes
# benchmarks/results/gpu-<GPU>.txt. A step that fails is reported and the others go on.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

model=${1:-models/infnet.onnx}
data=${INFNET_DATA:-../shared/data}
slices=${2:-$data/covid-semiseg/TestingSet/LungInfection-Test/Imgs}
python=${PYTHON:-python3}
work=$(mktemp -d)
half=$work/$(basename "${model%.onnx}").fp16.onnx
trap 'rm -rf "$work"' EXIT

gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1 | tr -c '[:alnum:]\n' '-')
[ -n "$gpu" ] || { echo "nvidia-smi names no GPU; this script is for a machine with one" >&2; exit 5; }
[ -e "$slices" ] || { echo "no slices at $slices; give a scan or a folder as second argument" >&2; exit 3; }
result=benchmarks/results/gpu-$gpu.txt
failed=0

step() { # step TITLE COMMAND...
  local title=$1
  shift
  echo
  echo "## $title"
  "$@" 2>&1 || { echo "FAILED: exit $?"; failed=$((failed + 1)); }
}

machine() {
  nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv
  "$python" -c 'import importlib.metadata as m
for name in ("infnet", "onnxruntime-gpu", "onnxruntime", "tensorrt", "tensorrt-rtx", "pycuda", "numpy"):
    try: print(name, m.version(name))
    except m.PackageNotFoundError: print(name, "absent")'
  git rev-parse HEAD
  sha256sum "$model"
}

half_model() { # the FP16 model, with the parity report of both on the CPU
  "$python" -m infnet_export.cli "$model" -o "$work" --fp16 --verify "$slices"
}

onnxruntime_cuda() { # parity with FP32 on the CPU, and speed, of FP32 and FP16 on CUDA
  "$python" - "$model" "$half" "$slices" <<'PY'
import sys
import time
from pathlib import Path

import numpy as np

from infnet_export.proof.parity import scan_input
from infnet_runtime.backends import open_session

single, half, slices = map(Path, sys.argv[1:])
with open_session(single, device="cpu") as cpu:
    threshold = cpu.manifest.output.threshold
    batch = scan_input(slices, cpu.manifest.preprocess)
    reference = np.concatenate([cpu.run(batch[i : i + 4]) for i in range(0, len(batch), 4)])
print(f"{len(batch)} slices; distances in probability to FP32 on the CPU")
for name, path in (("FP32", single), ("FP16", half)):
    with open_session(path, device="cuda") as session:
        found = np.concatenate([session.run(batch[i : i + 8]) for i in range(0, len(batch), 8)])
        distance = np.abs(found.astype(np.float64) - reference)
        flipped = int(((found >= threshold) != (reference >= threshold)).sum())
        print(
            f"{name}: largest {distance.max():.2e}, mean {distance.mean():.2e}, "
            f"{flipped} of {found.size} pixels on the other side of the threshold"
        )
        for n in (1, 4, 8):
            some = np.ascontiguousarray(np.resize(batch, (n, *batch.shape[1:])))
            session.run(some)  # warm-up
            times = []
            for _ in range(30):
                began = time.perf_counter()
                session.run(some)
                times.append(time.perf_counter() - began)
            low, middle = min(times) / n * 1e3, float(np.median(times)) / n * 1e3
            print(f"{name}, batch {n}: {low:.2f} ms a slice at best, {middle:.2f} ms in the middle, copies included")
PY
}

engine() { # engine PACKAGE MODEL NAME: build, then load it where this GPU is taken
  "$python" - "$1" "$2" "$work/$3.plan" <<'PY'
import sys
from pathlib import Path

from infnet_export.tensorrt.api import Package, load_tensorrt, message_log
from infnet_export.tensorrt.builder import EngineSettings
from infnet_export.tensorrt.engine import build_engine
from infnet_runtime.backends.cuda.driver import find_gpu
from infnet_runtime.backends.tensorrt.sidecar import read_engine

package, model, output = Package(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
report = build_engine(model, output, EngineSettings(package=package, timing_cache=output.parent))
sidecar = report.sidecar
print(
    f"{package} {sidecar.version}: parsed in {report.parse_s:.1f} s, built in {report.build_s:.1f} s, "
    f"{sidecar.plan_bytes / 1e6:.1f} MB, layers {sidecar.layers}"
)
gpu = find_gpu()  # before the runtime is made
plan, sidecar = read_engine(output)
trt = load_tensorrt(package)
sidecar.check_runs_with(package=package, version=trt.__version__, capability=gpu.capability)
runtime = trt.Runtime(message_log(package))
loaded = runtime.deserialize_cuda_engine(plan)
if loaded is None:
    sys.exit(f"{gpu.name} ({gpu.capability}) does not take the engine: {message_log(package).take_errors()}")
print(f"{gpu.name} ({gpu.capability}) takes the engine, {loaded.device_memory_size_v2 / 1e6:.0f} MB on the device")
PY
}

trtexec_times() { # trtexec PLAN: speed without our code
  local program
  program=$(command -v trtexec) || { echo "trtexec is not installed; it comes with NVIDIA's full package"; return 0; }
  [ -f "$1" ] || { echo "no engine at $1"; return 1; }
  local batch
  for batch in 1 4 8; do
    "$program" --loadEngine="$1" --shapes="slices:${batch}x3x352x352" --useCudaGraph --noDataTransfers |
      grep -E 'Throughput|Latency: min|GPU Compute Time: min'
  done
}

{
  step "machine" machine
  step "conversion to FP16" half_model
  step "ONNX Runtime on CUDA" onnxruntime_cuda
  for package in tensorrt_rtx tensorrt; do
    step "$package, FP32" engine "$package" "$model" "$package-fp32"
    step "$package, FP16" engine "$package" "$half" "$package-fp16"
  done
  step "what works here" "$python" -m infnet_runtime.cli doctor
  step "a volume on CUDA" "$python" -m infnet_runtime.cli bench "$model" --device cuda
  step "network against PyTorch, CUDA" "$python" benchmarks/gpu_network.py "$half"
  step "network against PyTorch, TensorRT" "$python" benchmarks/gpu_network.py "$work/tensorrt-fp16.plan" --batch 8
  step "trtexec, FP32" trtexec_times "$work/tensorrt-fp32.plan"
  step "trtexec, FP16" trtexec_times "$work/tensorrt-fp16.plan"
  echo
  echo "$failed steps failed"
} > >(tee "$result") 2>&1
wait
echo "written to $result" >&2
[ "$failed" -eq 0 ]
