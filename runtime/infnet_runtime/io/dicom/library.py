"""The package pydicom, loaded where a DICOM file is read and not before."""

from types import ModuleType

from infnet_runtime.errors import InputError


def pydicom() -> ModuleType:
    """The package.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import pydicom as package
    except ModuleNotFoundError as error:
        if error.name != "pydicom":
            raise
        raise InputError(
            "reading DICOM needs pydicom, which is not installed; pip install 'infnet[dicom]', or convert "
            "the series to NIfTI with dcm2niix and give that file",
            code=3250,
        ) from error
    return package
