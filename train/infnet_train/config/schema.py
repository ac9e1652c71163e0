"""Configuration of a training run: frozen dataclasses, each beside the part that it tells what to do.

They are nested here, so that each part of the loop is given its own, and flat in TOML and checkpoints, where
the keys of a part that is ``INLINE`` stand at the top. Every value that differs between the paper and the
authors' code has an option; the defaults are the code as it ran (see ``train/configs``).
"""

from dataclasses import dataclass, field

from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.plain import INLINE
from infnet_train.config.priors import PriorsConfig
from infnet_train.config.propagation import PropagationConfig
from infnet_train.config.steps import OptimiserConfig, Schedule
from infnet_train.data.batches import Batching
from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError
from infnet_train.networks import NetworkConfig
from infnet_train.networks.losses import LossConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Parameters
    ----------
    name
        Of the recipe, in messages and checkpoints.
    sources
        Folders of slices to train on, one table ``[[sources]]`` for each.
    validation
        Slices that are scored after each epoch, which gives ``best.safetensors``; without it only the last
        weights are kept. The keys are those of ``[[sources]]``; slices of ``sources`` must not be among them.
    preprocess
        How a slice becomes network input; it travels in the model file.
    init_from
        Weights to start from, a checkpoint of an earlier run, or ``stage:NAME`` in a recipe with stages.
    train_only
        Parts of the network that are trained, by their names in it; the others keep weights and statistics.
        All of them where it is empty.
    teacher
        A checkpoint of an earlier run that refines the labels of the sources with a ``teacher_share``.
    priors
        Where the prior of a network with ``prior = true`` comes from.
    propagation
        How pseudo-labels are made; a training does not look at it.
    """

    name: str
    sources: tuple[SourceConfig, ...]
    validation: SourceConfig | None = None
    preprocess: PreprocessSpec = field(default_factory=PreprocessSpec)
    batching: Batching = field(default_factory=Batching, metadata=INLINE)
    architecture: NetworkConfig = field(default_factory=NetworkConfig, metadata=INLINE)
    loss: LossConfig = field(default_factory=LossConfig, metadata=INLINE)
    schedule: Schedule = field(default_factory=Schedule, metadata=INLINE)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig, metadata=INLINE)
    init_from: str = ""
    train_only: tuple[str, ...] = ()
    teacher: str = ""
    priors: PriorsConfig | None = None
    propagation: PropagationConfig | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("the configuration has no [[sources]]; name at least one folder", code=3101)
        self._check_classes()
        if self.architecture.prior != (self.priors is not None):
            given = "given" if self.priors else "not given"
            raise ConfigError(
                f"prior is {str(self.architecture.prior).lower()} and [priors] is {given}; a network with a "
                "prior needs [priors], and no other takes it",
                code=3176,
            )
        taught = [source.name for source in self.sources if source.teacher_share]
        if bool(taught) != bool(self.teacher):
            raise ConfigError(
                f"teacher is '{self.teacher}', sources with a teacher_share are {taught}; give both or none",
                code=3101,
            )

    def _check_classes(self) -> None:
        """Classes as numbers and as the grey codes of the released code do not go into one run."""
        ways = {source.class_resize if source.classes else "nearest" for source in self.sources}
        scored = "nearest" if self.validation is None else self.validation.class_resize
        if len(ways) > 1 or scored != "nearest":
            raise ConfigError(
                "class_resize is 'bilinear' in some sources alone, or in the validation; expected it in all "
                "sources, each with classes, or in none, and scores on classes as they were drawn",
                code=3101,
            )
        with_classes = any(source.classes for source in self.sources)
        if with_classes and (ways == {"bilinear"}) != (self.loss.class_loss == "as_released"):
            raise ConfigError(
                f"class_loss is '{self.loss.class_loss}' and class_resize '{ways.pop()}'; "
                "'as_released' and 'bilinear' belong together, 'softmax' takes classes by 'nearest'",
                code=3178,
            )
