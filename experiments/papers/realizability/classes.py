"""Incompleteness, concentrability and what they bound: linear classes, complete classes, and where beta is 1."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.realizability.common import (
    COVERED,
    FINITE,
    LINEAR,
    SINGULAR,
    SPACE,
    claim,
    problem,
    regular,
    two_states,
)
from claimlab.mdps.offline import solve_least_squares
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.offline_estimators import draw_sample, sample_moments
from claimlab.theory.realizability import (
    PairChain,
    amplification,
    concentrability,
    density_ratio,
    finite_incompleteness,
    incompleteness,
    moments,
    value_error_bound,
)
from claimlab.theory.spaces import Box, Simplex, Space

# The incompleteness of linear classes


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


# Complete classes


def _complete(f: Array, r: Array, mu: Array, gamma: Array, *, without: bool) -> Trial:
    """The incompleteness of {Q, f, Tf, T^2 f, ...} where pairs lead on to the last one, whose value is known: T maps it
    into itself.  Or of the same class without Tf."""
    n = len(f)
    P = np.eye(n)[np.minimum(np.arange(n) + 1, n - 1)]
    inner = np.arange(n) < n - 1
    chain = PairChain(P, r * inner, float(gamma), 0.9 * mu + 0.1 / n, np.eye(n)[0])
    F = [chain.q, f * inner]
    for _ in range(n - 1):
        F.append(chain.image(F[-1]))
    if without:
        del F[2]
    return Trial(finite_incompleteness(chain, np.array(F), floor=1e-6).beta, 1e-8)


def _complete_check(budget: Budget, without: bool = False) -> Identity:
    fields = {"f": Box("n"), "r": Box("n"), "mu": Simplex("n"), "gamma": Box("", 0.1, 0.95)}
    return equate(Space({"n": (3, 5)}, fields), partial(_complete, without=without), budget)


# Where beta is 1, and where iteration fails


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
        w = float(solve_least_squares(m.A, np.zeros(1))[0])
    witness = {"share": share, "A": float(m.A[0, 0]), "weight": w, "beta": incompleteness(m)}
    return Inequality(abs(w), abs(w) - 1.0, 1e-9, 1, 1, 1, 1, witness)


# Fixed points, and from Bellman errors to values


def _fixed_point(P: Array, phi: Array, w: Array, mu: Array, u: Array, gamma: Array, *, shift: float) -> Trial | None:
    """LSTD's weights, on the sample that a seed of the instance draws: the criterion of the minimax problem is zero."""
    chain = problem(P, phi, w, mu, gamma)
    rng = np.random.default_rng(int(1e6 * abs(u).sum()))
    sample = draw_sample(chain, 200, rng)
    m, b = sample_moments(chain, phi, sample)
    if not regular(m.sigma) or abs(np.linalg.det(m.A)) < 1e-3:
        return None
    f = phi @ (solve_least_squares(m.A, b) + shift)
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


def _value(P: Array, phi: Array, w: Array, mu: Array, u: Array, gamma: Array, *, share: float) -> Trial | None:
    """The error of the value of an element against the bound by its Bellman error and the class's concentrability."""
    chain = problem(P, phi, w, mu, gamma)
    m = moments(chain, phi)
    if not regular(m.G):
        return None
    f = phi @ u
    error = float(chain.norm(f - chain.image(f)))
    found = abs(float(chain.start @ (f - chain.q)))
    return Trial(found, share * value_error_bound(error, concentrability(m), chain.gamma), 1e-8)


def _value_check(budget: Budget, share: float = 1.0) -> Inequality:
    return attack(SPACE, partial(_value, share=share), budget.with_instances(4 * budget.instances))


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
        id="realizability/complete-classes",
        source="Definition of incompleteness (Bellman completeness is its case beta = 0)",
        statement=r"A finite class that $T$ maps into itself has $\beta=0$.",
        kind=Identity,
        premises=(FINITE, "acyclic deterministic transitions, under which finite classes can be closed"),
        check=_complete_check,
        control=partial(_complete_check, without=True),
        control_statement="so has the same class without the image of one element.",
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
        id="realizability/value-error",
        source="Theorem 1 (from Bellman errors to values)",
        statement=r"$|E_\nu(f-Q)|\le\frac{\sqrt C}{1-\gamma}\|f-Tf\|_\mu$ for every element of the class.",
        kind=Inequality,
        premises=(LINEAR, COVERED),
        check=_value_check,
        control=partial(_value_check, share=0.98),
        control_statement="at most 0.98 of it.",
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
)
