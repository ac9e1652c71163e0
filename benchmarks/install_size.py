"""Download size of what ``pip install 'infnet[cpu]'`` brings beside infnet itself.

    python benchmarks/install_size.py [EXTRA...]

Downloads the wheels of all needs of the extras (``cpu`` where none is named) for this Python and platform
into a temporary folder. Leaves with 1 above the limit, which ``cpu`` has, alone and with ``dicom``, and both
backends together. infnet's own wheel counts apart: its sources, compressed, are told, and the models are what
``models/`` holds.
"""

import io
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

LIMITS_MB = {("cpu",): 151, ("onnxruntime", "openvino"): 180, ("cpu", "dicom"): 180}
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print a table of the wheels, the largest first."""
    extras = sys.argv[1:] or ["cpu"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needs = [*project["dependencies"]]
    for extra in extras:
        needs += project["optional-dependencies"][extra]
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", folder]
        subprocess.run([*pip, *needs], check=True)
        sizes = {path.name: path.stat().st_size for path in Path(folder).iterdir()}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size / 1e6:8.2f} MB  {name}")
    total_mb = sum(sizes.values()) / 1e6
    limit_mb = LIMITS_MB.get(tuple(sorted(extras)))
    told = f"limit {limit_mb} MB" if limit_mb else "no limit"
    print(f"{own_size() / 1e6:8.2f} MB  apart: infnet, without the models")
    print(f"{total_mb:8.2f} MB  in all for infnet[{','.join(extras)}]; {told}")
    if limit_mb and total_mb > limit_mb:
        raise SystemExit(1)


def own_size() -> int:
    """Bytes of the wheel's sources, compressed as in a wheel."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in ("runtime", "export", "train"):
            for path in sorted((ROOT / part).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    archive.write(path, path.relative_to(ROOT))
    return len(packed.getvalue())


if __name__ == "__main__":
    main()
