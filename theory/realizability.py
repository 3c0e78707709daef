r"""Off-policy evaluation when the class holds the truth and nothing else: incompleteness, concentrability, bounds.

A policy is evaluated in a discounted MDP, seen as a chain on the n pairs z = (s, a): `P` is float[n, n], the law of the
next pair under the policy, `r` the mean rewards, :math:`Tf = r + \gamma P f`, :math:`Q = TQ`.  Data are independent
tuples with :math:`z \sim \mu`; norms are those of :math:`L_2(\mu)`.  A class F holds Q (*realizability*).

**Incompleteness** (Zanette 2023).  With :math:`I(f) = \inf_{g \in F}\|g - Tf\|`, the problem is
:math:`\beta`-incomplete if :math:`I(f) \le \beta\|f - Tf\|` for all f in F; :math:`\beta \le 1`, as g = f shows.

**Linear classes (ours).**  For :math:`F = \{\Phi w\}`, :math:`X = (I - \gamma P)\Phi`, D = diag(mu),
:math:`\Sigma = \Phi'D\Phi`, :math:`A = \Phi'DX`, :math:`G = X'DX`: since :math:`f - Tf = X(w - w^*)` and g - f ranges
over the span of the features, I(f) is the distance of f - Tf from that span, so

.. math:: 1 - \beta^2 = \min_w \frac{\|\Pi X w\|^2}{\|X w\|^2} = \lambda_{\min}(A'\Sigma^{-1}A,\; G) ,

and, if G is positive definite, :math:`\beta < 1` exactly where LSTD's matrix A is invertible.

**Estimator** (Antos, Szepesvari & Munos 2008).  :math:`\hat f` minimises
:math:`\hat E(f) = L_f(f) - \min_g L_f(g)` with
:math:`L_f(g) = \frac1n \sum_i (g(z_i) - r_i - \gamma f(z'_i))^2`.  A fixed point of temporal differences has criterion
zero, the least possible, so what holds for every minimiser holds for it.  In the population,
:math:`E(f) = \|f - Tf\|^2 - I(f)^2 \ge (1-\beta^2)\|f - Tf\|^2`.

**Theorem (ours; the published statement leaves the constant open).** Let F be finite, Q in F, and the values of F and
all :math:`r + \gamma f(z')` lie in an interval of length V.  With :math:`s^2 = \log(2|F|/\delta)/n`, with probability
at least :math:`1-\delta` every minimiser satisfies

.. math:: \|\hat f - T\hat f\| \le \frac{5 V s}{1-\beta}, \qquad
          |E_\nu \hat f - E_\nu Q| \le \frac{\sqrt C}{1-\gamma} \|\hat f - T\hat f\| .

*Proof.* For a pair (f, g), :math:`X = (f-y_f)^2 - (g-y_f)^2 = (f-g)(f+g-2y_f)` with
:math:`y_f = r + \gamma f(z')` has mean :math:`\|f-Tf\|^2 - \|g-Tf\|^2`, lies in :math:`[-V^2, V^2]` and has variance at
most :math:`4V^2\|f-g\|^2`.  Bernstein's inequality: one side of the deviation is at most
:math:`2\sqrt2 V\|f-g\|s + \frac43 V^2s^2`, for all of 2|F| pairs at once: (Q, g) for every g, from above, and
(f, g(f)) for every f, from below, where g(f) in F is closest to Tf.  (i)
:math:`\hat E(Q) \le \max_t(-t^2 + 2\sqrt2Vst) + \frac43V^2s^2 = \frac{10}3V^2s^2`.  (ii) With
:math:`B = \|\hat f-T\hat f\|` and g = g(f-hat), :math:`\|\hat f - g\| \le (1+\beta)B`, so
:math:`(1-\beta^2)B^2 \le \hat E(Q) + 2\sqrt2(1+\beta)VsB + \frac43V^2s^2`; the quadratic gives
:math:`B \le Vs\,[2\sqrt2/(1-\beta) + \sqrt{14/3}/\sqrt{1-\beta^2}]` and :math:`2\sqrt2+\sqrt{14/3} < 5`.  The second
inequality is :math:`E_\nu(f-Q) = \frac1{1-\gamma}E_{d_\nu}(f-Tf)` and the definition of C.  The same holds for
the maximum with :math:`\tau` if only elements with Bellman error above :math:`\tau` are :math:`\beta`-incomplete.

**Theorem (ours, convex classes).** Let F be convex and N its covering number in the sup norm at scale V/(10 n).  With
:math:`s^2 = \log(2N^2/\delta)/n`, :math:`\|\hat f - T\hat f\| \le 5Vs/\sqrt{1-\beta^2}`: the amplification is a square
root.

*Proof.* Let :math:`s \le 1/5`, otherwise the claim is trivial.  Going to the nearest elements of the cover changes X by
at most :math:`8V\epsilon` and :math:`\|f-g\|` by :math:`2\epsilon`; with :math:`\epsilon = V/(10n)` and
:math:`1/n \le s^2/\log2` the deviation grows by at most :math:`(16+4\sqrt2 s)V\epsilon \le 2.5\,V^2s^2`.  Projection
onto the convex F: :math:`\|\hat f-g\|^2 \le \Delta^2 := \|\hat f-T\hat f\|^2-\|g-T\hat f\|^2`.  So
:math:`\Delta^2 \le 2\sqrt2Vs\Delta + (2 + 2\cdot3.84)V^2s^2`, :math:`\Delta \le 4.9\,Vs`, and
:math:`\Delta^2 \ge (1-\beta^2)B^2`.

That finite classes do pay 1/(1-beta) is shown by :func:`opposite_chain`.
"""

