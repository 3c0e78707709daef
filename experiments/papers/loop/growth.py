"""How regret and switches grow: in the horizon, the span, the dimension, and the size of the class."""

from __future__ import annotations

from functools import cache, partial
from math import log, sqrt

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.loop.common import (
    DELTA,
    FINITE,
    OPTIMALITY,
    OURS,
    REALIZABLE,
    WIDTH,
    Class,
    claim,
    decoy_class,
    lives,
    seed_of,
)
from claimlab.experiments.papers.loop.variants import mixture, mixture_loop
from claimlab.mdps.average_learning import world
from claimlab.mdps.hypotheses import models
from claimlab.mdps.instances import jao
from claimlab.mdps.loop import TRIGGER, ModelLOOP
from claimlab.mdps.loop_linear import TRIGGER as RIDGE_TRIGGER
from claimlab.mdps.loop_linear import MixtureLOOP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Rate, rate
from claimlab.theory.loop import model_width

RESOLUTION = 0.02  # of the slopes in the horizon: beta is part of the axis, so that no logarithm has to be excused


def _horizons(budget: Budget, first: int, last: int) -> tuple[int, ...]:
    """Powers of two from 2^first to 2^last, in smoke; two more doublings otherwise."""
    return tuple(2**k for k in range(first, last + 1 + (0 if budget.name == "smoke" else 2)))


# in the horizon and the span ------------------------------------------------------------------------------------------

GAPS = (1.0, 1.5, 2.2, 3.2, 4.5, 6.0)  # in units of sqrt(log(.)/T), that is sqrt(beta/T)/sp


