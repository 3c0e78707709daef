r"""What data tell about features: the norms :math:`\|\phi\|^2_{\Lambda^{-1}}`, tabular and linear, and their cones.

Tabular features are one-hot, so :math:`\Lambda` is the diagonal of the visits and everything is a vector.  Linear ones
need a matrix, and its numerical errors are bounded by its condition number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import clarabel as _clarabel
import numpy as np
from scipy.sparse import csc_array, csr_array

from claimlab.checks import Array, Ints
from claimlab.mdps.tabular import EPS

clarabel: Any = _clarabel  # it has no type stubs

SPAN = 1e-7  # relative size below which features count as having no part in a direction
FLOOR = 1e-10  # relative roots of eigenvalues by which a program is scaled at least
NEGLIGIBLE = (1e-9, 1e-6, 1e-4)  # parts of squared norms
UNSEEN = 1e-12  # relative roots of eigenvalues below which a direction counts as never seen


class Cones(NamedTuple):
    """A part of a cone program, ``offset + pairs @ x + own @ y in kinds`` and the scores ``scores @ y``."""

    offset: Array  # [n]
    pairs: Any  # sparse [n, S * A], of visits over `size`
    own: Any  # sparse [n, k]
    kinds: list[Any]
    scores: Any  # [m, k], squared norms of the targets times `size`


class _Rounded(NamedTuple):
    """A matrix, and what each of its entries may be off by."""

    value: Array
    error: Array

    @staticmethod
    def exact(value: Array) -> _Rounded:
        return _Rounded(value, np.zeros(value.shape))

    @property
    def T(self) -> _Rounded:
        return _Rounded(self.value.T, self.error.T)

    def __matmul__(self, other: _Rounded) -> _Rounded:
        a, b = abs(self.value), abs(other.value)
        spread = a @ other.error + self.error @ (b + other.error) + self._ulps * (a @ b)
        return _Rounded(self.value @ other.value, (1 + self._ulps) * spread)

    def dots(self, other: _Rounded) -> _Rounded:
        """Scalar products of the rows."""
        a, b = abs(self.value), abs(other.value)
        off = (a * other.error + self.error * (b + other.error) + self._ulps * a * b).sum(axis=1)
        return _Rounded((self.value * other.value).sum(axis=1), (1 + self._ulps) * off)

    @property
    def _ulps(self) -> float:
        return (self.value.shape[1] + 8) * EPS


class Prices(NamedTuple):
    """The dual's numbers, rounded to the safe side."""

    gain: float  # sum of lambda phi M phi, at most
    prices: Array  # [S, A], what one visit of a pair is worth, at least
    known: float  # what the offline data are worth, at least


class Geometry(ABC):
    """Norms of features under the covariance of offline data and further visits, float[S * A]."""

    @abstractmethod
    def expected(self, occupancy: Array) -> Array:
        """Expected features [n, d] of occupancies [n, S * A]."""

    @abstractmethod
    def whitened(self, targets: Array, visits: Array) -> Array:
        """Vectors whose scalar products are those of `targets` under the inverse covariance; inf where it is none."""

    @property
    @abstractmethod
    def offline_argument(self) -> Array:
        """The offline data as the public functions take them."""

    @abstractmethod
    def metric(self, visits: Array) -> Array:
        """The inverse covariance, [d] or [d, d]; zero where there is none."""

    def metrics(self, visits: Array, targets: Array) -> list[Array]:
        """Metrics that a dual may try: any proves something, and rounding decides which of them proves most."""
        return [self.metric(visits)]

    @abstractmethod
    def weights(self, targets: Array, metric: Array) -> Array:
        """How much a visit of each pair counts in the estimate for each target, [n, S * A]."""

    @abstractmethod
    def prices(self, targets: Array, weights: Array, metric: Array) -> Prices:
        """Of the dual with these weights and this metric (see :mod:`claimlab.mdps.coverage`)."""

    @abstractmethod
    def cones(self, targets: Array, size: float, visits: Array, pairs: Ints) -> Cones:
        """Cones for `size` units of visits, all in `pairs`, scaled by what the covariance of `visits` is."""

    @abstractmethod
    def rounding(self, visits: Array) -> float:
        """Relative error of the squared norms under the covariance with `visits`."""


