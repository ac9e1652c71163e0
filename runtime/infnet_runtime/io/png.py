"""PNG files, written in one way by all packages: equal pixels give equal bytes."""

from infnet_runtime.arrays import AnyArray


def png_bytes(picture: AnyArray) -> bytes:
    """A picture as a PNG file.

    Parameters
    ----------
    picture : (rows, columns) or (rows, columns, channels)
        8 or 16 bits, colours in the order of OpenCV.
    """
    import cv2  # a look at the help of a command does not need it

    return cv2.imencode(".png", picture)[1].tobytes()
