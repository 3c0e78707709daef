"""Estimates with their standard errors, and estimates whose variance a regression on control variates takes away."""

from __future__ import annotations

from math import nan, sqrt
from typing import NamedTuple

import numpy as np

from claimlab.checks import Array


class Estimate(NamedTuple):
    """A point estimate and its estimated standard error."""

    value: float
    stderr: float


MISSING = Estimate(nan, nan)


def mean_of(terms: Array) -> Estimate:
    """The mean of independent `terms`, float[n]; with a single one there is no standard error."""
    n = len(terms)
    return Estimate(float(terms.mean()), float(terms.std(ddof=1)) / sqrt(n) if n > 1 else nan)


def control_coefficients(y: Array, z: Array) -> Array:
    r"""The coefficients :math:`\beta` that minimise the sample variance of :math:`y - z\beta`, float[d].

    For controls `z`, float[n, d], of known mean zero; the minimiser of least norm where there are several.  In the
    population :math:`\beta = \mathrm{Cov}(z)^{-1} \mathrm{Cov}(z, y)` (Lavenberg & Welch 1981).
    """
    beta: Array = np.linalg.lstsq(z - z.mean(axis=0), y - y.mean(), rcond=None)[0]
    return beta


def folds_of(n: int, folds: int) -> Array:
    """Which fold each of `n` independent observations belongs to: in turn."""
    out: Array = np.arange(n) % folds
    return out
