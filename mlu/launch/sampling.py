"""Samplers: what draws the trials of a search, so that no two trials share their random numbers."""

import functools
import warnings
from typing import Any

import numpy as np
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GridSampler, QMCSampler
from optuna.study import Study

from mlu.launch.check import check_value
from mlu.launch.phrases import phrase_of
from mlu.launch.space import Space
from mlu.system.errors import UserError, first_line

_SEED = "whole number in [0, 4294967295], or null"


class Sampling:
    """The sampler of a search.

    With a seed each trial has random numbers of its own, by seed and number of the trial. So the
    same command draws the same trials, one that goes on does not draw the first ones again, and
    two at the same time draw different ones.
    """

    def __init__(self, config: DictConfig, space: Space) -> None:
        self.config, self.space = config, space
        phrase = phrase_of(_SEED)
        assert phrase is not None
        self.seed = config.get("seed")
        check_value("hydra.sweeper.sampler.seed", self.seed, phrase)
        self.first = self.made(self.seed)

    def of(self, number: int) -> BaseSampler:
        """The sampler of the trial of that number."""
        # These two lay out all trials beforehand, by the seed.
        planned = isinstance(self.first, GridSampler | QMCSampler)
        if self.seed is None or planned:
            return self.first
        return self.made(int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))

    def made(self, seed: int | None) -> BaseSampler:
        """A sampler of that seed; raises UserError where there is none of these settings."""
        own = {"seed": seed} if "seed" in self.config else {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                sampler: Any = instantiate(OmegaConf.merge(self.config, own))
                if isinstance(sampler, functools.partial):
                    sampler = sampler(self.space.grid())

        except (HydraException, ValueError) as fault:
            if isinstance(fault, UserError):
                raise
            reason = fault.__cause__ if isinstance(fault.__cause__, Exception) else fault
            raise UserError(f"hydra.sweeper.sampler: {first_line(reason)}") from fault

        assert isinstance(sampler, BaseSampler)
        return sampler

    def is_exhausted(self, study: Study) -> bool:
        """Whether a grid has been tried as a whole."""
        return isinstance(self.first, GridSampler) and self.first.is_exhausted(study)
