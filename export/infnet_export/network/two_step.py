"""Infection and classes by two networks one after the other, as one network.

Fan et al., "Inf-Net", IEEE TMI 2020 (arXiv 2004.14133), section III-F: the infection that Inf-Net finds
guides a network that tells ground glass and consolidation apart.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infnet_export.network.class_output import (
    INFECTION_AND_CLASSES,
    ProbabilitiesWithClasses,
    WithClasses,
    probabilities_with_classes,
)
from infnet_export.network.exporter import Exporter
from infnet_export.network.tracing import CLASS_NETWORK
from infnet_export.precision.notes import PrecisionNotes
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_train.networks import Network
from infnet_train.networks.guided import beside
from infnet_train.weights.trained import TrainedNetwork


class TwoStep(Network):
    """Two networks as one.

    Parameters
    ----------
    infection_network, class_network
        The ``prediction`` of the one is given, and the ``classes`` of the other.
    prior
        How slices are normalised, and the probability beside them; None where the class network takes none.
    """

    def __init__(
        self, infection_network: nn.Module, class_network: nn.Module, prior: PreprocessSpec | None
    ) -> None:
        super().__init__()
        self.infection_network, self.class_network = infection_network, class_network
        self.prior = prior

    def forward(self, x: Tensor) -> WithClasses:  # type: ignore[override]  # two maps and no more
        """(n, 3, h, w) -> logits."""
        prediction = self.infection_network(x).prediction
        if self.prior is not None:
            x = beside(x, torch.sigmoid(prediction), self.prior.mean, self.prior.std)
        return WithClasses(prediction, self.class_network(x).classes)


@dataclass(frozen=True)
class TrainedTwoStep(TrainedNetwork):
    """A :class:`TwoStep` and its parts; :func:`two_step` makes one."""

    parts: tuple[TrainedNetwork, ...] = ()


def two_step(infection: TrainedNetwork, classes: TrainedNetwork) -> TrainedTwoStep:
    """Both networks as one, named after both.

    Parameters
    ----------
    infection
        Takes the slice alone.
    classes
        Tells classes apart; takes the probability of the other as a prior, or the slice alone.
    """
    spec = infection.preprocess
    network = TwoStep(infection.network, classes.network, spec if classes.config.prior else None)
    kind = f"{infection.kind} and {classes.kind}"
    return TrainedTwoStep(network.eval(), spec, kind, parts=(infection, classes))


def two_step_exporter(infection: Exporter, classes: Exporter) -> Exporter:
    """How both are exported, from how each is."""

    def inference(network: Network) -> ProbabilitiesWithClasses:
        assert isinstance(network, TwoStep)
        rewritten = (
            infection.inference(_network(network.infection_network)),
            classes.inference(_network(network.class_network)),
        )
        first, second = (module.get_submodule("network") for module in rewritten)
        return ProbabilitiesWithClasses(TwoStep(first, second, network.prior)).eval()

    return Exporter(
        inference=inference,
        probabilities=probabilities_with_classes,
        outputs=INFECTION_AND_CLASSES,
        notes=_notes(infection.notes, classes.notes),
    )


def _network(module: nn.Module) -> Network:
    assert isinstance(module, Network)
    return module


def _notes(infection: PrecisionNotes | None, classes: PrecisionNotes | None) -> PrecisionNotes | None:
    """Of both, where one of them has any."""
    if infection is None and classes is None:
        return None
    infection, classes = infection or PrecisionNotes(), classes or PrecisionNotes()
    return PrecisionNotes(
        fp32=(*infection.fp32, *(f"{CLASS_NETWORK}.{name}" for name in classes.fp32)),
        divided=(*infection.divided, CLASS_NETWORK),
    )
