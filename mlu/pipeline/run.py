"""The road: data, original, retrain, unlearn, evaluate, report."""

from dataclasses import replace

from mlu.pipeline.context import Context, context_of, wanted_device
from mlu.pipeline.evidence import leaks_of
from mlu.pipeline.experiment import Experiment
from mlu.pipeline.floor import say_floor
from mlu.pipeline.forget_set import forget_set_of
from mlu.pipeline.judgement import completed, judge, output_histograms
from mlu.pipeline.leave import begin, leave, show
from mlu.pipeline.models import models_of
from mlu.pipeline.outcome import results_of
from mlu.pipeline.trace import trace_of
from mlu.pipeline.trained import try_weights
from mlu.pipeline.verification import verification_findings
from mlu.pipeline.watching import try_watching
from mlu.runs.plain import plain_tables
from mlu.runs.read import Run
from mlu.runs.results import Results
from mlu.training.team import team_of


def run(experiment: Experiment) -> Results:
    """Walk the road once; returns what `results.json` in the experiment's folder holds."""
    with team_of(experiment.trainer.devices, wanted_device(experiment)) as team:
        return walk(context_of(experiment, team))


def walk(context: Context) -> Results:
    """The road, with the data at hand."""
    experiment, data, folder = context.experiment, context.data, context.experiment.folder
    try_weights(context)
    try_watching(context)
    begin(experiment)
    say_floor(context)

    with experiment.tracker.run(folder, experiment.subject, experiment.config) as tracking:
        context = replace(context, logger=tracking.lightning)
        models = models_of(context)
        trace = trace_of(context, models)
        leaks = leaks_of(context, models)
        chosen = forget_set_of(context, models)
        figures = [judge(context, models), *leaks.findings]

        findings = [finding for by_model in figures for finding in completed(by_model)]
        findings += [*chosen.findings, *verification_findings(models.unlearned.readings)]
        results = results_of(
            experiment, data.source, models.costs(), findings, leaks.seconds, trace
        )
        histograms = output_histograms(context, models)
        found = Run(folder, results, experiment.config)
        tracking.record(results.figures(), histograms, plain_tables(found, data.labels))
        # Before W&B ends, which may take long or break off.
        leave(context, models.unlearned.net, found, histograms, leaks.exposure, chosen)

    show(found, histograms, leaks.exposure)

    return results
