"""Entry point of `python -m mlu`, `mlu` and `python launch.py`."""

from mlu.system.start import hear_start


def main() -> None:
    """A run, or several; what takes a while to import is imported where Ctrl-C is heard."""
    hear_start()
    from mlu.launch.cli import main as launch

    launch()


if __name__ == "__main__":
    main()