@dataclass(frozen=True, eq=False)
class TabularGeometry(Geometry):
    """Diagonal: `offline`, float[S * A], are counts."""

    offline: Array
    shape: tuple[int, int]

    def expected(self, occupancy: Array) -> Array:
        return occupancy

    def whitened(self, targets: Array, visits: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(targets > 0, targets / np.sqrt(self.offline + visits), 0.0)

    def metric(self, visits: Array) -> Array:
        n = self.offline + visits
        return np.where(n > 0, 1 / np.where(n > 0, n, 1.0), 0.0)

    def weights(self, targets: Array, metric: Array) -> Array:
        return targets * metric

    def prices(self, targets: Array, weights: Array, metric: Array) -> Prices:
        error = (len(targets) + 8) * EPS  # all numbers are non-negative: a sum's relative error
        q = weights @ targets**2
        prices = q * metric**2 * (1 + error)
        return Prices(
            float(q @ metric) * (1 - error), prices.reshape(self.shape), float(prices @ self.offline) * (1 + error)
        )

    def cones(self, targets: Array, size: float, visits: Array, pairs: Ints) -> Cones:
        reach = np.flatnonzero(targets.max(axis=0) > 0)
        scale = ((self.offline + visits) / size)[reach]
        k, n = len(reach), 3 * len(reach)
        first = np.arange(0, n, 3)
        # y m >= 1 with m = (offline + visits) / (size scale): (y + m, y - m, 2) in the second-order cone
        place = (np.r_[first, first + 1], np.tile(np.arange(k), 2))
        signed = csr_array((np.repeat([1.0, -1.0], k), place), shape=(n, k))
        m = csr_array((1 / scale, (np.arange(k), reach)), shape=(k, len(visits)))
        own = csr_array((np.ones(2 * k), place), shape=(n, k))
        offset = signed @ (self.offline[reach] / size / scale)
        offset[first + 2] = 2.0
        return Cones(offset, signed @ m, own, [clarabel.SecondOrderConeT(3)] * k, targets[:, reach] ** 2 / scale)

    @property
    def offline_argument(self) -> Array:
        return self.offline.reshape(self.shape)

    def rounding(self, visits: Array) -> float:
        return 8 * len(visits) * EPS


@dataclass(frozen=True, eq=False)
class LinearGeometry(Geometry):
    """A matrix: `offline`, float[d, d], is a covariance, and `features`, float[S * A, d], are those of the pairs."""

    features: Array
    offline: Array
    shape: tuple[int, int]

    def expected(self, occupancy: Array) -> Array:
        return occupancy @ self.features

    def covariance(self, visits: Array) -> Array:
        total = self.offline + (self.features.T * visits) @ self.features
        return np.asarray((total + total.T) / 2)

    @cached_property
    def _root(self) -> Array:
        """Rows, [k, d], whose covariance is `offline`, to within the rounding of its entries."""
        values, vectors = np.linalg.eigh(self.offline)
        told = values > len(values) * 1e-14 * max(values[-1], 1e-300)
        return np.asarray((vectors[:, told] * np.sqrt(values[told])).T)

    def _rows(self, visits: Array) -> Array:
        """Rows whose covariance is that with `visits`, and as many of zeros as there are dimensions."""
        nothing = np.zeros((self.features.shape[1],) * 2)
        return np.concatenate([np.sqrt(visits)[:, None] * self.features, self._root, nothing])

    def _spectrum(self, visits: Array) -> tuple[Array, Array]:
        """Roots of the eigenvalues of the covariance, zero where it has none, and its eigenvectors.

        They are singular values of weighted features: from the covariance itself half of the digits would be lost.
        """
        _, roots, vectors = np.linalg.svd(np.linalg.qr(self._rows(visits), mode="r"))
        return np.where(roots > UNSEEN * max(roots[0], 1e-300), roots, 0.0), vectors.T

    def _span(self, pairs: Ints) -> Array:
        """An orthonormal basis, [d, k], of the directions that offline data or visits of `pairs` can tell about."""
        known = self._root / max(float(np.linalg.norm(self._root, axis=1).max(initial=0.0)), 1e-300)
        _, roots, vectors = np.linalg.svd(np.concatenate([self.features[pairs], known]), full_matrices=False)
        return np.asarray(vectors[roots > SPAN * roots[0]].T)

    def whitened(self, targets: Array, visits: Array) -> Array:
        roots, vectors = self._spectrum(visits)
        along = targets @ vectors
        outside = abs(along) > SPAN * np.linalg.norm(targets, axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = along / roots
        return np.where(roots > 0, z, np.where(outside, np.inf, 0.0))

    def metric(self, visits: Array) -> Array:
        return self.metrics(visits, np.zeros((0, self.features.shape[1])))[0]

    def metrics(self, visits: Array, targets: Array) -> list[Array]:
        """The inverse covariance, also without directions in which hardly a part of the targets' norms lies.

        Where little is known the inverse is large, and so is the rounding of what it makes of next to nothing.
        """
        roots, vectors = self._spectrum(visits)
        inverse = np.where(roots > 0, 1 / np.where(roots > 0, roots, 1.0), 0.0) ** 2
        parts = (targets @ vectors) ** 2 * inverse
        largest = (parts / np.maximum(parts.sum(axis=1, keepdims=True), 1e-300)).max(axis=0, initial=0.0)
        kept = {tuple(largest >= share) for share in (0.0, *NEGLIGIBLE)} if len(targets) else {(True,) * len(roots)}
        found = [(vectors * np.where(which, inverse, 0.0)) @ vectors.T for which in sorted(kept, reverse=True)]
        return [np.asarray((m + m.T) / 2) for m in found]

    def weights(self, targets: Array, metric: Array) -> Array:
        return np.asarray(targets @ metric @ self.features.T)

    def prices(self, targets: Array, weights: Array, metric: Array) -> Prices:
        # any symmetric M will do: the one of these eigenvectors, whose square roots round less than it
        values, vectors = np.linalg.eigh(metric)
        root, sign = _Rounded.exact(vectors * np.sqrt(abs(values))), np.sign(values)
        u, phi = _Rounded.exact(targets) @ root, _Rounded.exact(self.features) @ root
        signed = _Rounded(u.value * sign, u.error)
        known = (signed @ (root.T @ _Rounded.exact(self.offline) @ root)).dots(signed)
        gain, along = u.dots(signed), signed @ phi.T
        error = (len(targets) + 8) * EPS  # of sums of non-negative numbers
        prices = (weights @ (abs(along.value) + along.error) ** 2) * (1 + error)
        least = gain.value - gain.error
        return Prices(
            float(weights @ least) - error * float(weights @ abs(least)), prices.reshape(self.shape),
            float(weights @ np.maximum(known.value + known.error, 0.0)) * (1 + error),
        )  # fmt: skip

    def cones(self, targets: Array, size: float, visits: Array, pairs: Ints) -> Cones:
        basis = self._span(pairs)  # where nobody ever looks no matrix has an inverse, and the cone no interior
        _, roots, vectors = np.linalg.svd(np.linalg.qr(self._rows(visits) @ basis, mode="r"))
        floor = np.maximum(roots, FLOOR * roots[0]) / np.sqrt(size)
        whiten = basis @ (vectors.T / floor)  # features @ whiten have covariance near 1
        d = whiten.shape[1]
        phi, goals = self.features @ whiten, targets @ whiten
        rows, cols = np.triu_indices(2 * d)
        order = np.lexsort((rows, cols))  # the cone's vectors stack the columns of the upper triangle
        rows, cols = rows[order], cols[order]
        weight = np.where(rows == cols, 1.0, np.sqrt(2.0))
        upper, lower, cross = cols < d, rows >= d, (rows < d) & (cols == rows + d)
        offset = np.where(cross, weight, 0.0)
        known = whiten.T @ self.offline @ whiten / size
        offset[lower] = weight[lower] * known[rows[lower] - d, cols[lower] - d]
        seen = np.zeros((len(rows), len(phi)))
        seen[lower] = weight[lower, None] * phi[:, rows[lower] - d].T * phi[:, cols[lower] - d].T
        k = d * (d + 1) // 2
        own = csr_array((weight[upper], (np.flatnonzero(upper), np.arange(k))), shape=(len(rows), k))
        r, c = rows[upper], cols[upper]
        scores = goals[:, r] * goals[:, c] * np.where(r == c, 1.0, 2.0)
        return Cones(offset, csc_array(seen), own, [clarabel.PSDTriangleConeT(2 * d)], scores)

    @property
    def offline_argument(self) -> Array:
        return self.offline

    def rounding(self, visits: Array) -> float:
        roots, _ = self._spectrum(visits)
        alive = roots[roots > 0]
        condition = float(alive.max() / alive.min()) if alive.size else 1.0
        return 16 * len(roots) ** 2 * EPS * condition
