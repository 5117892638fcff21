"""Pictures for training: found, matched, divided, prepared, cached and brought to the device.

::

    data = open_data(config, PAIRED, seed=1)
    for batch in batches(data.train, batch_size=4, seed=1, ranges=...):
        ...

`open_data` finds what a configuration names and fails at once with the names of what is missing. `batches`
never ends; the order and every random number of sample (epoch, index) follow from the seed alone, so pixels
do not depend on workers, and the number of samples seen is all that resuming needs.
"""

from img2img.data.config import SOURCES, AugmentConfig, DataConfig
from img2img.data.datasets import Dataset, FieldDataset, Group, Part, Sample
from img2img.data.loader import batches, in_order
from img2img.data.opening import Data, open_data
from img2img.data.patches import PatchDataset

__all__ = [
    "SOURCES",
    "AugmentConfig",
    "Data",
    "DataConfig",
    "Dataset",
    "FieldDataset",
    "Group",
    "Part",
    "PatchDataset",
    "Sample",
    "batches",
    "in_order",
    "open_data",
]
