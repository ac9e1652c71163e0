"""No scan of the data sets is refused or warned of for its values."""

from pathlib import Path

import pytest

from infnet_runtime.errors import InputError
from infnet_runtime.io import open_scan
from infnet_runtime.plausible.intensity import doubtful_values
from infnet_runtime.scan.ct import Intensity

# How many there are at least, and of how many one is read.
GOOD = {
    "healthy-ct-volumes/*_ct.nii.gz": (6, 1, Intensity.HU),
    "ct-misc/totalsegmentator/*.nii.gz": (3, 1, Intensity.HU),
    "radiopaedia-covid-volumes*/*_ct.nii.gz": (7, 1, Intensity.WINDOWED),
    "coronacases-slices/ct/*.png": (116, 6, Intensity.WINDOWED),
    "iq-othnccd-normal/images/*.jpg": (226, 10, Intensity.WINDOWED),
    "covid-semiseg/TestingSet/LungInfection-Test/Imgs/*.jpg": (48, 2, Intensity.WINDOWED),
    "covid-semiseg/TrainingSet/LungInfection-Train/Doctor-label/Imgs/*.jpg": (50, 2, Intensity.WINDOWED),
}


@pytest.mark.data
@pytest.mark.parametrize("pattern", GOOD)
def test_good_scans_are_neither_refused_nor_doubted(pattern: str, data_root: Path) -> None:
    least, every, expected = GOOD[pattern]
    paths = sorted(data_root.glob(pattern))
    assert len(paths) >= least
    for path in paths[::every]:
        scan = open_scan(path).volume
        assert scan.intensity is expected
        assert doubtful_values(scan) == (), path.name


@pytest.mark.data
@pytest.mark.parametrize(
    "pattern", ["radiopaedia-covid-volumes/*_lung.nii.gz", "covid-semiseg-manual/GT/*[05].png"]
)
def test_masks_of_the_data_sets_are_no_scans(pattern: str, data_root: Path) -> None:
    paths = sorted(data_root.glob(pattern))
    assert paths
    for path in paths:
        with pytest.raises(InputError, match="mask|no picture"):
            open_scan(path)
