r"""When is Realizability Sufficient for Off-Policy Reinforcement Learning? (Zanette 2023)

Off-policy evaluation with a class that holds the truth: the error depends on concentrability, on the size of the class
and on its incompleteness beta, and on no approximation error.  The published theorem leaves its constant open; the
theorem under test is ours, with constant 5 and proof in :mod:`claimlab.theory.realizability`.  Problems are chains on
few pairs, so that everything but the data is exact.
"""

from __future__ import annotations

from functools import lru_cache, partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import PAGE
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import (
    Identity,
    Inequality,
    Outcome,
    Probability,
    Rate,
    probability,
    rate,
)
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.offline_estimators import draw_sample, lstd, lstd_radius, minimax, sample_moments
from claimlab.theory.realizability import (
    PairChain,
    amplification,
    bellman_chain,
    bellman_error_bound,
    chain_length,
    concentrability,
    contraction,
    density_ratio,
    finite_incompleteness,
    incompleteness,
    moments,
    opposite_chain,
    td_margin,
)
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="realizability",
    title="When is Realizability Sufficient for Off-Policy Reinforcement Learning?",
    authors="Andrea Zanette",
    venue="ICML 2023",
    arxiv="2211.05311",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

LINEAR = "a linear class that holds $Q$, finitely many pairs"
FINITE = "a finite class that holds $Q$, finitely many pairs"
COVERED = "every pair has positive probability under the law of the data"

SPACE = Space(
    {"n": (2, 4), "d": (1, 2)},
    {
        "P": Simplex("nn"),
        "phi": Box("nd"),
        "w": Box("d"),
        "mu": Simplex("n"),
        "u": Box("d"),
        "gamma": Box("", 0, 0.95),
    },
)


def problem(P: Array, phi: Array, w: Array, mu: Array, gamma: Array) -> PairChain:
    """A chain whose values are `phi @ w`, so that the class is realizable; the law of the data covers every pair."""
    q, law = phi @ w, 0.99 * mu + 0.01 / len(mu)
    return PairChain(P, q - float(gamma) * P @ q, float(gamma), law, np.eye(len(mu))[0])


def regular(matrix: Array) -> bool:
    """Whether a Gram matrix is invertible to three digits: certified errors grow with its condition."""
    values = np.linalg.eigvalsh(matrix)
    return bool(values[0] > 1e-3 * values[-1] > 0)


# ZA1 to ZA3: the incompleteness of linear classes


def _eigenvalue(P: Array, phi: Array, w: Array, mu: Array, u: Array, gamma: Array, *, power: float) -> Trial | None:
    """I(f) of one element against beta times its Bellman error, squared; the least such beta is the eigenvalue's."""
    chain = problem(P, phi, w, mu, gamma)
    m = moments(chain, phi)
    if not (regular(m.G) and regular(m.sigma)):
        return None
    error = chain.image(phi @ u) - phi @ u  # Tf - f
    weighted = np.sqrt(chain.mu)[:, None] * phi
    fit = np.linalg.lstsq(weighted, np.sqrt(chain.mu) * error, rcond=None)[0]
    local = float(chain.norm(error - phi @ fit) ** 2)
    return Trial(local, incompleteness(m) ** power * float(chain.norm(error) ** 2), 1e-10)


def _eigenvalue_check(budget: Budget, power: float = 2.0) -> Inequality:
    return attack(SPACE, partial(_eigenvalue, power=power), budget.with_instances(4 * budget.instances))


def _singular(P: Array, phi: Array, w: Array, mu: Array, u: Array, gamma: Array, *, which: str) -> Trial | None:
    r"""One feature: :math:`1-\beta^2=A^2/(\Sigma G)`; or, in place of A, the Gram matrix."""
    chain = problem(P, phi[:, :1], w[:1], mu, gamma)
    m = moments(chain, phi[:, :1])
    A, sigma, G = (float(x[0, 0]) for x in (m.A, m.sigma, m.G))
    if min(sigma, G) < 1e-3:
        return None
    stated = {"A": A, "sigma": sigma}[which] ** 2 / (sigma * G)
    return Trial(abs(1 - incompleteness(m) ** 2 - stated), 1e-11)


def _singular_check(budget: Budget, which: str = "A") -> Identity:
    return equate(SPACE, partial(_singular, which=which), budget)


