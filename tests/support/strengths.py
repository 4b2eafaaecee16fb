"""Made-up runs of a method at several strengths, as a sweep over `strength` leaves them."""

import yaml

from tests.support.made_runs import leave, metrics_of


def leave_strengths(
    folder, method, kept, seed=1, correlation=1.0, weight=0.1, metrics=None, **keys
):
    """Leave a run for each strength in `kept`, with its retained accuracy.

    `method.weight` follows the strength: resolved in a run's configuration, by reference in what
    Hydra left.
    """
    metrics = metrics or (lambda value: metrics_of(retained=value, excess=0.0))
    for strength, value in kept.items():
        name = "-".join(map(str, (method, strength, seed, correlation, *keys.values())))
        place = leave(
            folder / name,
            metrics(value),
            method=method,
            seed=seed,
            correlation=correlation,
            weight=weight * strength,
            config={"strength": strength},
            **keys,
        )
        asked = place / ".hydra" / "config.yaml"
        config = yaml.safe_load(asked.read_text())
        config["method"]["weight"] = "${times:0.1,${strength}}"
        asked.write_text(yaml.safe_dump(config))
