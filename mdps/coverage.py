r"""How many online episodes offline data leave to play: the offline-to-online coefficient, with certificates.

For step `h` with offline covariance :math:`\Lambda_{off}`, features :math:`\phi` (one-hot in the tabular case, where
:math:`\phi_\pi` is the occupancy) and the covariances :math:`\Omega_h` of policies (Wagenmaker & Pacchiano 2023),

.. math:: C(T) = \min_{\Lambda \in \Omega_h} \max_\pi
          \frac{\|\phi_\pi\|^2_{(T\Lambda + \Lambda_{off})^{-1}}}{(\mathrm{gap}_\pi \vee \epsilon)^2}, \qquad
          T_{o2o} = \min\{T : C(T) \le 1/\beta\} .

**Primal.** With the unnormalised flow :math:`x`, :math:`\sum_a x_1(s,a) = T \mu(s)` and
:math:`\sum_a x_{g+1}(t,a) = \sum_{s,a} P_g(t|s,a)\, x_g(s,a)`, one matrix :math:`Y \succeq (\Lambda_{off} +
\sum x_h \phi\phi^\top)^{-1}` serves all policies, whose constraints are linear in it: tabular a second-order cone for
each pair, linear one semidefinite cone of size 2d.  Policies enter as cutting planes.

**Dual.** For weights :math:`\lambda \ge 0` of policies and any symmetric :math:`M`, since
:math:`\Lambda^{-1} \succeq 2M - M\Lambda M`, with the prices :math:`\rho(s,a) = \sum_\pi \lambda_\pi
(\phi(s,a)^\top M \phi_\pi)^2` and the optimal value :math:`V^*(\rho)` of collecting them at step h,

.. math:: C(T) \ge \frac{\bigl(\sum_\pi \lambda_\pi \phi_\pi^\top M \phi_\pi\bigr)^2}
          {\sum_\pi \lambda_\pi (\mathrm{gap}_\pi \vee \epsilon)^2 \; (\langle \rho, off \rangle + T V^*(\rho))} .

Both ends are evaluated here in float64, the upper one at the occupancy of a policy, the lower one by backward
induction, whatever the solver says; it only proposes.  Occupancies and gaps of policies are taken as computed.

**Which policies.**  Deterministic ones do not decide a maximum over all: :math:`\|\phi\| / (\mathrm{gap} \vee
\epsilon)` is quasi-convex on either side of :math:`\mathrm{gap} = \epsilon`, so mixtures of two deterministic policies
with a gap of exactly :math:`\epsilon` complete the candidates.  ``mixtures=True`` adds them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.certificates import NotConverged
from claimlab.mdps.coverage_geometry import Geometry, LinearGeometry, TabularGeometry
from claimlab.mdps.coverage_programs import Flow, propose
from claimlab.mdps.prefixes import prefixes
from claimlab.mdps.staged import StagedMDP, staged_occupancy
from claimlab.mdps.tabular import EPS

ROUNDS, CUTS = 100, 24  # of cutting planes; how many policies a round adds
PATIENCE = 3  # rounds without a new policy: solved again from the better guess, the solver is more exact
PAIRS = 4_000_000  # mixtures that are looked at together
HUGE = 1e30  # episodes: nobody reaches some pair


class Rows(NamedTuple):
    """Policies as constraints."""

    targets: Array  # [m, d], expected features
    tolerated: Array  # [m], (gap v eps)^2

    def at(self, index: Ints) -> Rows:
        return Rows(self.targets[index], self.tolerated[index])

    def and_also(self, more: Rows) -> Rows:
        """With those of `more` that are not here yet, to within rounding: an old one may object again by an ulp."""
        targets = np.concatenate([self.targets, more.targets])
        tolerated = np.concatenate([self.tolerated, more.tolerated])
        key = np.column_stack([np.round(targets, 11), np.round(tolerated, 13)]) + 0.0
        kept = np.sort(np.unique(key, axis=0, return_index=True)[1])
        return Rows(targets[kept], tolerated[kept])


class Design(NamedTuple):
    """A design for one step and its certificate: `lower` <= optimum <= `value`, in float64."""

    value: float  # T_o2o in episodes, or C_o2o(T): attained by `policy`
    lower: float
    episodes: float  # T
    policy: Array  # [H, S, A], what to play; uniform after the step
    occupancy: Array  # [S, A] of the step under it
    targets: Array  # [m, d], expected features of the policies that bind or once did
    tolerated: Array  # [m], their (gap v eps)^2
    weights: Array  # [m], lambda of the dual
    metric: Array  # [d], or [d, d] for features: M of the dual
    rounds: int  # of cutting planes

    @property
    def gap(self) -> float:
        """What the optimum may lie below `value`."""
        return self.value - self.lower


def o2o_episodes(
    mdp: StagedMDP,
    step: int,
    eps: float,
    beta: float,
    offline: ArrayLike | None = None,
    *,
    features: ArrayLike | None = None,
    mixtures: bool = False,
    tol: float = 1e-6,
) -> Design:
    r"""The least number of episodes (a real number) that makes step `step` known well enough: :math:`T_{o2o}`.

    Parameters
    ----------
    mdp : StagedMDP
    step : int
        0..H-1.
    eps : float
        Positive: gaps below it count as it.
    beta : float
        Positive: confidence, of the order of a logarithm.
    offline : float[S, A], optional
        How often the offline data visit each pair at this step; for `features`, their covariance float[d, d].
    features : float[S, A, d], optional
        One-hot by default: the tabular case.
    mixtures : bool
        Whether to guard all policies, or the deterministic ones.
    tol : float
        Wanted gap between value and lower bound, relative to the value; the result says what was reached.

    Examples
    --------
    >>> bandit = StagedMDP(P=[[[[1.0]] * 3]], r=[[[0.9, 0.7, 0.4]]])
    >>> design = o2o_episodes(bandit, 0, eps=0.1, beta=8.0, offline=[[300, 0, 0]])
    >>> round(design.value, 3)  # 8 / 0.1**2 - 300 + 8 / 0.2**2 + 8 / 0.5**2
    732.0
    >>> design.gap < 1e-6 * design.value
    True
    """
    beta = checks.interval("beta", beta, 0, np.inf, "()")
    return _search(mdp, step, eps, _geometry(mdp, offline, features), mixtures, tol).run(0.0, level=1 / beta)


def o2o_coefficient(
    mdp: StagedMDP,
    step: int,
    eps: float,
    episodes: float,
    offline: ArrayLike | None = None,
    *,
    features: ArrayLike | None = None,
    mixtures: bool = False,
    tol: float = 1e-6,
) -> Design:
    r"""The coefficient :math:`C_{o2o}(T)` of `step` for :math:`T` = `episodes` > 0; the rest as :func:`o2o_episodes`.

    >>> bandit = StagedMDP(P=[[[[1.0]] * 2]], r=[[[0.5, 0.5]]])
    >>> round(o2o_coefficient(bandit, 0, eps=0.5, episodes=8).value, 6)
    1.0
    """
    episodes = checks.interval("episodes", episodes, 0, np.inf, "()")
    return _search(mdp, step, eps, _geometry(mdp, offline, features), mixtures, tol).run(episodes, level=None)


def cover(
    mdp: StagedMDP,
    step: int,
    targets: Array,
    tolerated: ArrayLike,
    offline: ArrayLike | None = None,
    *,
    features: ArrayLike | None = None,
    tol: float = 1e-6,
) -> Design:
    r"""The least number of episodes with :math:`\|\phi\|^2_{\Lambda^{-1}}` at most `tolerated` for each of `targets`.

    Parameters
    ----------
    targets : float[m, d]
        Expected features of policies; tabular, occupancies float[m, S * A].
    tolerated : float[m] or float
        Positive.
    step, offline, features, tol
        As for :func:`o2o_episodes`.
    """
    geometry, step = _geometry(mdp, offline, features), checks.integer("step", step, 0, mdp.horizon - 1)
    goals = checks.array("targets", targets, ndim=2)
    d = geometry.expected(np.zeros((1, mdp.n_states * mdp.n_actions))).shape[1]
    if not len(goals) or goals.shape[1] != d:
        raise ValueError(f"targets must have shape (m, d) with m > 0 and d = {d}, got {goals.shape}.")
    limits = np.broadcast_to(np.asarray(tolerated, dtype=np.float64), len(goals))
    if not (np.isfinite(limits) & (limits > 0)).all():
        raise ValueError("tolerated must be positive and finite.")
    return _Search(mdp, step, geometry, Rows(goals, limits), None, tol).run(0.0, level=1.0)


def lower_bounds(
    mdp: StagedMDP,
    step: int,
    rows: Rows,
    weights: Array,
    metric: Array,
    offline: ArrayLike | None = None,
    *,
    features: ArrayLike | None = None,
) -> Dual:
    """What any `weights` >= 0 and any `metric` prove about every design, by the dual of the module's head."""
    return _dual(mdp, step, _geometry(mdp, offline, features), rows, weights, metric)


