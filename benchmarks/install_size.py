"""Download size of ``pip install infnet[cpu]`` without the model.

    python benchmarks/install_size.py [EXTRA...]

Downloads the wheels of all needs of the extras (``cpu`` where none is named) for this Python and platform
into a temporary folder, and adds infnet's own sources, compressed, without the model. Leaves with 1 above the
limit.
"""

import io
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

LIMIT_MB = 120
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
    sizes["infnet, without the model"] = own_size()
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size / 1e6:8.2f} MB  {name}")
    total_mb = sum(sizes.values()) / 1e6
    print(f"{total_mb:8.2f} MB  in all for infnet[{','.join(extras)}]; limit for [cpu]: {LIMIT_MB} MB")
    if extras == ["cpu"] and total_mb > LIMIT_MB:
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