def _criterion(P: Array, phi: Array, w: Array, mu: Array, u: Array, gamma: Array, *, scale: float) -> Trial | None:
    r"""The population criterion against :math:`(1-\beta^2)\|f-Tf\|^2`."""
    chain = problem(P, phi, w, mu, gamma)
    m = moments(chain, phi)
    if not (regular(m.G) and regular(m.sigma)):
        return None
    error = chain.image(phi @ u) - phi @ u
    weighted = np.sqrt(chain.mu)[:, None] * phi
    fit = np.linalg.lstsq(weighted, np.sqrt(chain.mu) * error, rcond=None)[0]
    projected = float(chain.norm(phi @ fit) ** 2)
    return Trial(scale * (1 - incompleteness(m) ** 2) * float(chain.norm(error) ** 2), projected, 1e-10)


def _criterion_check(budget: Budget, scale: float = 1.0) -> Inequality:
    return attack(SPACE, partial(_criterion, scale=scale), budget.with_instances(4 * budget.instances))


# ZA4: the two states of Tsitsiklis & Van Roy


def two_states(share: float, gamma: float = 0.95, slope: float = 0.0) -> tuple[PairChain, Array]:
    """Features 1 and 2, both states move to the second; `share` of the data is of the first."""
    phi = np.array([[1.0], [2.0]])
    P = np.array([[0.0, 1.0], [0.0, 1.0]])
    q = slope * phi[:, 0]
    return PairChain(P, q - gamma * P @ q, gamma, np.array([share, 1 - share]), np.array([1.0, 0.0])), phi


SINGULAR = 2 / 11  # A = 0.2 - 1.1 share


def _spurious_check(budget: Budget, share: float = SINGULAR) -> Inequality:
    """Realizable and covered: is the minimiser of the population criterion within one of Q, which is zero?

    Weights from -5 to 5; the value is the farthest weight whose criterion is zero to rounding.
    """
    chain, phi = two_states(share)
    weights = np.linspace(-5, 5, 101)
    F = weights[:, None] * phi[:, 0]
    error = chain.image(F) - F
    fit = (error * chain.mu) @ phi[:, 0] / float(chain.mu @ phi[:, 0] ** 2)
    criterion = chain.norm(fit[:, None] * phi[:, 0]) ** 2
    farthest = float(abs(weights[criterion <= 1e-12]).max())
    witness = {"share": share, "beta": incompleteness(moments(chain, phi)), "farthest minimiser": farthest}
    return Inequality(farthest, farthest - 1, 0.0, 1, 1, 1, 1, witness)


def _iteration_check(budget: Budget, share: float = 0.5, direct: bool = False) -> Inequality:
    """Fitted values iterated 200 times from weight 1 (Q is zero), or LSTD: the distance from Q."""
    chain, phi = two_states(share)
    m = moments(chain, phi)
    w = 1.0
    for _ in range(200):
        w *= 1 - float(m.A[0, 0] / m.sigma[0, 0])
    if direct:
        w = float(lstd(m, np.zeros(1))[0])
    witness = {"share": share, "A": float(m.A[0, 0]), "weight": w, "beta": incompleteness(m)}
    return Inequality(abs(w), abs(w) - 1.0, 1e-9, 1, 1, 1, 1, witness)


# ZA5 to ZA7: finite samples


@lru_cache(maxsize=8)
def chain_class(beta: float, length: int) -> tuple[PairChain, Array]:
    """A chain of four pairs, and the class {Q} with `length` iterates from a far start."""
    rng = np.random.default_rng(20230711)
    gamma, n = GAMMA, 4
    P, r = rng.dirichlet(np.ones(n), size=n), rng.random(n)
    chain = PairChain(P, r, gamma, np.full(n, 1 / n), np.eye(n)[0])
    return chain, bellman_chain(chain, np.full(n, 5.0), beta, length)


@lru_cache(maxsize=16)
def worst_errors(beta: float, length: int, n: int, runs: int, seed: int) -> Array:
    """Bellman errors of the worst minimiser, adversary among ties, float[runs]."""
    chain, F = chain_class(beta, length)
    losses = chain.norm(F - chain.image(F))
    rng = np.random.default_rng(np.random.SeedSequence([seed, n]))
    return np.array([
        losses[minimax(draw_sample(chain, n, rng, bernoulli=True), chain.gamma, F, losses)] for _ in range(runs)
    ])  # fmt: skip


BETA, GAMMA, DELTA, FLOOR = 0.5, 0.8, 0.1, 1e-6
LENGTH = chain_length(BETA, GAMMA, 5.0, FLOOR / 10)


