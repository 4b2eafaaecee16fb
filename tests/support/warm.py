"""What a command imports and learns before it begins, once for all processes that are forked from
one that has imported this: seconds of every start.

Nothing here may start a thread, since a process with threads cannot be forked safely.
"""

import atexit
import gc

import sklearn.linear_model
import sklearn.neural_network  # noqa: F401
from hydra.core.plugins import Plugins
from lightning.pytorch.loggers import WandbLogger  # noqa: F401
from matplotlib.backends import backend_agg  # noqa: F401
from PIL import Image

import mlu.attacks.attribute
import mlu.data.sets.celeba
import mlu.data.sets.csv
import mlu.data.sets.digits
import mlu.data.sets.faces.dataset
import mlu.launch.cli
import mlu.methods.weight_filter
import mlu.methods.weight_pruning
import mlu.pipeline.run
import mlu.runs.model
import mlu.runs.tables  # noqa: F401
from mlu.launch.check import check_config
from mlu.launch.compose import composed, values_of
from tests.support.composing import read_once

read_once()
Image.init()
Plugins.instance()
check_config(values_of(composed(["method=wf"])))
# Else every fork would search it for garbage, and copy its memory to do so.
gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)
