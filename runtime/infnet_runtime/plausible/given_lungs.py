"""Whether a lung mask that was given marks the lungs of this scan."""

import numpy as np
import numpy.typing as npt

from infnet_runtime.errors import InputError
from infnet_runtime.lungs.contract import LungSpec
from infnet_runtime.lungs.given import sides_exchanged
from infnet_runtime.measure.flags import Flag
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.lung_mask import LungMask

# Figures in docs/lung-masks.md: least and most of 26 masks of lungs, and of masks of other things.
_LOOKED_AT = 24  # slices
_RIM_MM = 2.0
_AERATED_HU = (-975.0, -500.0)
# Lungs have 0.64 and more of aerated voxels, infections 0.16, bodies 0.33 at the most.
_LEAST_AERATED = 0.5
# Around lungs 0.034 of the voxels hold air at the most; around infections, and masks of another place, 0.09
# and more.
_MOST_AIR_AROUND = 0.06
# Lungs that are cut short: 0.1 and more, 0.65 where 7 voxels are missing all around.
_MOST_LUNG_AROUND = 0.1
# Open air has -979 HU and less, lungs -875 and more.
_OPEN_AIR_HU = -960.0
# Share of the image's edge. Lungs that fill a tight field of view: 0.2.
_MOST_AT_EDGE = 0.5


def given_lungs(scan: CtVolume, lungs: LungMask) -> tuple[Flag, ...]:
    """Flags of a lung mask that the user gave; none of one that was found.

    Raises
    ------
    InputError
        If it marks something else than lungs.
    """
    if lungs.origin != "given":
        return ()
    flags: list[Flag] = []
    if lungs.remark:
        flags.append(Flag("lung_labels_adjusted", lungs.remark, warns=False))
    if lungs.cut_slices:
        flags.append(
            Flag(
                "lungs_touching",
                f"the lungs of the mask have one label and touch in {lungs.cut_slices} slices: they were cut "
                "where they are thinnest, and what lies beside the cut may count for the other side; give a "
                "mask with a label for each side where sides matter",
                warns=False,
            )
        )
    if sides_exchanged(lungs.to_lps()):
        flags.append(
            Flag(
                "lung_sides_exchanged",
                "the right lung of the mask lies on the patient's left, and the left one on the right, as "
                "asked for; the sides in this report are wrong if the orientation of the scan is right",
            )
        )
    if not scan.grid.has_size:  # a picture may be cut to a lung, and have any window
        return tuple(flags)
    marked = _Marked(scan, lungs)
    marked.refuse_what_is_no_lung()
    if marked.aerated < _LEAST_AERATED:
        flags.append(
            Flag(
                "lung_mask_without_air",
                f"{100 * marked.aerated:.0f} % of the lung mask hold air, of lungs with infection 64 % and "
                "more; right if most of the lungs is consolidated, else the mask does not mark the lungs",
            )
        )
    elif marked.air_around > _MOST_LUNG_AROUND:
        flags.append(
            Flag(
                "lung_mask_cut_short",
                f"{100 * marked.air_around:.0f} % of the voxels around the lung mask hold air, expected 3 % "
                "and less: lung beyond it is not counted, nor is infection there; look at the mask",
            )
        )
    return tuple(flags)


class _Marked:
    """What a mask marks, measured in some of its slices.

    Parameters
    ----------
    aerated
        Share of the mask with the density of aerated lung.
    air_around
        Share of the voxels around it that hold air.
    at_edge
        Share of the edge of the image that it covers.
    median_hu : HU
        Inside it.
    """

    def __init__(self, scan: CtVolume, lungs: LungMask) -> None:
        mask, voxels = lungs.to_lps(), scan.to_lps()
        used = np.flatnonzero([bool(plane.any()) for plane in mask])
        used = used[np.linspace(0, len(used) - 1, min(_LOOKED_AT, len(used))).round().astype(np.intp)]
        _, row_mm, column_mm = scan.lps_spacing_mm
        size = (2 * max(1, round(_RIM_MM / column_mm)) + 1, 2 * max(1, round(_RIM_MM / row_mm)) + 1)
        kernel = np.ones(size[::-1], np.uint8)
        inside, around, edge = [], [], []
        for k in used:
            hu = _hu(voxels[k], scan.intensity)
            marked = np.ascontiguousarray(mask[k] > 0)
            inside.append(hu[marked])
            around.append(hu[(cv2.dilate(marked.view(np.uint8), kernel) > 0) & ~marked])
            edge += [marked[0], marked[-1], marked[:, 0], marked[:, -1]]
        within, rim = np.concatenate(inside), np.concatenate(around)
        low, high = _AERATED_HU
        self.aerated = float(np.mean((within > low) & (within < high)))
        self.air_around = float(np.mean(rim < high)) if len(rim) else 1.0
        self.at_edge = float(np.mean(np.concatenate(edge)))
        self.median_hu = float(np.median(within))

    def refuse_what_is_no_lung(self) -> None:
        """Refuse open air, bodies, infections, and masks of another scan."""
        if self.at_edge > _MOST_AT_EDGE:
            found = f"covers {100 * self.at_edge:.0f} % of the edge of the image, as lungs do not"
        elif self.median_hu < _OPEN_AIR_HU:
            found = f"marks open air: the median inside is {self.median_hu:.0f} HU, of lungs -900 and more"
        elif self.aerated < _LEAST_AERATED and self.air_around > _MOST_AIR_AROUND:
            found = (
                f"marks something else than the lungs: {100 * self.aerated:.0f} % of it hold air, expected "
                f"64 and more, and {100 * self.air_around:.0f} % of the voxels around it, expected 3 and less"
            )
        else:
            return
        raise InputError(
            f"the lung mask {found}; give the lung mask of this scan, or none and the lungs are found",
            code=3067,
        )


def _hu(values: npt.NDArray[np.generic], intensity: Intensity) -> npt.NDArray[np.float32]:
    """HU of a slice; 8-bit grey is taken for the window of the lung network, which shows about the same."""
    hu = values.astype(np.float32)
    if intensity is Intensity.WINDOWED:
        low, high = LungSpec().window_hu
        hu = hu * np.float32((high - low) / 255) + np.float32(low)
    return hu