from __future__ import annotations

from math import inf, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy import optimize

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.tabular import EPS, TabularMDP


class PairChain(NamedTuple):
    """A policy's evaluation problem on pairs, with the law of the data; made by :func:`pair_chain`."""

    P: Array  # [n, n]
    r: Array  # [n]
    gamma: float
    mu: Array  # [n]
    start: Array  # [n], law of the first pair

    @property
    def q(self) -> Array:
        """The values Q, float[n]."""
        return np.asarray(np.linalg.solve(np.eye(len(self.r)) - self.gamma * self.P, self.r), dtype=np.float64)

    @property
    def occupancy(self) -> Array:
        r"""Normalised discounted occupancy :math:`d_\nu`, float[n]."""
        forward = np.eye(len(self.r)) - self.gamma * self.P.T
        return np.asarray((1 - self.gamma) * np.linalg.solve(forward, self.start), dtype=np.float64)

    def image(self, f: Array) -> Array:
        """Tf for each row of `f`, float[..., n]."""
        return self.r + self.gamma * f @ self.P.T

    def norm(self, f: Array) -> Array:
        r""":math:`\\|f\\|_\\mu` of each row of `f`."""
        return np.asarray(np.sqrt((self.mu * f**2).sum(axis=-1)))


def pair_chain(mdp: TabularMDP, pi: ArrayLike, mu: ArrayLike) -> PairChain:
    """The evaluation of `pi`, int[S] or float[S, A], from data of the law `mu`, float[S, A], pair ``s * A + a``."""
    policy = mdp.policy(pi)
    chosen = np.eye(mdp.n_actions)[policy.astype(np.int64)] if policy.ndim == 1 else policy
    S, A = mdp.r.shape
    law = checks.distributions("mu", np.reshape(checks.shaped("mu", mu, (S, A), "(S, A)"), -1), ndim=1)
    if mdp.is_sparse:
        raise ValueError("mdp must be dense: the moments of a class are dense anyway.")
    P = (mdp.P.reshape(S * A, S)[:, :, None] * chosen).reshape(S * A, S * A)
    return PairChain(P, mdp.r.reshape(-1), mdp.gamma, law, (mdp.initial[:, None] * chosen).reshape(-1))


