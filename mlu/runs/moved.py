"""Where classes that a configuration can name were in earlier versions: yamls and runs of then name
them so."""

HOMES = {
    "mlu.data.celeba": "mlu.data.sets.celeba",
    "mlu.data.celeba_hq": "mlu.data.sets.celeba_hq",
    "mlu.data.cifar": "mlu.data.sets.cifar",
    "mlu.data.csv": "mlu.data.sets.csv",
    "mlu.data.digits": "mlu.data.sets.digits",
    "mlu.data.mnist": "mlu.data.sets.mnist",
    "mlu.data.mufac": "mlu.data.sets.mufac",
    "mlu.data.svhn": "mlu.data.sets.svhn",
    "mlu.data.synthetic": "mlu.data.sets.faces.dataset",
    "mlu.data.vggface2": "mlu.data.sets.vggface2",
    "mlu.optimise": "mlu.training.optimise",
    "mlu.tracking": "mlu.pipeline.tracking",
    "mlu.cli": "mlu.launch.cli",
    "mlu.sweep": "mlu.launch.sweep",
    "mlu.search": "mlu.launch.tune",
}
"""Module of then -> module of now."""


def present_path(path: str) -> str:
    """The path of a class or function today, by that of any version.

    >>> present_path("mlu.optimise.Tuning")
    'mlu.training.optimise.Tuning'
    >>> present_path("mlu.methods.head.Head")
    'mlu.methods.head.Head'
    """
    module, _, name = path.rpartition(".")
    return f"{HOMES[module]}.{name}" if module in HOMES else path