class Dual(NamedTuple):
    """That C(T) (known + T price) >= share; `error` is the relative rounding of each of the three."""

    share: float
    known: float
    price: float
    error: float

    def coefficient(self, episodes: float) -> float:
        """At most C_o2o(`episodes`)."""
        total = self.known + episodes * self.price
        return self.share / total * (1 - 4 * self.error) if self.share > 0 and total > 0 else 0.0

    def episodes(self, beta: float) -> float:
        """At most T_o2o."""
        if self.share <= 0 or self.price <= 0:
            return 0.0
        owed = beta * self.share * (1 - self.error) - self.known * (1 + self.error)
        return max(owed / self.price * (1 - 4 * self.error), 0.0)


def _dual(mdp: StagedMDP, step: int, geometry: Geometry, rows: Rows, weights: Array, metric: Array) -> Dual:
    gain, prices, known = geometry.prices(rows.targets, weights, metric)
    v = np.zeros(mdp.n_states)
    for h in reversed(range(step + 1)):
        v = ((prices if h == step else 0.0) + mdp.P[h] @ v).max(axis=1)
    price, total = float(mdp.initial @ v), float(weights @ rows.tolerated)
    # every number is a sum of non-negative ones: relative errors add up
    error = (len(weights) + (step + 2) * (mdp.n_states + mdp.n_actions + 8)) * EPS
    share = gain * gain / total if total > 0 and gain > 0 else 0.0
    return Dual(share, known, price, error)