class Moments(NamedTuple):
    """What the theory of a linear class needs to know, in the population or in a log."""

    sigma: Array  # [d, d], mean of phi phi'
    A: Array  # [d, d], mean of phi (phi - gamma phi')'
    G: Array  # [d, d], mean of x x' for the Bellman errors x
    start: Array  # [d], mean features of the first pair
    gamma: float


def moments(problem: PairChain, features: ArrayLike) -> Moments:
    """The population moments of the class spanned by the columns of `features`, float[n, d]."""
    phi = checks.array("features", features, ndim=2)
    if len(phi) != len(problem.r) or not phi.shape[1]:
        raise ValueError(f"features must have shape (n, d) with n = {len(problem.r)}, got {phi.shape}.")
    x = phi - problem.gamma * problem.P @ phi
    weighted = problem.mu[:, None] * phi
    return Moments(
        weighted.T @ phi, weighted.T @ x, x.T @ (problem.mu[:, None] * x), problem.start @ phi, problem.gamma
    )


def _root(matrix: Array) -> tuple[Array, Array]:
    """W with ``W' matrix W = I`` on the range of a positive semidefinite matrix, and a basis of its null space."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > len(values) * EPS * max(values[-1], 0.0)
    return vectors[:, kept] / np.sqrt(values[kept]), vectors[:, ~kept]


def projected(m: Moments) -> Array:
    r""":math:`A'\Sigma^{+}A`, float[d, d]: the quadratic form of the mean squared *projected* Bellman error."""
    W, _ = _root(m.sigma)
    return (W.T @ m.A).T @ (W.T @ m.A)


def incompleteness(m: Moments) -> float:
    r"""The least :math:`\beta` of the linear class: :math:`\sqrt{1 - \lambda_{\min}(A'\Sigma^{-1}A, G)}`.

    Functions without Bellman error under the law do not count.  With the moments of a log, where G holds the variance
    of the next features as well (nobody can draw a transition twice), it estimates an upper bound.
    """
    W, _ = _root(m.G)
    if not W.shape[1]:
        return 0.0
    least = float(np.linalg.eigvalsh(W.T @ projected(m) @ W)[0])
    return sqrt(1 - min(max(least, 0.0), 1.0))


def _quadratic(matrix: Array, x: Array) -> float:
    """x' matrix^+ x, infinite if x has a part in the null space."""
    W, null = _root(matrix)
    if null.size and abs(null.T @ x).max() > len(x) * sqrt(EPS) * max(abs(x).max(), EPS):
        return inf
    return float(((W.T @ x) ** 2).sum())


def concentrability(m: Moments) -> float:
    r"""Least C with :math:`(E_{d_\nu}(f-Tf))^2 \le C\|f-Tf\|^2` on the class: :math:`(1-\gamma)^2\nu'G^{-1}\nu`.

    Here :math:`X'd_\nu = (1-\gamma)\,E_\nu\phi`, so no occupancy is needed.  It is at most
    :math:`E_\mu(d_\nu/\mu)^2 \le \|d_\nu/\mu\|_\infty`.
    """
    return (1 - m.gamma) ** 2 * _quadratic(m.G, m.start)


def amplification(m: Moments) -> float:
    r"""How much the projected Bellman error may be magnified in the value: :math:`\sqrt{\nu'(A'\Sigma^{-1}A)^{-1}\nu}`.

    At most :math:`\sqrt{C}/((1-\gamma)\sqrt{1-\beta^2})` (ours): it splits into the two published factors, but can be
    estimated without drawing a transition twice.  Infinite where A is singular in the direction that counts.
    """
    return sqrt(_quadratic(projected(m), m.start))


def density_ratio(problem: PairChain) -> float:
    r"""The concentrability of all functions with sup norms, :math:`\|d_\nu/\mu\|_\infty`; infinite without coverage."""
    d = problem.occupancy
    if (problem.mu[d > 0] == 0).any():
        return inf
    return float((d[d > 0] / problem.mu[d > 0]).max())


def td_margin(m: Moments) -> float:
    """Least real part of the eigenvalues of A: temporal differences with small steps converge where it is positive."""
    return float(np.linalg.eigvals(m.A).real.min())


