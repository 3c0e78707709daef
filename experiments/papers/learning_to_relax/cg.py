r"""Section 2.5 and Appendix E.4: conjugate gradients preconditioned by symmetric SOR."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import eigh

from claimlab.bandits.relaxation import SPDMatrix, ssor_cg
from claimlab.bandits.relaxation.spectral import condition, lower_radius, mu, nu, preconditioned_condition
from claimlab.checks import Array
from claimlab.experiments.papers.learning_to_relax.common import (
    EPS,
    LINK,
    LOWER,
    OMEGA,
    RELAXATION,
    SCALES,
    SPD,
    claim,
    exact_parts,
    many,
    matrix,
    pair,
    rayleigh,
    right_divide,
    tridiagonal,
    unit_roundings,
    written,
)
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Inequality, Outcome
from claimlab.theory.falsify import Box, Case, Space, Trial, Trials, attack
from claimlab.theory.relaxation import (
    axelsson_bound,
    cg_omega,
    cg_semi_lipschitz,
    cg_surrogate,
    cg_surrogate_cap,
    krylov_length,
    repaired_cg_semi_lipschitz,
)

LEFT = 2 * 2**0.5 - 2  # end of the interval of Lemma E.2
NU = r"$\nu \in [-1/4, 0]$"
SMALL = r"$\rho(D^{-1}LD^{-1}L^T) \le 1/4$"
MATRICES = Space({"N": (1, 4)}, {"S": LOWER, "d": SCALES, "omega": RELAXATION})
PLAIN = Space({"N": (1, 4)}, {"S": LOWER, "d": SCALES})

# the condition number of the preconditioned matrix ------------------------------------------------------------------


def _axelsson(S: Array, d: Array, omega: Array, *, share: float) -> Trial | None:
    A = matrix(S, d)
    if A is None:
        return None
    value, bound = float(preconditioned_condition(A, float(omega))), float(axelsson_bound(float(omega), mu(A), nu(A)))
    return Trial(value, share * bound, unit_roundings(A) * (value + bound))


def _axelsson_check(budget: Budget, share: float = 1.0) -> Inequality:
    return attack(MATRICES, partial(_axelsson, share=share), budget)


def _sign(S: Array, d: Array, *, repaired: bool) -> Trial | None:
    A = matrix(S, d)
    if A is None or (repaired and lower_radius(A) > 0.25):
        return None
    return Trial(float(nu(A)), 0.0, unit_roundings(A))


def _exact_sign(S: Array, d: Array) -> tuple[Any, Any]:
    """A Rayleigh quotient of the pencil, exactly: at most nu."""
    A = matrix(S, d)
    assert A is not None
    exact = written(A)
    D, L = exact_parts(exact)
    B = right_divide(L, D) @ L.T - D / 4
    return rayleigh(B, exact, eigh(B.astype(float), A)[1][:, -1]), 0


def _sign_check(budget: Budget, repaired: bool = False) -> Inequality:
    hard = [pair(0.6), pair(0.5)]
    recheck = None if repaired else _exact_sign
    return attack(PLAIN, partial(_sign, repaired=repaired), budget, hard=hard, recheck=recheck)


def _least(S: Array, d: Array, *, least: float) -> Trial | None:
    A = matrix(S, d)
    return None if A is None else Trial(-float(nu(A)), -least, unit_roundings(A))


# steps --------------------------------------------------------------------------------------------------------------

SOLVED = Space(
    {"N": (1, 12)}, {"e": LINK, "d": SCALES, "b": Box("N", -1, 1), "omega": RELAXATION, "tol": Box("", 1e-6, 0.9)}
)


def _steps(e: Array, d: Array, b: Array, omega: Array, tol: Array, *, tau: float) -> Trial | None:
    A = tridiagonal(e, d)
    if A is None or not b.any() or (done := ssor_cg(SPDMatrix(A), b, float(omega), tol=float(tol))).iterations == 0:
        return None
    bound = float(cg_surrogate(float(omega), mu(A), nu(A), condition(A), float(tol), tau))
    return Trial(done.iterations, bound, 1e-9 * bound)


def _steps_check(budget: Budget, tau: float = 1.0) -> Inequality:
    return attack(SOLVED, partial(_steps, tau=tau), budget)


# the shape of the surrogate -----------------------------------------------------------------------------------------

UNIT = Box("", 0.0, 1.0)
SHAPES = Space(
    {},
    {"decades": Box("", 0, 9), "nu": Box("", -0.25, 0), "spread": Box("", 0, 3), "digits": Box("", 1, 12)}
    | {"u": UNIT, "v": UNIT},
)


def _unimodal(decades: Array, nu: Array, spread: Array, digits: Array, u: Array, v: Array, *, weight: float) -> Trials:
    """Between the stated minimiser and any parameter the surrogate is no larger than at the latter."""
    m = 10.0**decades
    best = 2 / (1 + np.sqrt(2 * (1 + weight * nu) / m))
    far = 0.01 + 1.98 * u
    near = best + v * (far - best)
    values = [cg_surrogate(omega, m, nu, m * 10.0**spread, 10.0**-digits) for omega in (near, far)]
    error = 256 * EPS * values[1] * m  # the condition bound near 1, where its root minus 1 cancels, only for mu near 1
    return Trials(values[0], values[1], np.where(decades > 0.01, error, np.inf), holds=(best < 1.99) & (decades > 0.01))


def _unimodal_check(budget: Budget, weight: float = 2.0) -> Inequality:
    return attack(SHAPES, partial(_unimodal, weight=weight), many(budget), batched=True)


def _descent(m: Array, nu: Array, kappa: Array, tol: Array, u: Array, v: Array) -> tuple[Array, Array, Array]:
    """How much the surrogate falls between two parameters right of the left end, their distance, and a rounding."""
    best = cg_omega(m, nu)
    near, far = (LEFT + np.maximum(best - LEFT, 0) * x(u, v) for x in (np.minimum, np.maximum))
    values = [cg_surrogate(omega, m, nu, kappa, tol) for omega in (near, far)]
    return values[0] - values[1], far - near, 256 * EPS * values[0] * (1 + 1 / (2 - best))


def _semi_lipschitz(
    decades: Array, nu: Array, spread: Array, digits: Array, u: Array, v: Array, *, factor: float
) -> Trials:
    m, tol = 10.0**decades, 10.0**-digits
    fall, distance, error = _descent(m, nu, m * 10.0**spread, tol, u, v)
    bound = factor * repaired_cg_semi_lipschitz(m, m * 10.0**spread, tol) * distance
    return Trials(fall, bound, error, holds=(2 + 4 * nu) * m >= 4)


def _semi_lipschitz_check(budget: Budget, factor: float = 1.0) -> Inequality:
    return attack(SHAPES, partial(_semi_lipschitz, factor=factor), many(budget), batched=True)


PATHS = Space(
    {}, {"n": Box("", 2, 3_000, step=1), "digits": Box("", 1, 8, step=1), "u": UNIT, "v": UNIT}
)  # the matrices (-1/2, 1, -1/2) of n unknowns: nu = 0, and mu and kappa in closed form


def _on_paths(n: Array, digits: Array, u: Array, v: Array, *, constant: str) -> Trials:
    least = 2 * np.sin(np.pi / (2 * (n + 1))) ** 2
    m, kappa, tol, nu = 1 / least, (2 - least) / least, 10.0**-digits, 0 * n
    fall, distance, error = _descent(m, nu, kappa, tol, u, v)
    bounds = {
        "printed": cg_semi_lipschitz(m, nu),
        "logarithm": cg_semi_lipschitz(m, nu) * krylov_length(kappa, tol),
        "ours": repaired_cg_semi_lipschitz(m, kappa, tol),
    }
    return Trials(fall, bounds[constant] * distance, error, holds=m >= 2)


def _on_paths_check(budget: Budget, constant: str) -> Inequality:
    n, u, v = (10.0, 0.0, 0.1) if constant == "printed" else (1_250.0, 0.993, 0.9935)
    hard: list[Case] = [{"n": np.array(n), "digits": np.array(8.0), "u": np.array(u), "v": np.array(v)}]
    return attack(PATHS, partial(_on_paths, constant=constant), many(budget), batched=True, hard=hard)


def _cg_cap(decades: Array, nu: Array, spread: Array, digits: Array, u: Array, v: Array, *, end: float) -> Trials:
    top, tol = 10.0**decades, 10.0**-digits
    m = np.maximum(top * v, 1.0)
    omega = LEFT + (2 / (1 + end / np.sqrt(top)) - LEFT) * u
    kappa = m * 10.0**spread
    return Trials(cg_surrogate(omega, m, nu, kappa, tol), bound := cg_surrogate_cap(top, kappa, tol), 1e-12 * bound)


def _cg_cap_check(budget: Budget, end: float = 1.0) -> Inequality:
    return attack(SHAPES, partial(_cg_cap, end=end), many(budget), batched=True)


CLAIMS = (
    claim(
        id="learning-to-relax/ssor-condition",
        source="Eq. (33) (Axelsson 1994, Theorem 7.17)",
        statement=(
            r"$\kappa(\breve W_\omega^{-1}A) \le "
            r"\big(1 + \frac{\mu}{4\omega}(2 - \omega)^2 + \omega\nu\big)/(2 - \omega)$."
        ),
        kind=Inequality,
        premises=(SPD, OMEGA),
        check=_axelsson_check,
        control=partial(_axelsson_check, share=0.99),
        control_statement="the same with 0.99 of the bound.",
    ),
    claim(
        id="learning-to-relax/nu-not-positive",
        source="Lemma E.2",
        statement=r"$\nu = \lambda_{\max}((LD^{-1}L^T - D/4)A^{-1}) \le 0$.",
        kind=Inequality,
        premises=(SPD,),
        check=_sign_check,
        control=partial(_sign_check, repaired=True),
        control_statement=rf"the same if {SMALL}.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/nu-not-positive-if",
        source="ours, repairs Lemma E.2",
        statement=rf"$\nu \le 0$ if {SMALL}, as for 5-point Laplacians.",
        kind=Inequality,
        premises=(SPD, SMALL),
        check=partial(_sign_check, repaired=True),
        control=_sign_check,
        control_statement="the same without that premise.",
    ),
    claim(
        id="learning-to-relax/nu-at-least",
        source="Lemma E.2",
        statement=r"$\nu \ge -1/4$.",
        kind=Inequality,
        premises=(SPD,),
        check=lambda budget: attack(PLAIN, partial(_least, least=-0.25), budget),
        control=lambda budget: attack(PLAIN, partial(_least, least=-0.2), budget),
        control_statement=r"$\nu \ge -1/5$.",
    ),
    claim(
        id="learning-to-relax/cg-steps",
        source="Lemma E.2, item 1",
        statement=(
            r"Preconditioned conjugate gradients need at most $U^{CG}(\omega)$ steps with $\tau = 1$, for the relative "
            r"residual $\varepsilon$."
        ),
        kind=Inequality,
        premises=(SPD, OMEGA),
        check=_steps_check,
        control=partial(_steps_check, tau=0.25),
        control_statement=r"the same with $\tau = 1/4$.",
    ),
    claim(
        id="learning-to-relax/cg-unimodal",
        source="Lemma E.2, item 2",
        statement=(
            r"For $\mu > 1$, $U^{CG}$ is least at $\omega^* = 2/(1 + \sqrt{\frac2\mu(1 + 2\nu)})$ and increases away "
            "from it in both directions."
        ),
        kind=Inequality,
        premises=(r"$\mu > 1$", NU, OMEGA),
        check=_unimodal_check,
        control=partial(_unimodal_check, weight=1.0),
        control_statement=r"the same with $1 + \nu$ for $1 + 2\nu$.",
    ),
    claim(
        id="learning-to-relax/cg-semi-lipschitz",
        source="Lemma E.2, item 3",
        statement=(
            r"Right of $2\sqrt2 - 2$, $U^{CG}$ falls with a slope of at most "
            r"$\frac{\mu+4\nu+4}{4\mu\nu+2\mu-1}\tau\sqrt{\mu\sqrt2}$."
        ),
        kind=Inequality,
        premises=(r"$\mu \ge 1$", NU, r"attacked on the matrices $(-\frac12, 1, -\frac12)$"),
        check=partial(_on_paths_check, constant="printed"),
        control=partial(_on_paths_check, constant="ours"),
        control_statement=r"a slope of at most $0.55\,\Lambda\tau\mu^{3/4}$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/cg-semi-lipschitz-with-logarithm",
        source="Lemma E.2, item 3, with the factor that Eq. (34) drops",
        statement=(
            r"The slope is at most $\frac{\mu+4\nu+4}{4\mu\nu+2\mu-1}\tau\sqrt{\mu\sqrt2}\,\Lambda$, "
            r"$\Lambda = \log(\sqrt\kappa/\varepsilon + \sqrt{\kappa/\varepsilon^2 - 1})$."
        ),
        kind=Inequality,
        premises=(r"$\mu \ge 1$", NU, r"attacked on the matrices $(-\frac12, 1, -\frac12)$"),
        check=partial(_on_paths_check, constant="logarithm"),
        control=partial(_on_paths_check, constant="ours"),
        control_statement=r"a slope of at most $0.55\,\Lambda\tau\mu^{3/4}$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/cg-semi-lipschitz-repaired",
        source="ours, repairs Lemma E.2, item 3",
        statement=r"The slope is at most $0.55\,\Lambda\tau\mu^{3/4}$.",
        kind=Inequality,
        premises=(NU, r"$(2 + 4\nu)\mu \ge 4$"),
        check=_semi_lipschitz_check,
        control=partial(_semi_lipschitz_check, factor=0.05),
        control_statement="the same with a twentieth of the constant.",
    ),
    claim(
        id="learning-to-relax/cg-surrogate-cap",
        source="Lemma E.2, item 4",
        statement=(
            r"$U^{CG} \le 1 + \tau\log(2\sqrt\kappa/\varepsilon)/(-\log(1 - 2/(1 + \sqrt\gamma)))$ on "
            r"$[2\sqrt2 - 2, 2/(1 + 1/\sqrt{\mu_{\max}})]$, $\gamma = (7 + 3\mu_{\max})/8$."
        ),
        kind=Inequality,
        premises=(NU, r"$1 \le \mu \le \mu_{\max}$"),
        check=_cg_cap_check,
        control=partial(_cg_cap_check, end=0.05),
        control_statement=r"the same up to $2/(1 + 0.05/\sqrt{\mu_{\max}})$.",
    ),
)
