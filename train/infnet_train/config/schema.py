"""Configuration of a training run: frozen dataclasses filled from TOML; the command line sets single values.

Every value that differs between the paper and the authors' code has an option here; the defaults are the code
as it ran (see ``train/configs``). Unknown keys are an error that names the nearest known one.
"""

import dataclasses
import difflib
import tomllib
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from infnet_runtime.errors import InputError
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.model.specs import EQUAL
from infnet_train.data.pictures import Turn
from infnet_train.networks import ALL_PARTS, Part
from infnet_train.networks.losses import BceForm, EdgeLoss

Stretch = Literal["as_run", "none"]
Schedule = Literal["compounding", "step", "constant", "cosine"]
EdgeKind = Literal["gradient", "canny", "file"]
MaskResize = Literal["bilinear", "nearest"]


class ConfigError(InputError):
    """The configuration is refused."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One folder of labelled slices with sub-folders ``Imgs`` and ``GT``.

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
        How far the labels follow ``TrainConfig.teacher``: 0 keeps them, 1 replaces them.
    """

    name: str
    folder: str
    turn: Turn = "none"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    grey_range: tuple[float, float] = (0.0, 255.0)
    binarise: bool = False
    inside_lungs: bool = False
    min_fraction: float = 0.0
    edge: EdgeKind = "gradient"
    draws: int = 0
    teacher_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.teacher_share <= 1:
            raise ConfigError(
                f"source '{self.name}': teacher_share is {self.teacher_share}, expected 0..1", code=3101
            )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of the preprocessed slices. All off is the original recipe.

    Parameters
    ----------
    mirror
        Probability of a left-right mirror image.
    rotation_deg, shift
        Largest rotation, and largest shift as a fraction of the side.
    scale, aspect
        Largest relative change of size and of its ratio; 0.2 means between 1/1.2 and 1.2.
    gamma, contrast, brightness
        Largest relative change of the grey curve and of the range, and largest shift, in grey 0..1.
    noise, blur
        Largest standard deviation of added noise, in grey 0..1, and of a Gaussian blur, in pixels.
    enhance
        Probability of contrast-limited adaptive histogram equalisation, as enhanced pictures have it.
    """

    mirror: float = 0.0
    rotation_deg: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    aspect: float = 0.0
    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    enhance: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
    """How pseudo-labels are made; the defaults are the released code.

    Parameters
    ----------
    unlabelled
        Folders with ``Imgs``, and which of their slices.
    group_size
        Slices labelled at a time, K of the paper.
    epochs, learning_rate
        Of the training after each group. The paper gives no numbers.
    stretch
        ``as_run`` stretches every map to 0..1 before it becomes a label, so that a healthy slice gets
        infection too; ``none`` keeps the probabilities.
    """

    unlabelled: tuple[SourceConfig, ...]
    group_size: int = 5
    epochs: int = 9
    learning_rate: float = 3e-4
    stretch: Stretch = "as_run"

    def __post_init__(self) -> None:
        if not self.unlabelled:
            raise ConfigError("[propagation] has no [[propagation.unlabelled]] source", code=3101)
        if self.group_size < 1 or self.epochs < 1:
            raise ConfigError(
                f"group_size is {self.group_size}, epochs is {self.epochs}, expected 1 or more", code=3101
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Parameters
    ----------
    parts
        Parts of the network on top of the backbone; fewer than all is a row of the paper's ablation
        (Table IV), see :class:`~infnet_train.networks.InfNet` for what replaces the others.
    sizes
        Sides of the network input; each batch makes one optimiser step at every one of them (the paper's
        multi-scale strategy), or at one drawn at random if ``random_size``.
    lr_schedule
        ``compounding`` is the released code: from epoch ``lr_step`` on the rate is multiplied by 0.1 *every*
        epoch, so that training stops in effect two epochs later. ``step`` is one factor of 0.1 there.
        ``cosine`` falls to zero after ``warmup_steps`` of rise.
    mask_resize
        How masks and edges come to the sizes of the batches: ``bilinear`` is the released code and makes them
        soft, ``nearest`` keeps them.
    clip_value, clip_norm
        Clamp of single gradient elements (the released code: 0.5) or of their norm; 0 is off.
    bce
        ``as_run``: unweighted, as the released code behaves; ``weighted``: as the paper says.
    edge_loss
        BCE of the edge: ``mean`` over the pixels as the released code has it, ``sum`` as the paper says.
    ema
        Decay of the running mean of the weights that is evaluated and exported; 0 is off.
    init_from
        Weights to start from, a checkpoint of an earlier run.
    teacher
        A checkpoint of an earlier run that refines the labels of the sources with a ``teacher_share``.
    propagation
        How pseudo-labels are made; a training does not look at it.
    """

    name: str
    sources: tuple[SourceConfig, ...]
    validation: SourceConfig | None = None
    preprocess: PreprocessSpec = field(default_factory=PreprocessSpec)
    augment: AugmentConfig = AugmentConfig()
    parts: tuple[Part, ...] = ALL_PARTS
    epochs: int = 99
    batch_size: int = 16
    sizes: tuple[int, ...] = (256, 352, 448)
    random_size: bool = False
    learning_rate: float = 1e-4
    lr_schedule: Schedule = "compounding"
    lr_step: int = 50
    warmup_steps: int = 0
    weight_decay: float = 0.0
    mask_resize: MaskResize = "bilinear"
    clip_value: float = 0.5
    clip_norm: float = 0.0
    bce: BceForm = "as_run"
    edge_loss: EdgeLoss = "mean"
    ema: float = 0.0
    seed: int = 0
    init_from: str = ""
    teacher: str = ""
    propagation: PropagationConfig | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("the configuration has no [[sources]]; name at least one folder", code=3101)
        if self.epochs < 1 or self.batch_size < 1:
            raise ConfigError(
                f"epochs is {self.epochs}, batch_size is {self.batch_size}, expected 1 or more", code=3101
            )
        if self.preprocess.channels != EQUAL:
            raise ConfigError(
                f"preprocess: channels are '{self.preprocess.channels}', training takes '{EQUAL}' alone",
                code=3101,
            )
        odd = [s for s in self.sizes if s % 32 or s < 32]
        if odd or not self.sizes:
            raise ConfigError(f"sizes are {self.sizes}, expected multiples of 32", code=3101)
        taught = [source.name for source in self.sources if source.teacher_share]
        if bool(taught) != bool(self.teacher):
            raise ConfigError(
                f"teacher is '{self.teacher}', sources with a teacher_share are {taught}; give both or none",
                code=3101,
            )