def contraction(m: Moments) -> float:
    r"""Modulus of the projected operator, :math:`\gamma\|\Pi P\Pi\| = \|I - \Sigma^{-1/2}A\Sigma^{-1/2}\|`."""
    W, _ = _root(m.sigma)
    return float(np.linalg.norm(np.eye(W.shape[1]) - W.T @ m.A @ W, 2))


def fitted_radius(m: Moments) -> float:
    r"""Spectral radius of :math:`\gamma\Sigma^{-1}\Phi'DP\Phi`: fitted values converge where it is below 1."""
    W, _ = _root(m.sigma)
    return float(abs(np.linalg.eigvals(np.eye(W.shape[1]) - W.T @ m.A @ W)).max())


class FiniteClass(NamedTuple):
    """A finite class measured: Bellman errors, distances of images from the class, and their largest quotient."""

    errors: Array  # [m], ||f - Tf||
    local: Array  # [m], I(f)
    beta: float  # over the elements whose error exceeds the floor


def finite_incompleteness(problem: PairChain, F: ArrayLike, *, floor: float = 0.0) -> FiniteClass:
    r"""Enumerate a finite class, float[m, n]; elements with Bellman error at most `floor` do not count for beta."""
    values = checks.array("F", F, ndim=2)
    if values.shape[1] != len(problem.r) or not len(values):
        raise ValueError(f"F must have shape (m, n) with n = {len(problem.r)}, got {values.shape}.")
    image = problem.image(values)
    errors = problem.norm(values - image)
    local = np.array([problem.norm(values - tf).min() for tf in image])
    counted = errors > checks.interval("floor", floor, 0, inf, "[)")
    beta = float((local[counted] / errors[counted]).max()) if counted.any() else 0.0
    return FiniteClass(errors, local, beta)


def finite_concentrability(problem: PairChain, F: Array, *, floor: float = 0.0) -> float:
    r"""Largest :math:`(E_{d_\nu}(f-Tf))^2/\|f-Tf\|^2` over the elements with Bellman error above `floor`."""
    residual = F - problem.image(F)
    errors = problem.norm(residual)
    kept = errors > floor
    return float(((residual[kept] @ problem.occupancy) ** 2 / errors[kept] ** 2).max()) if kept.any() else 0.0


def bellman_chain(problem: PairChain, start: Array, beta: float, length: int) -> Array:
    r"""The class {Q} and `length` iterates of :math:`f \mapsto Tf + \beta(f - Tf)`, float[length + 1, n], Q first.

    Each element but the last is answered by its successor, so the class is `beta`-incomplete above the last Bellman
    error; a chain that ends early has an element without an answer, at which beta is 1.
    """
    out = [problem.q, start]
    while len(out) <= length:
        image = problem.image(out[-1])
        out.append(image + beta * (out[-1] - image))
    return np.array(out)


def chain_length(beta: float, gamma: float, span: float, tol: float) -> int:
    r"""Elements after which a chain with :math:`0 \le \beta < 1` is within `tol` of Q: each step contracts by
    :math:`\beta + (1-\beta)\gamma` in the sup norm."""
    beta, gamma = checks.interval("beta", beta, 0, 1, "[)"), checks.interval("gamma", gamma, 0, 1, "[)")
    modulus = beta + (1 - beta) * gamma
    return 1 + int(np.ceil(log(span / tol) / -log(modulus))) if modulus > 0 else 2


def opposite_chain(gamma: float, beta: float, top: float, length: int) -> Array:
    r"""A class of one state on which the factor 1/(1-beta) is paid: float[length + 1, 1] offsets from Q, 0 first.

    The k-th element is :math:`Q + \rho^k\,\mathrm{top}`, :math:`\rho = \gamma - \beta(1-\gamma)`: the answer to f lies
    on the *other* side of Tf, at :math:`Tf - \beta(f-Tf)`, so :math:`\|f-g\| = (1+\beta)\|f-Tf\|`.  Needs
    :math:`\gamma \ge 1/2`, or Q itself would be a better answer.
    With a mean reward that errs by :math:`\epsilon`, the top minimises the criterion (it is 0 there) as soon as
    :math:`2\epsilon \ge (1-\beta)(1-\gamma)\,\mathrm{top}`: its Bellman error is :math:`2\epsilon/(1-\beta)`.
    """
    rho = checks.interval("gamma", gamma, 0.5, 1, "[)") - checks.interval("beta", beta, 0, 1, "[)") * (1 - gamma)
    return np.concatenate([[0.0], top * rho ** np.arange(length)])[:, None]


