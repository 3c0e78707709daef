"""How the bounds were tuned, in computer algebra: Theorems 2.1, 2.2/E.1, B.1, B.3 and 3.2."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial

import sympy as sp

from claimlab.experiments.papers.learning_to_relax.common import claim
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Outcome

d, m, T, K, L, C, width, log_eps, log_alpha, gamma = sp.symbols("d m T K L C w l a gamma", positive=True)
# log_eps = log 1/eps and log_alpha = log 1/alpha_max, both positive; gamma is the mean of 1/log^2 alpha_t


def symbolic(equal: Callable[..., dict[str, sp.Expr]], **options: object) -> Callable[[Budget], Identity]:
    """The check that every expression which ``equal(**options)`` names is identically 0."""

    def check(budget: Budget) -> Identity:
        left = {name: sp.simplify(value) for name, value in equal(**options).items()}
        failures = {name: str(value) for name, value in left.items() if value != 0}
        return Identity(float(len(failures)), 0.0, len(left), "sympy", failures or None)

    return check


def _ratio(a: sp.Expr, b: sp.Expr) -> sp.Expr:
    """log(a/b), expanded: 0 if and only if the two positive expressions are equal."""
    return sp.expand_log(sp.log(sp.factor(a)) - sp.log(sp.factor(b)), force=True)


def _grid_tuning(exponent: sp.Rational) -> dict[str, sp.Expr]:
    r"""Minimise :math:`2K\sqrt{2dT} + wLT/d` over d > 0; with K and L of SOR that is Theorem 2.1."""
    bound = 2 * K * sp.sqrt(2 * d * T) + width * L * T / d
    best = (width**2 * L**2 * T / (2 * K**2)) ** sp.Rational(1, 3)
    tuned = 3 * (2 * width * L * K**2 * T**2) ** sp.Rational(1, 3)
    sor = {K: log_eps / log_alpha, L: log_eps * gamma, width: 1}
    printed = 3 * log_eps * (2 * gamma * T**2 / log_alpha**2) ** exponent
    return {
        "slope at the best d": sp.simplify(sp.diff(bound, d).subs(d, best)),
        "Theorem B.3": _ratio(sp.simplify(bound.subs(d, best)), tuned),
        "d of Theorem 2.1": _ratio(best.subs(sor), (T / 2 * gamma**2 * log_alpha**2) ** sp.Rational(1, 3)),
        "Theorem 2.1": _ratio(tuned.subs(sor), printed),
    }


def _first_useful(constant: int) -> dict[str, sp.Expr]:
    r"""Where the bound of Theorem 2.1 is :math:`T\log\frac1\epsilon`, both sides cubed and divided by its cube."""
    tau, beta = sp.Rational(1, 5), sp.Rational(9, 10)
    rate = -sp.log(tau + (1 - tau) * beta**2)
    first = constant / rate**4
    return {"balance": 54 * first**2 / rate**4 - first**3, "thousands": sp.floor(first / 1000) - 73}


def _shifted_tuning(power: sp.Rational) -> dict[str, sp.Expr]:
    r"""Minimise :math:`4K\sqrt{dmT} + (6CL/m + 1/d)\gamma Tl` over d and m, then bound :math:`\gamma \le 1/a^2`."""
    bound = 4 * K * sp.sqrt(d * m * T) + (6 * C * L / m + 1 / d) * gamma * T * log_eps
    bound = bound.subs(K, log_eps / log_alpha)
    grid = (gamma**2 * T * log_alpha**2 / (24 * C * L)) ** sp.Rational(1, 4)
    bins = (54 * C**3 * L**3 * gamma**2 * T * log_alpha**2) ** sp.Rational(1, 4)
    at = {d: grid, m: bins}
    claimed = 4 * log_eps / log_alpha**power * (24 * C * L * T**3) ** sp.Rational(1, 4)
    worst = {gamma: log_alpha**-2}
    return {
        "slope in d": sp.simplify(sp.diff(bound, d).subs(at)),
        "slope in m": sp.simplify(sp.diff(bound, m).subs(at)),
        "first term": _ratio(bins.subs(worst), (54 * C**3 * L**3 * T / log_alpha**2) ** sp.Rational(1, 4)),
        "second term": _ratio(sp.simplify(bound.subs(at).subs(worst)), claimed),
    }


def _fluid(regret: Callable[[sp.Expr], sp.Expr]) -> dict[str, sp.Expr]:
    r"""Regret per :math:`\sqrt T` on losses (0, 1, ..., 1) without noise: the integral of t over the wrong arms' share.

    The weights are :math:`p_0 = 4/(\eta x)^2` and :math:`p_i = 4/(\eta(t + x))^2`, so a share q of the wrong arms is
    reached at :math:`\eta t = 2\sqrt{(d-1)/q} - 2/\sqrt{1-q}`, which is 0 at the start, :math:`q = (d-1)/d`.
    """
    q = sp.symbols("q", positive=True)
    time = 2 * sp.sqrt((d - 1) / q) - 2 / sp.sqrt(1 - q)
    antiderivative = 4 * sp.sqrt(d - 1) * sp.sqrt(q) + 4 * sp.sqrt(1 - q)
    start = (d - 1) / d
    arms = sp.symbols("D", positive=True)  # d - 1, so that sympy knows its sign
    total = (antiderivative.subs(q, start) - antiderivative.subs(q, 0)).subs(d, arms + 1)
    return {
        "time": sp.simplify(sp.diff(antiderivative, q) - time),
        "time 0": sp.simplify(time.subs(q, start).subs(d, arms + 1)),
        "regret": sp.simplify(total - regret(arms + 1)),
    }


def _few_arms(budget: Budget, most: int = 5) -> Identity:
    r"""Whether :math:`4.5\sqrt d - 4 \le 2\sqrt{2d}` for d = 1..most, exactly: :math:`(9 - 4\sqrt2)^2d \le 64`."""
    wrong = [n for n in range(1, most + 1) if not (Fraction(9) - 4 * sp.sqrt(2)) ** 2 * n <= 64]
    return Identity(float(len(wrong)), 0.0, most, "sympy", {"d": wrong} if wrong else None)


def _exponents(budget: Budget, grid: Fraction = Fraction(2, 11), degree: Fraction = Fraction(3, 11)) -> Identity:
    r"""Whether every term of :math:`d\sqrt{mT} + T\sqrt d/m + T/d` is at most :math:`T^{9/11}`, d and m powers of T."""
    terms = {"d sqrt(mT)": grid + (degree + 1) / 2, "T sqrt(d)/m": 1 + grid / 2 - degree, "T/d": 1 - grid}
    wrong = {name: str(power) for name, power in terms.items() if power > Fraction(9, 11)}
    return Identity(float(len(wrong)), 0.0, len(terms), "rational", wrong or None)


POSITIVE = r"$d$, $m$ and $T$ real and positive (the paper rounds neither $d$ nor $m$)"

CLAIMS = (
    claim(
        id="learning-to-relax/grid-tuning",
        source="Theorems 2.1 and B.3",
        statement=(
            r"The best $d$ for $2K\sqrt{2dT} + \frac{b-a}d\bar LT$ gives $3(2(b-a)\bar LK^2T^2)^{1/3}$, and with "
            r"$K = \frac{\log\epsilon}{\log\alpha_{\max}}$ and $\bar L = \gamma\log\frac1\epsilon$ the bound of "
            r"Theorem 2.1, $3\log\frac1\epsilon\,(2\gamma T^2/\log^2\alpha_{\max})^{1/3}$, at "
            r"$d = (\frac T2\gamma^2\log^2\alpha_{\max})^{1/3}$."
        ),
        kind=Identity,
        premises=(POSITIVE,),
        check=symbolic(_grid_tuning, exponent=sp.Rational(1, 3)),
        control=symbolic(_grid_tuning, exponent=sp.Rational(1, 4)),
        control_statement=r"the same with the exponent $1/4$ in Theorem 2.1.",
    ),
    claim(
        id="learning-to-relax/first-useful",
        source="Section 2.3, the example after Theorem 2.1",
        statement=(
            r"With $\tau \le 0.2$ and $\beta \le 0.9$ the regret of Theorem 2.1 falls below $T\log\frac1\epsilon$ "
            r"after $54/\log^4(0.848)$ systems, some 73 thousand."
        ),
        kind=Identity,
        premises=(r"the same $\alpha = \tau + (1 - \tau)\beta^2$ for all systems",),
        check=symbolic(_first_useful, constant=54),
        control=symbolic(_first_useful, constant=27),
        control_statement="after half as many.",
    ),
    claim(
        id="learning-to-relax/shifted-tuning",
        source="Theorems 2.2 and E.1",
        statement=(
            r"The best $d$ and $m$ for $4K\sqrt{dmT} + (\frac{6CL}m + \frac1d)\gamma T\log\frac1\epsilon$ with "
            r"$\gamma = 1/\log^2\alpha_{\max}$ give $\frac{4\log(1/\epsilon)}{\log(1/\alpha_{\max})}(24CLT^3)^{1/4}$."
        ),
        kind=Identity,
        premises=(POSITIVE, r"$K = \frac{\log\epsilon}{\log\alpha_{\max}}$"),
        check=symbolic(_shifted_tuning, power=sp.Integer(1)),
        control=symbolic(_shifted_tuning, power=sp.Rational(3, 2)),
        control_statement=r"the power of $\log(1/\alpha_{\max})$ is $3/2$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/shifted-tuning-repaired",
        source="ours, repairs Theorems 2.2 and E.1",
        statement=(
            r"That optimum is $\frac{4\log(1/\epsilon)}{\log^{3/2}(1/\alpha_{\max})}(24CLT^3)^{1/4}$ (a $\gamma$ where "
            r"the proof has $\gamma^2$), at $m = (54C^3L^3T/\log^2\alpha_{\max})^{1/4}$."
        ),
        kind=Identity,
        premises=(POSITIVE, r"$K = \frac{\log\epsilon}{\log\alpha_{\max}}$"),
        check=symbolic(_shifted_tuning, power=sp.Rational(3, 2)),
        control=symbolic(_shifted_tuning, power=sp.Integer(1)),
        control_statement=r"the power is 1, as printed.",
    ),
    claim(
        id="learning-to-relax/tsallis-fluid-limit",
        source="ours, on Theorem B.1",
        statement=(
            r"On losses $(0, 1, \dots, 1)$, with $\eta = 1/\sqrt T$ and estimates equal to the losses, the regret "
            r"tends to $4(\sqrt d - 1)\sqrt T$, which exceeds $2\sqrt{2dT}$ for $d \ge 12$."
        ),
        kind=Identity,
        premises=(r"$T \to \infty$",),
        check=symbolic(_fluid, regret=lambda n: 4 * (sp.sqrt(n) - 1)),
        control=symbolic(_fluid, regret=lambda n: 2 * sp.sqrt(2 * n)),
        control_statement=r"it tends to $2\sqrt{2dT}$.",
    ),
    claim(
        id="learning-to-relax/tsallis-few-arms",
        source="ours, on Theorem B.1",
        statement=(
            r"Up to 5 arms Theorem B.1 is true with $\eta = 1/\sqrt T$ as printed: the repaired bound "
            r"$(4.5\sqrt d - 4)\sqrt T$ is below $2\sqrt{2dT}$."
        ),
        kind=Identity,
        premises=("the repaired bound",),
        check=_few_arms,
        control=partial(_few_arms, most=6),
        control_statement="the same for 6 arms.",
    ),
    claim(
        id="learning-to-relax/chebcb-exponent",
        source="Theorem 3.2",
        statement=(
            r"With $d = T^{2/11}$ and $m = T^{3/11}$ each term of $d\sqrt{mT} + T\sqrt d/m + T/d$ is at most "
            r"$T^{9/11}$."
        ),
        kind=Identity,
        premises=(POSITIVE,),
        check=_exponents,
        control=partial(_exponents, grid=Fraction(1, 4), degree=Fraction(1, 4)),
        control_statement=r"the same with $d = m = T^{1/4}$.",
    ),
)
