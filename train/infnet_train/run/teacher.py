"""Labels refined by an earlier network: self-training for slices whose labels are predictions anyway.

The released pseudo-labels were made by a network trained on 50 slices. A later and better one corrects them:
``label = (1 - share) * released + share * prediction``, soft, inside what the source keeps.
Not in the paper, whose pseudo-labels are fixed once made.
"""

from dataclasses import replace

import numpy as np
import torch

from infnet_runtime.model.manifest import PreprocessSpec
from infnet_train.assess.predict import input_batches, logits_of
from infnet_train.data.datasets import LabelledSlices
from infnet_train.data.edges import edge_of
from infnet_train.networks import Network


def refine_labels(
    slices: LabelledSlices, teacher: Network, share: float, spec: PreprocessSpec, device: str, *, bf16: bool
) -> LabelledSlices:
    """Slices whose masks, and edges with them, follow the teacher by ``share``.

    The prediction is the mean over the slice and its mirror image, at network size.

    Parameters
    ----------
    share
        0 keeps the labels, 1 replaces them.
    """
    masks, edges = np.empty_like(slices.masks), np.empty_like(slices.edges)
    teacher.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    for part, images in input_batches(slices, spec, device):
        straight = torch.sigmoid(logits_of(teacher, images, bf16=bf16))
        mirrored = torch.sigmoid(logits_of(teacher, images.flip(-1), bf16=bf16)).flip(-1)
        predicted = ((straight + mirrored) / 2).cpu().numpy()
        label = (1 - share) * slices.masks[part] + share * 255 * predicted
        masks[part] = np.rint(label).astype(np.uint8)
        for i, mask in enumerate(masks[part], part.start):
            edges[i] = np.where(edge_of(mask > 127), 255, 0)
    return replace(slices, masks=masks, edges=edges)