def bellman_error_bound(span: float, n: int, size: int, beta: float, delta: float) -> float:
    r"""Upper bound on :math:`\|\hat f-T\hat f\|` for a finite class: :math:`5V\sqrt{\log(2|F|/\delta)/n}/(1-\beta)`."""
    return _rate(span, n, log(2.0 * checks.integer("size", size, 1)), delta) / (
        1 - checks.interval("beta", beta, 0, 1, "[)")
    )


def convex_bellman_error_bound(span: float, n: int, entropy: float, beta: float, delta: float) -> float:
    r"""The same for a convex class: :math:`5V\sqrt{\log(2N^2/\delta)/n}/\sqrt{1-\beta^2}`, `entropy` = log N."""
    return _rate(span, n, log(2.0) + 2 * checks.interval("entropy", entropy, 0, inf, "[)"), delta) / sqrt(
        1 - checks.interval("beta", beta, 0, 1, "[)") ** 2
    )


def _rate(span: float, n: int, logarithm: float, delta: float) -> float:
    n, span = checks.integer("n", n, 1), checks.interval("span", span, 0, inf, "()")
    return 5 * span * sqrt((logarithm - log(checks.interval("delta", delta, 0, 1, "()"))) / n)


def value_error_bound(bellman_error: float, C: float, gamma: float) -> float:
    r"""Upper bound on :math:`|E_\nu(f - Q)|`: :math:`\sqrt C\,\|f-Tf\|/(1-\gamma)`."""
    return sqrt(C) * bellman_error / (1 - checks.interval("gamma", gamma, 0, 1, "[)"))


class WorstSampling(NamedTuple):
    """A sampling law that makes a class as incomplete as the search could."""

    mu: Array  # [n]
    beta: float


def worst_sampling(
    problem: PairChain, features: ArrayLike, floor: float, rng: Generator, *, starts: int = 8
) -> WorstSampling:
    """Search for the law, with every probability at least `floor`, under which the class is most incomplete.

    Sequential quadratic programs from random laws on the least eigenvalue; then, if the determinant of A changes its
    sign between two laws that were met, a bisection between them, at whose end A is singular and beta is 1.
    """
    n = len(problem.r)
    floor = checks.interval("floor", floor, 0, 1 / n)
    bounds, total = [(floor, 1.0)] * n, {"type": "eq", "fun": lambda mu: mu.sum() - 1}

    def law(x: Array) -> Array:
        clipped = np.maximum(x, floor) - floor
        return floor + (1 - n * floor) * clipped / max(clipped.sum(), EPS)

    def at(mu: Array) -> Moments:
        return moments(problem._replace(mu=mu), features)

    met = [law(floor + rng.dirichlet(np.full(n, 0.5))) for _ in range(starts)]
    met += [
        law(optimize.minimize(lambda x: 1 - incompleteness(at(law(x))) ** 2, mu, bounds=bounds, constraints=total).x)
        for mu in list(met)
    ]
    signs = [float(np.linalg.det(at(mu).A)) for mu in met]
    low, high = met[int(np.argmin(signs))], met[int(np.argmax(signs))]
    if min(signs) < 0 < max(signs):
        found = optimize.root_scalar(
            lambda t: float(np.linalg.det(at((1 - t) * low + t * high).A)), bracket=(0, 1), method="brentq", xtol=EPS
        )
        share = float(found.root)
        met.append((1 - share) * low + share * high)
    betas = [incompleteness(at(mu)) for mu in met]
    best = int(np.argmax(betas))
    return WorstSampling(met[best], betas[best])