def geometry_of(mdp: StagedMDP, visits: Array, features: ArrayLike | None) -> Geometry:
    """The geometry of data that visited the pairs of a step `visits`, float[S, A], times."""
    if features is None:
        return _geometry(mdp, visits, None)
    phi = np.asarray(features, dtype=np.float64)
    return _geometry(mdp, np.einsum("sa,sai,saj->ij", visits, phi, phi), phi)


def _geometry(mdp: StagedMDP, offline: ArrayLike | None, features: ArrayLike | None) -> Geometry:
    S, A = mdp.n_states, mdp.n_actions
    if features is None:
        counts = checks.shaped("offline", np.zeros((S, A)) if offline is None else offline, (S, A), "(S, A)")
        bad = np.argwhere(counts < 0)
        if len(bad):
            raise ValueError(f"offline{bad[0].tolist()} is {counts[tuple(bad[0])]:.6g}; counts cannot be negative.")
        return TabularGeometry(counts.reshape(-1), (S, A))
    phi = checks.array("features", features, ndim=3)
    if phi.shape[:2] != (S, A) or not phi.size:
        raise ValueError(f"features must have shape (S, A, d) with (S, A) = {(S, A)}, got {phi.shape}.")
    d = phi.shape[2]
    known = checks.shaped("offline", np.zeros((d, d)) if offline is None else offline, (d, d), "(d, d)")
    scale = float(abs(known).max())
    if abs(known - known.T).max() > 1e-9 * scale or np.linalg.eigvalsh(known).min() < -1e-9 * scale:
        raise ValueError("offline must be a covariance: symmetric without negative eigenvalues.")
    return LinearGeometry(phi.reshape(S * A, d), known, (S, A))


def _search(
    mdp: StagedMDP, step: int, eps: float, geometry: Geometry, mixtures: bool, tol: float
) -> _Search:  # fmt: skip
    eps = checks.interval("eps", eps, 0, np.inf, "()")
    found = prefixes(mdp, step)
    rows = Rows(geometry.expected(found.occupancy.reshape(len(found.gap), -1)), np.maximum(found.gap, eps) ** 2)
    mixing = _Mixing.of(found.gap, eps) if checks.boolean("mixtures", mixtures) else None
    return _Search(mdp, step, geometry, rows, mixing, tol)


