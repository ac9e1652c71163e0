"""Gather what infnet needs in one folder, for a machine without a network.

    python3 runtime/wheelhouse.py wheelhouse

Run it where there is a network, with the Python and the kind of machine that will run infnet. The folder then
holds infnet's own wheel, those of everything it needs, ``requirements.txt`` with the SHA-256 of each, and
``licences.txt``. It needs pip and nothing else, infnet not either.
"""

import argparse
import email.message
import email.parser
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = "cpu,embedding"
# What packages call their licence in words, to SPDX.
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
}
WEIGHTS = "; MIT is the code, the model files inside are for non-commercial research only"


def licence(metadata: email.message.Message) -> str:
    """What a package says of its licence: an SPDX expression, else a classifier, else a line of text."""
    classifiers = [c for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    told = (metadata["License-Expression"], *classifiers, metadata["License"])
    text = next((text.split(" :: ")[-1].splitlines()[0] for text in told if text), "not told")
    return SPDX.get(text, text)


def metadata_of(wheel: Path) -> email.message.Message:
    """The core metadata inside a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1)
        return email.parser.BytesParser().parsebytes(archive.read(name))


def requirements(wheels: Iterable[Path], extras: str) -> str:
    """Lines for ``pip install --require-hashes -r``, infnet's with its extras."""
    lines = []
    for wheel in wheels:
        metadata = metadata_of(wheel)
        with wheel.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = f"infnet[{extras}]" if metadata["Name"] == "infnet" else metadata["Name"]
        lines.append(f"{name}=={metadata['Version']} --hash=sha256:{digest}")
    return "\n".join(sorted(lines, key=str.lower)) + "\n"


def licences(wheels: Iterable[Path]) -> str:
    """One line for each wheel: name, version, licence, and the files inside the wheel with its text."""
    lines = []
    for metadata in map(metadata_of, wheels):
        texts = ", ".join(metadata.get_all("License-File", [])) or "no text in the wheel"
        more = WEIGHTS if metadata["Name"] == "infnet" else ""
        lines.append(f"{metadata['Name']} {metadata['Version']}: {licence(metadata)}{more} ({texts})")
    return "\n".join(sorted(lines, key=str.lower)) + "\n"


def main() -> int:
    """Fill the folder; the exit code is pip's, or 2 for a folder that holds something."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else None,
        epilog="Install from it with: pip install --no-index --find-links FOLDER --require-hashes "
        "-r FOLDER/requirements.txt",
    )
    parser.add_argument("folder", type=Path, help="a new or empty folder")
    parser.add_argument("--extras", default=EXTRAS, help=f"of infnet, separated by commas ({EXTRAS})")
    given = parser.parse_args()
    folder: Path = given.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        parser.error(f"{folder} is there and not an empty folder; name a new one, nothing is replaced")
    wanted = f"{ROOT}[{given.extras}]"
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--wheel-dir", folder, wanted], check=False)
    if done.returncode:
        return done.returncode
    wheels = sorted(folder.glob("*.whl"))
    (folder / "requirements.txt").write_text(requirements(wheels, given.extras), "utf-8")
    (folder / "licences.txt").write_text(licences(wheels), "utf-8")
    size = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    print(f"{len(wheels)} wheels, {size:.0f} MB, in {folder}; licences.txt lists whose they are")
    return 0


if __name__ == "__main__":
    sys.exit(main())
