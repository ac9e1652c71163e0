"""The systems of the paper's tables by name: what each changes in the one recipe, and what it builds on."""

from dataclasses import dataclass
from pathlib import Path

from infnet_train.networks import NETWORKS

RECIPE = "paper_tables.toml"
_CLASS_FOLDER = "TrainingSet/MultiClassInfection-Train"  # the labelled slices again, masks with classes
_CLASSES = (
    'labels="classes"',
    f'sources.labelled.folder="{_CLASS_FOLDER}"',
    'sources.labelled.classes="GT"',
)


@dataclass(frozen=True)
class System:
    """One network, trained in one way.

    Parameters
    ----------
    changes
        Of the recipe.
    prior
        System whose probability of infection is its prior.
    tells_classes
        Whether it belongs to Table III.
    """

    changes: tuple[str, ...]
    prior: str = ""
    tells_classes: bool = False

    @property
    def network(self) -> str:
        """Its name among the networks."""
        return self.changes[0].removeprefix('network="').removesuffix('"')

    @property
    def is_known(self) -> bool:
        """Whether this version has the network."""
        return self.network in NETWORKS

    def overrides(self, runs: Path) -> list[str]:
        """Changes of the recipe, with the weights that it builds on."""
        if not self.prior:
            return list(self.changes)
        weights = (runs / self.prior / "weights.safetensors").resolve()
        return [*self.changes, f'priors.model="{weights}"']


def _plain(name: str) -> System:
    return System((f'network="{name}"',))


def _ablation(*parts: str) -> System:
    listed = ", ".join(f'"{part}"' for part in parts)
    return System(('network="inf-net"', f"parts=[{listed}]"))


def _classes(name: str) -> System:
    return System((f'network="{name}"', *_CLASSES), tells_classes=True)


def _prior(name: str) -> System:
    return System((f'network="{name}"', *_CLASSES, "prior=true"), prior="inf-net", tells_classes=True)


_EA, _PPD, _RA = "edge_attention", "partial_decoder", "reverse_attention"

SYSTEMS: dict[str, System] = {
    **{name: _plain(name) for name in ("unet", "inf-net")},
    **{name: _plain(name) for name in ("unet++", "attention-unet", "gated-unet", "dense-unet")},
    "multi-class-unet-prior": _prior("multi-class-unet"),
    "inf-net-classes": _classes("inf-net-classes"),
    "fcn8s-prior": _prior("fcn8s"),
    "multi-class-unet-classes": _classes("multi-class-unet"),
    "fcn8s-classes": _classes("fcn8s"),
    "deeplabv3+-16-classes": _classes("deeplabv3+-16"),
    "deeplabv3+-8-classes": _classes("deeplabv3+-8"),
    "inf-net-backbone": _ablation(),
    "inf-net-ea": _ablation(_EA),
    "inf-net-ppd": _ablation(_PPD),
    "inf-net-ra": _ablation(_RA),
    "inf-net-ra-ea": _ablation(_RA, _EA),
    "inf-net-ppd-ra": _ablation(_PPD, _RA),
}
"""In the order in which they are trained: what others build on first, then what the tables need most."""


def chosen(names: list[str]) -> list[str]:
    """Systems in their order, all where none is named.

    Raises
    ------
    SystemExit
        If a name is not known.
    """
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: not among {', '.join(SYSTEMS)}")
    return [name for name in SYSTEMS if not names or name in names]