class _Primal(NamedTuple):
    value: float
    episodes: float
    policy: Array
    occupancy: Array


class _Certificate(NamedTuple):
    lower: float
    rows: Rows
    weights: Array
    metric: Array


class _Mixing(NamedTuple):
    """Which pairs of policies have mixtures with a gap of exactly eps."""

    gap: Array  # [n]
    eps: float
    low: Ints  # of gap below eps
    high: Ints  # above it

    @staticmethod
    def of(gap: Array, eps: float) -> _Mixing:
        return _Mixing(gap, eps, np.flatnonzero(gap < eps), np.flatnonzero(gap > eps))

    def worst(self, z: Array) -> tuple[Ints, Array]:
        """For each policy below the worst partner above, and the score of their mixture."""
        low, high, gap, eps = self.low, self.high, self.gap, self.eps
        partner, scores, squares = np.empty(low.size, np.int64), np.empty(low.size), _squares(z)
        block = max(1, PAIRS // high.size)
        for start in range(0, low.size, block):
            i = low[start : start + block]
            t = (eps - gap[i, None]) / (gap[high] - gap[i, None])
            mixed = (1 - t) ** 2 * squares[i, None] + t**2 * squares[high] + 2 * t * (1 - t) * (z[i] @ z[high].T)
            best = mixed.argmax(axis=1)
            partner[start : start + block], scores[start : start + block] = high[best], mixed[range(len(i)), best]
        return partner, scores / eps**2

    def rows(self, targets: Array, at: Ints, partner: Ints) -> Rows:
        i, j = self.low[at], partner[at]
        t = ((self.eps - self.gap[i]) / (self.gap[j] - self.gap[i]))[:, None]
        return Rows((1 - t) * targets[i] + t * targets[j], np.full(len(i), self.eps**2))


class _Search:
    """Cutting planes for one step."""

    def __init__(
        self, mdp: StagedMDP, step: int, geometry: Geometry, rows: Rows, mixing: _Mixing | None, tol: float
    ) -> None:
        self.mdp, self.step, self.geometry, self.rows, self.mixing = mdp, step, geometry, rows, mixing
        self.tol = checks.interval("tol", tol, 0, 1, "()")

    def separate(self, visits: Array, level: float) -> tuple[Rows, float]:
        """Some policies with scores above `level`, the worst among them, and the worst score of all."""
        z = self.geometry.whitened(self.rows.targets, visits)
        scores = _squares(z) / self.rows.tolerated
        worst, found = float(scores.max()), self.rows.at(_worst_first(scores, level))
        if self.mixing and np.isfinite(worst) and self.mixing.low.size and self.mixing.high.size:
            partner, mixed = self.mixing.worst(z)
            found = found.and_also(self.mixing.rows(self.rows.targets, _worst_first(mixed, level), partner))
            worst = max(worst, float(mixed.max()))
        return found, worst

    def run(self, size: float, level: float | None) -> Design:
        """With a `level`, the least number of episodes that keeps all scores below it; else the score of `size`."""
        mdp, flow = self.mdp, Flow.of(self.mdp, self.step)
        nobody = self.rows.at(np.zeros(0, np.int64))
        primal, rows = self._attained(np.full(mdp.r.shape, 1 / mdp.n_actions), size, level, nobody)
        dual = _Certificate(0.0, rows, np.zeros(len(rows.tolerated)), self.geometry.metric(primal.occupancy))
        if primal.value == 0:
            return self._design(primal, dual, 0)
        idle = 0
        for rounds in range(1, ROUNDS + 1):
            visits = primal.occupancy * primal.episodes
            said = propose(flow, self.geometry, *rows, visits, size=primal.episodes, level=level)
            policy = flow.policy(said.flow)
            found, more = self._attained(policy, size, level, rows)
            if found.value > said.value * (1 + self.tol) and len(more.tolerated) == len(rows.tolerated):
                # nobody new objects, but some pair is to be seen an ulp more often and was left out
                policy = (1 - self.tol / 4) * policy + self.tol / 4 / mdp.n_actions
                blended, more = self._attained(policy, size, level, more)
                found = min(found, blended, key=lambda x: x.value)
            primal = min(primal, found, key=lambda x: x.value)
            near = found if np.isfinite(found.episodes) else primal
            dual = max(dual, self._certificate(rows, said.weights, near, level), key=lambda x: x.lower)
            idle = idle + 1 if len(more.tolerated) == len(rows.tolerated) else 0
            if primal.value - dual.lower <= self.tol * primal.value or idle == PATIENCE:
                return self._design(primal, dual, rounds)
            rows = more
        raise NotConverged(f"no agreement after {ROUNDS} rounds of cuts.", self._design(primal, dual, ROUNDS))

    def _attained(self, policy: Array, size: float, level: float | None, rows: Rows) -> tuple[_Primal, Rows]:
        """What `policy` attains against all policies, and `rows` with those that object."""
        occupancy = staged_occupancy(self.mdp, policy)[self.step].reshape(-1)
        if level is None:
            visits = occupancy * size
            found, worst = self.separate(visits, score(self.geometry, rows, visits) * (1 + 1e-9))
            return _Primal(worst * (1 + self.geometry.rounding(visits)), size, policy, occupancy), rows.and_also(found)
        episodes = 0.0
        for _ in range(ROUNDS):
            safe = 1 - self.geometry.rounding(occupancy * max(episodes, 1.0))
            found, worst = self.separate(occupancy * episodes, level * safe)
            if worst <= level * safe:
                return _Primal(episodes, episodes, policy, occupancy), rows
            rows = rows.and_also(found)
            episodes = max(needed(self.geometry, rows, occupancy, level * safe**2, 2 * EPS), episodes * (1 + 4 * EPS))
            if episodes > HUGE:
                break
        return _Primal(np.inf, np.inf, policy, occupancy), rows

    def _certificate(self, rows: Rows, weights: Array, primal: _Primal, level: float | None) -> _Certificate:
        found = []
        for metric in self.geometry.metrics(primal.occupancy * primal.episodes, rows.targets):
            bounds = _dual(self.mdp, self.step, self.geometry, rows, weights, metric)
            lower = bounds.coefficient(primal.episodes) if level is None else bounds.episodes(1 / level)
            found.append(_Certificate(lower, rows, weights, metric))
        return max(found, key=lambda x: x.lower)

    def _design(self, primal: _Primal, dual: _Certificate, rounds: int) -> Design:
        shape = self.mdp.r.shape[1:]
        return Design(
            primal.value, dual.lower, primal.episodes, primal.policy, primal.occupancy.reshape(shape), *dual.rows,
            dual.weights, dual.metric, rounds,
        )  # fmt: skip


def _squares(z: Array) -> Array:
    return np.asarray((z * z).sum(axis=1))


def _worst_first(scores: Array, level: float) -> Ints:
    order = np.argsort(-scores, kind="stable")[:CUTS]
    return np.asarray(order[scores[order] > level])


def score(geometry: Geometry, rows: Rows, visits: Array) -> float:
    """The worst score of `rows`."""
    if not len(rows.tolerated):
        return 0.0
    return float((_squares(geometry.whitened(rows.targets, visits)) / rows.tolerated).max())


def needed(geometry: Geometry, rows: Rows, occupancy: Array, level: float, precision: float) -> float:
    """The least T at which T episodes of `occupancy` keep the scores of `rows` below `level`, from above.

    It is infinite where no number of them does.  The bracket is cut where 1 / score, which is linear in T without
    offline data, would meet 1 / level, a little above and a little below that in turns, and every third time in half.
    """
    low, high, above, below = 0.0, 1.0, np.inf, score(geometry, rows, occupancy)
    while below > level:
        low, above = high, below
        jump = below / level * (1 + precision) if np.isfinite(below) else 1e3  # the score falls no faster than 1 / T
        high *= max(jump, 2.0)
        if high > HUGE:
            return np.inf
        below = score(geometry, rows, occupancy * high)
    cuts = 0
    while high - low > precision * high:
        middle, cuts = (low + high) / 2, cuts + 1
        if cuts % 3 and 0 < below < above * (1 - EPS):
            share = (1 / level - 1 / above) / (1 / below - 1 / above)
            guess = low + share * (high - low) + (1.5 - cuts % 3) * precision * high
            middle = guess if low < guess < high else middle
        now = score(geometry, rows, occupancy * middle)
        if now > level:
            low, above = middle, now
        else:
            high, below = middle, now
    return high