def _bound_check(budget: Budget, share: float = 1.0, n: int = 2_000) -> Probability:
    """Data sets on which the worst minimiser is above the bound with the class's own incompleteness."""
    runs = {"smoke": 200, "standard": 1_000}.get(budget.name, 5_000)
    chain, F = chain_class(BETA, LENGTH)
    beta = finite_incompleteness(chain, F, floor=FLOOR).beta
    bound = share * bellman_error_bound(5.0, n, len(F), beta, DELTA)
    return probability(int((worst_errors(BETA, LENGTH, n, runs, budget.seed) > bound).sum()), runs, DELTA)


SIZES = (250, 1_000, 4_000, 16_000)


def _floor_check(budget: Budget, length: int = LENGTH) -> Probability:
    """Data sets of 16 000 tuples whose worst minimiser is above a twentieth of the largest Bellman error."""
    runs = {"smoke": 200, "standard": 400}.get(budget.name, 2_000)
    chain, F = chain_class(BETA, length)
    limit = float(chain.norm(F - chain.image(F)).max()) / 20
    failures = (worst_errors(BETA, length, SIZES[-1], runs, budget.seed) > limit).sum()
    return probability(int(failures), runs, DELTA)


def _amplified_check(budget: Budget, exponent: float = 1.0) -> Rate:
    r"""Bellman error of the worst minimiser over :math:`1/(1-\beta)`, one state, the answer beyond the image.

    A mean reward that errs by eps = 0.01; the class reaches as far as the theorem allows.
    """
    runs, rng = 20, budget.rng("rewards")
    gamma, x, rows = 0.6, np.array([2.0, 4.0, 8.0, 16.0]), []
    for _ in range(runs):
        eps = 0.01 * rng.uniform(0.5, 1.0)
        row = []
        for beta in 1 - 1 / x:
            top = 2 * eps / ((1 - beta) * (1 - gamma))
            F = opposite_chain(gamma, beta, top, 400)[:, 0]
            image = gamma * F + eps  # the empirical one; the true one is gamma F
            criterion = (F - image) ** 2 - ((F[None] - image[:, None]) ** 2).min(axis=1)
            tied = criterion <= criterion.min() + 1e-12
            row.append(abs(F - gamma * F)[tied].max())
        rows.append(row)
    return rate(x, np.array(rows), exponent=exponent, side="at least", resolution=0.1, rng=budget.rng("bootstrap"))


# ZA9, ZA10, and LSTD's interval


def _fixed_point(P: Array, phi: Array, w: Array, mu: Array, u: Array, gamma: Array, *, shift: float) -> Trial | None:
    """LSTD's weights, on the sample that a seed of the instance draws: the criterion of the minimax problem is zero."""
    chain = problem(P, phi, w, mu, gamma)
    rng = np.random.default_rng(int(1e6 * abs(u).sum()))
    sample = draw_sample(chain, 200, rng)
    m, b = sample_moments(chain, phi, sample)
    if not regular(m.sigma) or abs(np.linalg.det(m.A)) < 1e-3:
        return None
    f = phi @ (lstd(m, b) + shift)
    image = sample.r + chain.gamma * sample.P @ f
    weighted = np.sqrt(sample.weight)[:, None] * phi
    fit = np.linalg.lstsq(weighted, np.sqrt(sample.weight) * image, rcond=None)[0]
    gain = float(sample.weight @ ((f - image) ** 2 - (phi @ fit - image) ** 2))
    return Trial(abs(gain), 1e-9 * (1 + float((f**2).max())))


def _fixed_point_check(budget: Budget, shift: float = 0.0) -> Identity:
    return equate(SPACE, partial(_fixed_point, shift=shift), budget)


def _difference(P: Array, phi: Array, w: Array, mu: Array, u: Array, gamma: Array, *, own: bool) -> Trial:
    r""":math:`E_\nu(f-Q)=\frac{1}{1-\gamma}E_{d_\nu}(f-Tf)`; `own` takes the law of the data for the occupancy."""
    chain = problem(P, phi, w, mu, gamma)
    f = phi @ u
    d = chain.mu if own else chain.occupancy
    left, right = float(chain.start @ (f - chain.q)), float(d @ (f - chain.image(f))) / (1 - chain.gamma)
    return Trial(abs(left - right), 1e-11 * (1 + float(abs(phi).max())) / (1 - chain.gamma) ** 2)


