"""A phantom chest as a stack."""

import numpy as np
import pytest

from builders import chest_phantom
from infnet_train.data.lungs.stack import LungStack, shrunk


@pytest.fixture(scope="session")
def chest() -> LungStack:
    phantom = chest_phantom()
    return shrunk(
        "phantom", "radiopaedia", phantom.hu, np.asarray(phantom.lungs, np.uint8), phantom.spacing_mm
    )