def read_config(path: Path, overrides: list[str] | None = None) -> TrainConfig:
    """Read a recipe that is one training; see :func:`read_values`.

    Raises
    ------
    ConfigError
        If the file is refused, or a key or value is not known.
    """
    return build(TrainConfig, read_values(path, overrides), str(path))


def read_values(path: Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Read a TOML file; ``overrides`` are ``key=value`` or ``section.key=value`` in TOML syntax.

    Raises
    ------
    ConfigError
        If the file is missing or no TOML, or an override is not ``key=value``.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration at {path}", code=3101) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", code=3101) from error
    for override in overrides or []:
        _apply(values, override)
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: expected key=value, for example epochs=10", code=3101)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *sections, last = key.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[last] = value


_T = TypeVar("_T")


def build(kind: type[_T], values: object, source: str) -> _T:
    """Fill a configuration dataclass from plain values, refusing unknown keys and wrong types.

    Raises
    ------
    ConfigError
        With the place, the value found and what was expected.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: found {values!r}, expected a table", code=3101)
    hints = get_type_hints(kind)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(sorted(hints))}"
            raise ConfigError(f"{source}: unknown key '{key}'{hint}", code=3101)
    built = {key: _convert(hints[key], value, f"{source}: {key}") for key, value in values.items()}
    required = [
        f.name
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]
        if f.default is f.default_factory is dataclasses.MISSING and f.name not in built
    ]
    if required:
        raise ConfigError(f"{source}: lacks {', '.join(required)}", code=3101)
    return kind(**built)


def _convert(hint: Any, value: Any, place: str) -> Any:  # noqa: ANN401 - TOML values are of any type
    if isinstance(hint, types.UnionType):
        hint = next(option for option in get_args(hint) if option is not types.NoneType)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, place)
    origin = get_origin(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(get_args(hint)[0], item, place) for item in value)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{place} is {value!r}, expected one of {', '.join(get_args(hint))}", code=3101)
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(hint, type) or type(value) is not hint:
        expected = getattr(hint, "__name__", str(hint))
        raise ConfigError(f"{place} is {value!r}, expected {expected}", code=3101)
    return value