def _difference_check(budget: Budget, own: bool = False) -> Identity:
    return equate(SPACE, partial(_difference, own=own), budget)


def _concentrated(P: Array, phi: Array, w: Array, mu: Array, u: Array, gamma: Array, *, share: float) -> Trial | None:
    """The class's concentrability against the largest density ratio."""
    chain = problem(P, phi, w, mu, gamma)
    m = moments(chain, phi)
    return Trial(concentrability(m), share * density_ratio(chain), 1e-8) if regular(m.G) else None


def _concentrated_check(budget: Budget, share: float = 1.0) -> Inequality:
    same = {"P": np.eye(2), "phi": np.eye(2), "w": np.zeros(2), "mu": np.array([0.5, 0.5]), "u": np.ones(2),
            "gamma": np.array(0.5)}  # fmt: skip
    many = budget.with_instances(4 * budget.instances)
    return attack(SPACE, partial(_concentrated, share=share), many, hard=[same])


def _factors(P: Array, phi: Array, w: Array, mu: Array, u: Array, gamma: Array, *, share: float) -> Trial | None:
    r"""LSTD's amplification against the product of the published factors."""
    chain = problem(P, phi, w, mu, gamma)
    m = moments(chain, phi)
    beta = incompleteness(m)
    if not (regular(m.G) and regular(m.sigma)) or beta > 0.999:
        return None
    product = np.sqrt(concentrability(m)) / ((1 - chain.gamma) * np.sqrt(1 - beta**2))
    return Trial(amplification(m), share * float(product), 1e-6)


def _factors_check(budget: Budget, share: float = 1.0) -> Inequality:
    return attack(SPACE, partial(_factors, share=share), budget.with_instances(4 * budget.instances))


def _interval_check(budget: Budget, share: float = 1.0) -> Probability:
    """Logs of 400 tuples whose interval misses the value of the two states, Bernoulli rewards, beta 0.94."""
    runs = {"smoke": 400, "standard": 2_000}.get(budget.name, 20_000)
    gamma, phi = 0.5, np.array([[1.0], [2.0]])
    P, q = np.array([[0.0, 1.0], [0.0, 1.0]]), 0.6 * phi[:, 0]
    chain = PairChain(P, q - gamma * P @ q, gamma, np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    rng, failures = budget.rng("logs"), 0
    for _ in range(runs):
        m, b = sample_moments(chain, phi, draw_sample(chain, 400, rng, bernoulli=True))
        value, radius = float(m.start @ lstd(m, b)), lstd_radius(m, 400, 2.0, DELTA)
        failures += abs(value - float(chain.start @ chain.q)) > share * radius
    return probability(int(failures), runs, DELTA)


# Figure


def _simplex_maps() -> tuple[Figure, pd.DataFrame]:
    P, phi = np.array([[0.0, 0.3, 0.7], [0.1, 0.0, 0.9], [0.0, 0.0, 1.0]]), np.array([[1.0], [1.5], [2.0]])
    gamma, steps = 0.95, 60
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 2.4))
    rows = []
    for i in range(1, steps):
        for j in range(1, steps - i):
            mu = np.array([i, j, steps - i - j]) / steps
            m = moments(PairChain(P, np.zeros(3), gamma, mu, np.eye(3)[0]), phi)
            rows.append({"mu1": mu[0], "mu2": mu[1], "beta": incompleteness(m), "A": float(m.A[0, 0]),
                         "TD": td_margin(m) > 0, "contraction": contraction(m) < 1,
                         "C": concentrability(m)})  # fmt: skip
    data = pd.DataFrame(rows)
    shown = axes[0].scatter(data["mu1"], data["mu2"], c=data["beta"], s=6, marker="s", lw=0, vmin=0, vmax=1)
    fig.colorbar(shown, ax=axes[0], label="β")
    # one feature: A is linear in mu, and vanishes on a line
    slopes = phi[:, 0] * (phi[:, 0] - gamma * P @ phi[:, 0])
    x = np.linspace(0, 1, 200)
    y = -(slopes[2] + x * (slopes[0] - slopes[2])) / (slopes[1] - slopes[2])
    inside = (y >= 0) & (x + y <= 1)
    state = np.where(data["contraction"], 2, np.where(data["TD"], 1, 0))
    for value, label, colour in (
        (2, "contraction", "#0072B2"),
        (1, "TD converges", "#56B4E9"),
        (0, "TD diverges", "#E69F00"),
    ):
        part = data[state == value]
        if part.empty:
            continue
        axes[1].plot(part["mu1"], part["mu2"], "s", ms=2.2, color=colour, label=label, mew=0)
    axes[1].legend(loc="upper right", fontsize=6, markerscale=2)
    for ax in axes[:2]:
        ax.plot(x[inside], y[inside], color="white", lw=2.2)
        ax.plot(x[inside], y[inside], color="black", lw=1)
        ax.set(xlabel="share of pair 1", ylabel="share of pair 2", xlim=(0, 1), ylim=(0, 1))
    axes[0].set_title("incompleteness; line: A = 0")
    n = np.array([250, 1_000, 4_000, 16_000])
    for beta, colour in ((0.0, "#0072B2"), (0.5, "#D55E00")):
        errors = np.array([worst_errors(beta, LENGTH, int(k), 60, 0) for k in n])
        axes[2].plot(n, errors.mean(axis=1), marker="o", color=colour, label=f"chain b = {beta:g}")
        chain, F = chain_class(beta, LENGTH)
        own = finite_incompleteness(chain, F, floor=FLOOR).beta
        axes[2].plot(n, [bellman_error_bound(5.0, int(k), len(F), own, DELTA) for k in n], ls="--", color=colour)
    short = np.array([worst_errors(0.5, 12, int(k), 60, 0) for k in n])
    axes[2].plot(n, short.mean(axis=1), marker="x", color="0.4", label="chain too short")
    axes[2].set(xscale="log", yscale="log", xlabel="tuples", ylabel="Bellman error", title="dashed: bound")
    axes[2].legend(fontsize=6, loc="center right", bbox_to_anchor=(1.0, 0.6))
    return fig, data