def _worst(
    budget: Budget, T: int, delta: float, power: int = 2, trigger: float = TRIGGER, least: int = 0
) -> tuple[Array, float]:
    r"""The shortfall of each run, float[runs], under the worst gap :math:`\epsilon = c \sqrt{\beta/T}/\mathrm{sp}`, and
    the width beta.

    Decoys with small gaps are never found out, those with large gaps soon; in between lies the minimax gap.  With
    `least` above 0 the gaps are those of that horizon.
    """
    runs = max(16, budget.runs // 500)
    worst, width = np.zeros(runs), 0.0
    for c in GAPS if not least else (2.2,):
        unit = sqrt(log((6 + T) / DELTA) / (least or T) / (2 * delta) ** (power - 2))
        given = decoy_class(3, delta, min(c * unit, (1 - delta) / 2))
        beta = given.width(T) * given.span ** (power - 2)
        record = lives(ModelLOOP(given.models, beta, trigger), given.world, T, runs, seed_of(budget, T, delta, c))
        if record.shortfall[:, -1].mean() > worst.mean():
            worst, width = record.shortfall[:, -1], beta
    return worst, width


def _in_horizon(budget: Budget, trigger: float = TRIGGER, least: int = 0) -> Rate:
    horizons = _horizons(budget, 12, 16)
    found = [_worst(budget, T, 0.3, trigger=trigger, least=least) for T in horizons]
    x = [T * beta for T, (_, beta) in zip(horizons, found)]
    y = np.array([shortfall for shortfall, _ in found]).T
    return rate(x, y, exponent=0.5, side="at most", rng=budget.rng("bootstrap"), resolution=RESOLUTION)


def _in_span(budget: Budget, power: int = 2) -> Rate:
    r"""JAO's rooms are left more and more rarely, and T grows in proportion;
    :math:`\beta = \mathrm{sp}^{power} \log(\cdot)`."""
    deltas, columns = (0.4, 0.2, 0.1, 0.05), []
    for delta in deltas:
        T = round(2**13 * deltas[0] / delta)
        columns.append(_worst(budget, T, delta, power)[0] / sqrt(T * log((6 + T) / DELTA)))
    spans = [1 / (2 * delta) for delta in deltas]  # as the gap vanishes
    return rate(spans, np.array(columns).T, exponent=1.0, side="at most", rng=budget.rng("bootstrap"))


MIXTURE_GAPS = (1.5, 2.5, 4.0, 6.0, 9.0)  # in units of sqrt(beta/T)/sp


def _mixture_in_horizon(budget: Budget, trigger: float = RIDGE_TRIGGER, least: int = 0) -> Rate:
    """MixtureLOOP with two parameters, of which the truth has half the gap of the other, under the worst gap."""
    horizons, runs, x, columns = _horizons(budget, 13, 16), max(16, budget.runs // 500), [], []
    delta = 0.3
    for T in horizons:
        worst, width = np.zeros(runs), 0.0
        beta = mixture_loop(mixture(2, delta, 0.01), least or T, DELTA).beta
        for c in MIXTURE_GAPS if not least else (4.0,):
            m = mixture(2, delta, min(c * sqrt(beta / (least or T)) * 2 * delta, delta), easier=0.5)
            base = mixture_loop(m, T, DELTA)
            learner = MixtureLOOP(m.theta, m.basis, m.given.models.r, base.beta, base.ridge, trigger)
            shortfall = lives(learner, m.given.world, T, runs, seed_of(budget, T, c)).shortfall[:, -1]
            if shortfall.mean() > worst.mean():
                worst, width = shortfall, base.beta
        x.append(T * width)
        columns.append(worst)
    y = np.array(columns).T
    return rate(x, y, exponent=0.5, side="at most", rng=budget.rng("bootstrap"), resolution=RESOLUTION)


# in the dimension -----------------------------------------------------------------------------------------------------


def _in_dimension(budget: Budget, exponent: float) -> Rate:
    """Shortfall on the hard linear mixtures, from 4 to 64 parameters; the truth has half the gap of all others, so that
    no first choice is right by luck."""
    T, dims, columns = 2**14, range(3, 8), []
    for d in dims:
        given = mixture(d, 0.2, 0.2, easier=0.5).given
        learner = ModelLOOP(given.models, model_width(given.span, given.models.size, T, DELTA))
        record = lives(learner, given.world, T, max(80, budget.runs // 100), seed_of(budget, d))
        columns.append(record.shortfall[:, -1])
    y = np.array(columns).T
    return rate(list(dims), y, exponent=exponent, side="at most", rng=budget.rng("bootstrap"), resolution=0.1)


# in the size of the class ---------------------------------------------------------------------------------------------

SIZES = (10, 100, 1000)  # models; four actions


@cache
def crowded(size: int) -> Class:
    """JAO's MDP: action 0 is the best one by 0.1, or, in a crowd of decoys, another by a gap between 0.15 and 0.6.

    The hardest decoys, of gap 0.15, are in every class; larger ones have more and more in between.  No two tie.
    """
    gaps = np.linspace(0.15, 0.6, size - 1).tolist()
    members = [jao(4, 0.4, 0.1)] + [jao(4, 0.4, gap, best=1 + k % 3) for k, gap in enumerate(gaps)]
    return Class(models(members), world(members[0]))


def _in_size(budget: Budget, what: str, exponent: float, *, trigger: float = TRIGGER, width: str = "logarithm") -> Rate:
    r"""Shortfall or hypotheses chosen, against :math:`\log |\mathcal{H}|`."""
    T, columns, runs = 2**15, [], max(20, budget.runs // 500)
    for size in SIZES:
        given = crowded(size)
        beta = given.width(T) * (size / SIZES[0] if width == "linear" else 1.0)
        record = lives(ModelLOOP(given.models, beta, trigger), given.world, T, runs, seed_of(budget, size))
        columns.append((record.shortfall if what == "regret" else record.switches.astype(float))[:, -1])
    y = np.array(columns).T
    x = [log(size) for size in SIZES]
    return rate(x, y, exponent=exponent, side="at most", rng=budget.rng("bootstrap"), resolution=0.1)


PREMISES = (OPTIMALITY, REALIZABLE, FINITE, WIDTH)
WORST_GAP = "the worst of several gaps of order $\\sqrt{\\beta/T}$, chosen anew for each horizon"
CROWD = (
    "10, 100 and 1000 models of one tabular MDP, the hardest of which are in every class; $T = 2^{15}$ (changed after "
    "a look: decoys neither tie nor favour the best action, and there are more runs, as luck drowned the growth)"
)

CLAIMS = (
    claim(
        id="loop/regret-sqrt-T",
        source=r"abstract: $\tilde{O}(\mathrm{poly}(d, \mathrm{sp}(V^*))\sqrt{T\beta})$",
        statement=(
            rf"Under the worst gap for each horizon regret grows at most like $\sqrt{{T\beta}}$ (to {RESOLUTION})."
        ),
        kind=Rate,
        premises=(*PREMISES, WORST_GAP),
        check=_in_horizon,
        control=partial(_in_horizon, trigger=1e9, least=2**12),
        control_statement="so it does for a learner whose trigger never fires, with gaps that do not depend on $T$.",
    ),
    claim(
        id="loop/mixture-regret-sqrt-T",
        source=r"Section 5 (linear mixtures): $\tilde{O}(\sqrt{T\beta})$ for fixed $d$ and span",
        statement=(
            r"Under the worst gap for each horizon MixtureLOOP's regret grows at most like $\sqrt{T\beta}$ (to "
            rf"{RESOLUTION}), $\beta$ the width of value-targeted regression."
        ),
        kind=Rate,
        premises=(OPTIMALITY, REALIZABLE, FINITE, WORST_GAP, "$d = 2$, trigger 16"),
        check=_mixture_in_horizon,
        control=partial(_mixture_in_horizon, trigger=1e9, least=2**13),
        control_statement="so it does for a learner whose trigger never fires, with gaps that do not depend on $T$.",
    ),
    claim(
        id="loop/regret-linear-in-span",
        source="ours, settles the power of the span in the regret",
        statement=(
            r"With $\beta = \mathrm{sp}^2\log(\cdot)$, regret under the worst gap for the horizon, divided by "
            r"$\sqrt{T\log(\cdot)}$, grows at most like $\mathrm{sp}$."
        ),
        kind=Rate,
        premises=(
            *PREMISES,
            WORST_GAP,
            r"$T \propto \mathrm{sp}$ (changed after a look: with one $T$ for all spans the gap is not small beside "
            r"$\delta$, and the slope, then 0.86, too small; the gaps now follow the power of the width as well)",
        ),
        check=_in_span,
        control=partial(_in_span, power=3),
        control_statement=r"so it does with $\beta \propto \mathrm{sp}^3$.",
    ),
    claim(
        id="loop/regret-in-dimension",
        source=r"linear mixtures (Section 5), sharper: the paper has $d\sqrt{\beta T}$ with $\beta$ of order $d$",
        statement="On the hard linear mixtures regret grows at most like $d$ (the paper's bound: like $d^{3/2}$).",
        kind=Rate,
        premises=PREMISES,
        check=partial(_in_dimension, exponent=1.0),
        control=partial(_in_dimension, exponent=0.0),
        control_statement="it does not grow.",
    ),
    claim(
        id="loop/regret-in-class-size",
        source=r"abstract: $\sqrt{T\beta}$ with $\beta$ of order $\log|\mathcal{H}|$",
        statement=(
            r"With the eluder dimension fixed, regret grows at most like $\sqrt{\log|\mathcal{H}|}$, up to 1000 "
            "models."
        ),
        kind=Rate,
        premises=(*PREMISES, CROWD),
        check=partial(_in_size, what="regret", exponent=0.5),
        control=partial(_in_size, what="regret", exponent=0.5, width="linear"),
        control_statement=r"so it does with $\beta \propto |\mathcal{H}|$.",
    ),
    claim(
        id="loop/switches-in-class-size",
        source=rf"low switching cost of Algorithm 1, {OURS}",
        statement=(
            r"With the eluder dimension fixed, switches grow at most like $\log|\mathcal{H}|$, up to 1000 models."
        ),
        kind=Rate,
        premises=(*PREMISES, CROWD),
        check=partial(_in_size, what="switches", exponent=1.0),
        control=partial(_in_size, what="switches", exponent=1.0, trigger=0.0),
        control_statement="so they do where the hypothesis is chosen anew at every step.",
    ),
)
