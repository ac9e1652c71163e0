"""Which slices of a folder a run takes, and how their labels are read."""

from dataclasses import dataclass
from typing import Literal

from infnet_train.data.classes import FOLDER, ClassResize
from infnet_train.data.pictures import Turn
from infnet_train.errors import ConfigError, check_number

EdgeKind = Literal["gradient", "canny", "file"]


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One folder of labelled slices with sub-folders ``Imgs`` and ``GT``, or ``images`` and ``masks``.

    Parameters
    ----------
    name
        For messages and the log.
    folder
        Below the data folder.
    turn
        What turns a slice upright: the COVID-SemiSeg slices are transposed, the coronacases ones among
        them mirrored front to back as well.
    include, exclude
        A slice is taken if its name contains any of ``include`` (or that is empty) and none of ``exclude``.
    names
        If given, only these names (without ending).
    grey_range
        Grey levels that become 0 and 255: turns another fixed grey scale into that of the labelled slices.
    binarise
        Labels above 128 become infection. If not, they stay soft.
    soft_labels
        Labels say how sure they are, 0..255, whatever values there are. Without it the masks of the folder
        decide together how they are stored (``masks``), and are refused where that is not clear.
    inside_lungs
        Drop labels outside the lungs: the released pseudo-labels were stretched to 0..255 in every slice and
        mark ribs and image borders where there is no infection.
    min_fraction
        Labels that cover less of a slice than this become empty, for the same reason.
    edge
        Where the edge maps come from: the ``gradient`` of the mask (the paper, and the released edges of the
        labelled slices), ``canny`` (those of the pseudo-labels), or the ``file`` in ``Edge``.
    draws
        Slices drawn from this source in an epoch; 0 draws each once.
    teacher_share
        How far the labels follow the teacher of the run: 0 keeps them, 1 replaces them.
    classes
        Folder beside ``Imgs`` with the classes of the infection, ground glass and consolidation: ``Classes``
        in prepared data, or that of the masks itself (``GT``) where these hold the classes, as in
        MultiClassInfection-Train of COVID-SemiSeg. Without it nothing is known but the infection.
    class_resize
        How classes come to network size. ``nearest`` keeps them; ``bilinear`` is the released code, which
        interpolates their grey codes, and goes with ``class_loss = "as_released"`` alone.
    """

    name: str
    folder: str
    turn: Turn = "none"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    grey_range: tuple[float, float] = (0.0, 255.0)
    binarise: bool = False
    soft_labels: bool = False
    inside_lungs: bool = False
    min_fraction: float = 0.0
    edge: EdgeKind = "gradient"
    draws: int = 0
    teacher_share: float = 0.0
    classes: str = ""
    class_resize: ClassResize = "nearest"

    def __post_init__(self) -> None:
        check_number(f"source '{self.name}': draws", self.draws, 0)
        check_number(f"source '{self.name}': min_fraction", self.min_fraction, 0, 1)
        if not self.grey_range[0] < self.grey_range[1]:
            raise ConfigError(
                f"source '{self.name}': grey_range is {list(self.grey_range)}, expected two rising levels, "
                "for example grey_range = [0.0, 255.0]",
                code=3101,
            )
        if not 0 <= self.teacher_share <= 1:
            raise ConfigError(
                f"source '{self.name}': teacher_share is {self.teacher_share}, expected 0..1", code=3101
            )
        if self.classes and self.teacher_share:
            raise ConfigError(
                f"source '{self.name}' has classes = '{self.classes}' and a teacher_share of "
                f"{self.teacher_share}: a teacher would change the infection under its classes; leave one "
                "of them out",
                code=3101,
            )
        if self.class_resize != "nearest" and not self.classes:
            raise ConfigError(
                f"source '{self.name}' has class_resize = '{self.class_resize}' and no classes; name their "
                f'folder, for example classes = "{FOLDER}"',
                code=3101,
            )