FIGURES = (
    PaperFigure(
        "sampling-laws",
        r"Left and middle: one feature, three pairs, $\gamma=0.95$, over all laws of the data: incompleteness, with "
        r"the exact line "
        r"on which LSTD's matrix is singular and $\beta=1$; where temporal differences and the projected operator "
        r"converge. "
        r"Right: Bellman error of the worst minimiser of the minimax criterion (mean of 60 data sets) and the bound "
        r"with "
        r"constant 5.",
        _simplex_maps,
    ),
)

CLAIMS = (
    claim(
        id="realizability/beta-is-an-eigenvalue",
        source="ours, on the definition of incompleteness",
        statement=r"For linear classes $I(f)^2\le\beta^2\|f-Tf\|^2$ with $1-\beta^2=\lambda_{\min}(A'\Sigma^{-1}A,G)$.",
        kind=Inequality,
        premises=(LINEAR, COVERED),
        check=_eigenvalue_check,
        control=partial(_eigenvalue_check, power=2.2),
        control_statement=r"the same with $\beta^{2.2}$.",
    ),
    claim(
        id="realizability/incomplete-iff-singular",
        source="ours, on the definition of incompleteness",
        statement=r"For one feature $1-\beta^2=A^2/(\Sigma G)$: incompleteness is 1 exactly where LSTD's matrix $A$ "
        r"is singular.",
        kind=Identity,
        premises=(LINEAR, COVERED),
        check=_singular_check,
        control=partial(_singular_check, which="sigma"),
        control_statement=r"$1-\beta^2=\Sigma^2/(\Sigma G)$.",
    ),
    claim(
        id="realizability/criterion",
        source="ours, for the analysis of the minimax estimator",
        statement=r"The population criterion is at least $(1-\beta^2)\|f-Tf\|^2$.",
        kind=Inequality,
        premises=(LINEAR, COVERED),
        check=_criterion_check,
        control=partial(_criterion_check, scale=1.05),
        control_statement=r"it is at least $1.05\,(1-\beta^2)\|f-Tf\|^2$.",
    ),
    claim(
        id="realizability/suffices",
        source="title, taken without the incompleteness factor",
        statement=r"Realizability and coverage suffice: minimisers of the population criterion are near $Q$.",
        kind=Inequality,
        premises=("two states, features 1 and 2, $\\gamma=0.95$; a share of 2/11 of the data from the first state",),
        check=_spurious_check,
        control=partial(_spurious_check, share=0.5),
        control_statement=r"the same with a share of one half, where $\beta=0.938$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="realizability/finite-sample-bound",
        source="Theorem 1 (finite classes; constant 5 ours)",
        statement=r"With probability $1-\delta$ every minimiser has $\|\hat f-T\hat "
        r"f\|_\mu\le\frac{5V}{1-\beta}\sqrt{\log(2|F|/\delta)/n}$.",
        kind=Probability,
        premises=(FINITE, f"{LENGTH + 1} functions, 2000 tuples, ties broken by an adversary", f"$\\delta={DELTA}$"),
        check=_bound_check,
        control=partial(_bound_check, share=0.005),
        control_statement="the same with 1/200 of it: the bound is loose by more than a hundred.",
    ),
    claim(
        id="realizability/no-floor",
        source="abstract (free of inherent Bellman error)",
        statement="No floor remains: after 16 000 tuples the worst minimiser has a Bellman error below a "
        "twentieth of the largest in the class, with probability 0.9.",
        kind=Probability,
        premises=(FINITE, "an incomplete class, beta below 1 down to a Bellman error of 1e-6"),
        check=_floor_check,
        control=partial(_floor_check, length=12),
        control_statement="the same for a chain that ends early, whose last element has no better answer (beta 1).",
    ),
    claim(
        id="realizability/amplification-is-real",
        source="Theorem 1 (the factor $1/(1-\\beta)$)",
        statement=r"Finite classes can pay the whole factor $\frac{1}{1-\beta}$.",
        kind=Rate,
        premises=("one state, a class whose answers lie beyond the images", "beta from 1/2 to 15/16"),
        check=_amplified_check,
        control=partial(_amplified_check, exponent=1.5),
        control_statement=r"they can pay $(1-\beta)^{-1.5}$.",
    ),
    claim(
        id="realizability/lstd-is-a-minimiser",
        source="abstract (applies to temporal differences when they converge)",
        statement="LSTD's solution has criterion zero, the least there is.",
        kind=Identity,
        premises=(LINEAR, "LSTD's matrix of the sample is invertible"),
        check=_fixed_point_check,
        control=partial(_fixed_point_check, shift=0.1),
        control_statement="so has the solution with a tenth added to every weight.",
    ),
    claim(
        id="realizability/iteration-diverges",
        source="abstract (when they converge)",
        statement="Fitted values, iterated, come near $Q$ in a realizable class with coverage.",
        kind=Inequality,
        premises=(
            "two states, features 1 and 2, half of the data from each, $\\gamma=0.95$",
            "200 iterations from weight 1",
        ),
        check=_iteration_check,
        control=partial(_iteration_check, direct=True),
        control_statement="LSTD does on the same problem.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="realizability/error-is-a-bellman-error",
        source="Section 3 (simulation lemma)",
        statement=r"$E_\nu(f-Q)=\frac{1}{1-\gamma}E_{d_\nu}(f-Tf)$.",
        kind=Identity,
        premises=("finitely many pairs",),
        check=_difference_check,
        control=partial(_difference_check, own=True),
        control_statement="the same under the law of the data.",
    ),
    claim(
        id="realizability/concentrability",
        source="Section 3 (concentrability)",
        statement=r"The concentrability of a class is at most the largest density ratio $\|d_\nu/\mu\|_\infty$.",
        kind=Inequality,
        premises=(LINEAR, COVERED),
        check=_concentrated_check,
        control=partial(_concentrated_check, share=0.9),
        control_statement="at most nine tenths of it.",
    ),
    claim(
        id="realizability/one-factor",
        source="ours, on Theorem 1 for linear classes",
        statement=r"LSTD's own amplification is at most $\frac{\sqrt C}{(1-\gamma)\sqrt{1-\beta^2}}$.",
        kind=Inequality,
        premises=(LINEAR, COVERED),
        check=_factors_check,
        control=partial(_factors_check, share=0.98),
        control_statement="at most 0.98 of it.",
    ),
    claim(
        id="realizability/lstd-interval",
        source="ours, for users' logs",
        statement=r"With probability $1-\delta$ LSTD's value is within "
        r"$\sqrt{\nu'(\hat A'\hat\Sigma^{-1}\hat A)^{-1}\nu}\,\frac{V}{2\sqrt n}\sqrt{d+2\sqrt{dt}+2t}$, "
        r"$t=\log\frac1\delta$.",
        kind=Probability,
        premises=(LINEAR, "independent tuples", "two states, 400 tuples, Bernoulli rewards"),
        check=_interval_check,
        control=partial(_interval_check, share=0.15),
        control_statement="within 0.15 of that.",
    ),
)
