"""Which of its outputs a network is asked for: what nobody asked for is cut out of the graph."""

from dataclasses import replace
from enum import Enum

from infnet_runtime.errors import ModelError
from infnet_runtime.model.manifest import ModelManifest


class Asked(Enum):
    """Outputs that a session gives."""

    EVERY = "every output"
    """All that the manifest names: for comparisons, and for programs that take any."""

    INFECTION = "the infection"
    CLASSES = "the infection and its classes"


def asked_of(manifest: ModelManifest, asked: Asked, source: str) -> ModelManifest:
    """A manifest with the outputs that are asked for, in their order.

    Parameters
    ----------
    source
        The model, for messages.

    Raises
    ------
    ModelError
        If classes are asked for, and the model tells none apart.
    """
    if asked is Asked.EVERY:
        return manifest
    wanted = [manifest.output]
    if asked is Asked.CLASSES:
        if manifest.class_output is None:
            raise no_classes(manifest, source)
        wanted.append(manifest.class_output)
    return replace(manifest, outputs=tuple(o for o in manifest.outputs if o in wanted))


NO_CLASSES = 4070


def no_classes(manifest: ModelManifest, source: str) -> ModelError:
    """The refusal of a model, or of a session, that does not tell ground glass from consolidation."""
    return ModelError(
        f"{source} does not tell ground glass from consolidation: it gives {outputs_in_words(manifest)}; "
        "expected an output (softmax) of the classes 'ground glass' (1) and 'consolidation' (2). Leave out "
        "--classes, or give a model that has them with --model",
        code=NO_CLASSES,
    )


def outputs_in_words(manifest: ModelManifest) -> str:
    """Outputs and their classes, such as ``infection_probability (infection)``."""
    return ", ".join(f"{o.name} ({', '.join(c.name for c in o.classes)})" for o in manifest.outputs)
