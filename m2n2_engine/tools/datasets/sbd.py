"""The instances of SBD, the Semantic Boundaries Dataset, from its MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from m2n2_engine.errors import InvalidImage
from m2n2_engine.tools.datasets.ground_truth import GroundTruth, split_labels


def read_instances(path: Path) -> list[GroundTruth]:
    """``inst/<image>.mat`` -> its objects: the labels of ``GTinst.Segmentation``, ``(H, W)``, 0 is background.

    Raises InvalidImage where the file is no such file.
    """
    try:
        labels = np.asarray(loadmat(path)["GTinst"]["Segmentation"][0, 0])
    except Exception as error:  # scipy's readers share no base: ValueError, TypeError, zlib.error, NotImplementedError
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise InvalidImage(f"{path} holds no instances of SBD ({reason}): put a sound copy in its place") from None
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidImage(f"{path}: GTinst.Segmentation is no matrix of labels: put a sound copy in its place")
    return split_labels(labels)
