"""Reading single fields of a NIfTI-1 header, once it is known to be one."""

import struct
from typing import Any, NoReturn

from infnet_runtime.errors import GeometryError, InputError

HEADER_BYTES = 352  # 348 and the four bytes that announce extensions


class HeaderFields:
    """Reads fields of a header after finding out its byte order and kind."""

    def __init__(self, header: bytes, source: str) -> None:
        self.source = source
        self.header = header
        if len(header) < HEADER_BYTES:
            self.refuse(
                3010, f"is no NIfTI file: expected {HEADER_BYTES} bytes of header, found {len(header)}"
            )
        sizes = {order: struct.unpack_from(f"{order}i", header)[0] for order in "<>"}
        if 540 in sizes.values():
            self.refuse(3011, "is a NIfTI-2 file, only NIfTI-1 is read; save it as NIfTI-1")
        orders = [order for order, size in sizes.items() if size == 348]
        if not orders:
            self.refuse(
                3010,
                f"is no NIfTI file: sizeof_hdr is {sizes['<']}, expected 348; give a .nii or .nii.gz file",
            )
        self.byte_order = orders[0]
        magic = header[344:348]
        if magic in (b"ni1\0", b"\0\0\0\0"):
            kind = (
                "half of a .hdr/.img pair"
                if magic[0]
                else "an Analyze file, which cannot say left from right"
            )
            self.refuse(3011, f"is {kind}; convert the scan again to one .nii.gz file")
        if magic != b"n+1\0":
            self.refuse(3010, f"is no NIfTI file: magic is {magic!r}, expected b'n+1\\x00'")

    def get(self, offset: int, code: str) -> tuple[Any, ...]:
        """Values at an offset, ``code`` as for ``struct``."""
        return struct.unpack_from(self.byte_order + code, self.header, offset)

    def refuse(self, code: int, message: str, kind: type[InputError] = InputError) -> NoReturn:
        """Raise an error whose message begins with the name of the file."""
        raise kind(f"{self.source} {message}", code=code)

    def refuse_geometry(self, code: int, message: str) -> NoReturn:
        """Raise a geometry error whose message begins with the name of the file."""
        self.refuse(code, message, GeometryError)
