"""Estimates with their standard errors, and estimates whose variance a regression on control variates takes away."""

from __future__ import annotations

from math import nan, sqrt
from typing import NamedTuple

import numpy as np

from claimlab.checks import Array, Ints


class Estimate(NamedTuple):
    """A point estimate and its estimated standard error."""

    value: float
    stderr: float


MISSING = Estimate(nan, nan)


def mean_of(terms: Array) -> Estimate:
    """The mean of independent `terms`, float[n]; with a single one there is no standard error."""
    n = len(terms)
    return Estimate(float(terms.mean()), float(terms.std(ddof=1)) / sqrt(n) if n > 1 else nan)


def control_coefficients(y: Array, z: Array, known: Array) -> Array:
    r"""The coefficients :math:`\beta` with which :math:`y - z\beta` varies least about a linear function of `known`.

    For controls `z`, float[n, d], whose mean is zero given `known`, float[n, k], which holds a constant; the minimiser
    of least norm where there are several.  In the population it is :math:`\mathrm{Cov}(z)^{-1}\mathrm{Cov}(z, y)`, with
    `known` or without (Lavenberg & Welch 1981); in a sample what is known is noise less.
    """
    beta = np.linalg.lstsq(np.hstack([known, z]), y, rcond=None)[0][known.shape[1] :]
    return np.asarray(beta, dtype=np.float64)


def folds_of(n: int, folds: int) -> Ints:
    """Which fold each of `n` independent observations belongs to: in turn."""
    return np.asarray(np.arange(n) % folds, dtype=np.int64)
