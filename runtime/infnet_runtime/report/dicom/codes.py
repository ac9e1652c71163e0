"""The codes that segments and measurements are given; ``docs/dicom-out.md`` has them as a table."""

from pydicom.sr.coding import Code

from infnet_runtime.model.specs import CONSOLIDATION, GROUND_GLASS, ClassSpec

LUNG = Code("39607008", "SCT", "Lung")
RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")

ANATOMICAL = Code("91723000", "SCT", "Anatomical Structure")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")

# What is seen, and not what it comes from: the network marks opacities, and does not know their cause.
OPACITY = Code("112033", "DCM", "Abnormal opacity")


def _of_class(spec: ClassSpec) -> Code:
    return Code(spec.code, spec.scheme, spec.meaning)


GROUND_GLASS_OPACITY, CONSOLIDATED = _of_class(GROUND_GLASS), _of_class(CONSOLIDATION)

VOLUME = Code("118565006", "SCT", "Volume")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
MEAN = Code("373098007", "SCT", "Mean")
OWN_SCHEME = "99INFNET"
# No scheme has one for a share of the lung. Those of a share of something else would be wrong.
PERCENT_OF_LUNG = Code("percent-of-lung", OWN_SCHEME, "Volume as percent of the lung")

ML = Code("ml", "UCUM", "milliliter")
PERCENT = Code("%", "UCUM", "Percent")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")

CT = Code("25045-6", "LN", "CT unspecified body region")
DEVICE = Code("121007", "DCM", "Device")
COMMENT = Code("121106", "DCM", "Comment")
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
