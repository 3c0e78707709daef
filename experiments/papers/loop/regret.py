"""Regret: below the explicit bound of each form of LOOP, with its probability and on every run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import sqrt

import numpy as np

from claimlab.experiments.papers.loop.common import (
    COMPLETE,
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
    quarter,
    seed_of,
)
from claimlab.experiments.papers.loop.variants import (
    RIDGE,
    errors_of,
    grouped,
    linear_loop,
    mixture,
    mixture_loop,
)
from claimlab.mdps.average_learning import AverageRecord
from claimlab.mdps.hypotheses import closure
from claimlab.mdps.loop import MLELOOP, ModelLOOP, ValueLOOP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Inequality, Probability, probability
from claimlab.theory.loop import (
    likelihood_regret,
    likelihood_width,
    linear_regret,
    model_regret,
    model_width,
    value_regret,
    value_width,
)

# the explicit bounds --------------------------------------------------------------------------------------------------


def small_class() -> Class:
    """JAO's MDP and two decoys: at delta = 0.1 the bound is non-trivial from some 8000 steps on."""
    return decoy_class(3, 0.2, 0.1)


def _violations(record: AverageRecord, bound: Callable[[int, int], float], share: float, gain: float) -> Probability:
    """Runs whose regret exceeds `share` of ``bound(t, epochs)`` at some checkpoint."""
    last, bounds = len(record.times) - 1, np.empty(record.regret.shape)
    for (run, k), _ in np.ndenumerate(bounds):
        bounds[run, k] = share * bound(int(record.times[k]), int(record.switches[run, k]))
    ratios = record.regret[:, last] / bounds[:, last]
    witness = {"T": record.times[last], "bound": bounds[0, last], "trivial": gain * record.times[last]}
    witness |= {"largest regret": record.regret[:, last].max(), "worst ratio": ratios.max()}
    return probability(int((record.regret > bounds).any(axis=1).sum()), len(bounds), DELTA, witness)


def _model_bound(budget: Budget, share: float = 1.0) -> Probability:
    given, T, runs = small_class(), 2**15, max(150, quarter(budget) // 4)
    M, span = given.models.size, given.span
    learner = ModelLOOP(given.models, model_width(span, M, T, DELTA / 2))
    record, whole = lives(learner, given.world, T, runs, seed_of(budget)), model_regret(T, span, M, DELTA)
    rest = whole.martingale + whole.telescoping
    return _violations(record, lambda t, _: whole.errors * sqrt(t / T) + rest, share, given.world.gain)


def _value_bound(budget: Budget, share: float = 1.0) -> Probability:
    given, T, runs = small_class(), 2**15, max(150, quarter(budget) // 4)
    H, mdp = given.models.optimal, given.models.mdp(0)
    G, error = closure(H, mdp), float(abs(errors_of(given)).max())
    learner = ValueLOOP(H, G, value_width(H.span, H.size, len(G), T, DELTA / 2))
    record = lives(learner, given.world, T, runs, seed_of(budget))
    whole = value_regret(T, H.span, H.size, len(G), mdp.r.size, error, DELTA)
    rest = whole.martingale + whole.telescoping
    return _violations(record, lambda t, _: whole.errors * sqrt(t / T) + rest, share, given.world.gain)


def _likelihood_bound(budget: Budget, share: float = 1.0) -> Probability:
    given, T, runs = small_class(), 2**15, max(150, quarter(budget) // 4)
    M, pairs = given.models.size, given.models.r.size
    record = lives(MLELOOP(given.models, likelihood_width(M, DELTA / 2)), given.world, T, runs, seed_of(budget))

    def bound(t: int, epochs: int) -> float:
        whole, until = (likelihood_regret(n, given.span, M, pairs, epochs, DELTA) for n in (T, t))
        return until.errors + whole.martingale + whole.telescoping

    return _violations(record, bound, share, given.world.gain)


def _linear_bound(budget: Budget, share: float = 1.0) -> Probability:
    """Two actions, whose features make d = 3; at T = 2^16 the bound is below the trivial one."""
    given, T, runs = decoy_class(2, 0.4, 0.1), 2**16, max(150, quarter(budget) // 4)
    learner = linear_loop(given, grouped(2), T, DELTA / 2)
    error, dim = float(abs(errors_of(given)).max()), learner.features.shape[2]
    record = lives(learner, given.world, T, runs, seed_of(budget))
    whole = linear_regret(T, given.span, dim, learner.beta, DELTA, error=error, ridge=RIDGE)
    rest = whole.martingale + whole.telescoping
    return _violations(record, lambda t, _: whole.errors * sqrt(t / T) + rest, share, given.world.gain)


def _mixture_bound(budget: Budget, share: float = 1.0) -> Probability:
    """Two parameters, the truth with half the gap; at T = 2^16 the bound is below the trivial one."""
    m, T, runs = mixture(2, 0.4, 0.2, easier=0.5), 2**16, max(150, quarter(budget) // 4)
    learner = mixture_loop(m, T, DELTA / 2)
    record = lives(learner, m.given.world, T, runs, seed_of(budget))
    whole = linear_regret(T, m.given.span, 2, learner.beta, DELTA, error=m.given.span, feature=m.feature, ridge=RIDGE)
    rest = whole.martingale + whole.telescoping
    return _violations(record, lambda t, _: whole.errors * sqrt(t / T) + rest, share, m.given.world.gain)


def _every_run(budget: Budget, share: float = 1.0) -> Inequality:
    """The largest regret / bound over 500 runs and all checkpoints."""
    given, T, runs = small_class(), 2**15, 500
    M, span = given.models.size, given.span
    record = lives(ModelLOOP(given.models, model_width(span, M, T, DELTA / 2)), given.world, T, runs, seed_of(budget))
    whole = model_regret(T, span, M, DELTA)
    bound = share * (whole.errors * np.sqrt(record.times / T) + whole.martingale + whole.telescoping)
    excess, informative = record.regret - bound, runs * int(bound[-1] < given.world.gain * T)
    run, k = np.unravel_index(int(excess.argmax()), excess.shape)
    witness = {"t": record.times[k], "regret": record.regret[run, k], "bound": bound[k]}
    ratio = float((record.regret / bound).max())
    return Inequality(ratio, float(excess[run, k]), 1e-9 * T, runs, informative, runs, runs, witness)


BOUND_PREMISES = (OPTIMALITY, REALIZABLE, FINITE)

CLAIMS = (
    claim(
        id="loop/regret-bound",
        source=f"regret theorem (abstract), {OURS}",
        statement=(
            r"With probability at least $1-\delta$, for all $t \le T$ LOOP's regret is at most $\sqrt{t\Phi} + "
            r"\mathrm{sp}\sqrt{T\log(2/\delta)/2} + \mathrm{sp}(1+\Phi/\beta)$, $\Phi = (|\mathcal{H}|-1)(10\beta + "
            r"\mathrm{sp}^2)$."
        ),
        kind=Probability,
        premises=(*BOUND_PREMISES, WIDTH),
        check=_model_bound,
        control=partial(_model_bound, share=0.03),
        control_statement="3 % of it.",
    ),
    claim(
        id="loop/regret-bound-value",
        source=f"regret theorem (abstract), value-based, {OURS}",
        statement=(
            r"The same for the value-based discrepancy, with $\beta = \mathrm{sp}^2\log((2|\mathcal{H}||\mathcal{G}| + "
            r"T)/\delta)$ and $\Phi$ the smaller of $(|\mathcal{H}|-1)(10\beta + B^2)$ and $k((1+\log(T/k))10\beta + "
            r"B^2)$, $k = SA$."
        ),
        kind=Probability,
        premises=(*BOUND_PREMISES, COMPLETE),
        check=_value_bound,
        control=partial(_value_bound, share=0.02),
        control_statement="2 % of it.",
    ),
    claim(
        id="loop/regret-bound-likelihood",
        source=f"regret theorem of MLE-LOOP (Algorithm 2), {OURS}",
        statement=(
            r"With $\beta = \log(2|\mathcal{H}|/\delta)$ and N hypotheses chosen, MLE-LOOP's regret is at most "
            r"$\mathrm{sp}\sqrt{2t(3\beta k(1+\log(t/k)) + k)} + \mathrm{sp}\sqrt{T\log(2/\delta)/2} + \mathrm{sp}N$, "
            r"$k = SA$."
        ),
        kind=Probability,
        premises=BOUND_PREMISES,
        check=_likelihood_bound,
        control=partial(_likelihood_bound, share=0.001),
        control_statement="a thousandth of it.",
    ),
    claim(
        id="loop/regret-bound-linear",
        source=f"regret theorem for linear MDPs (Section 5), {OURS}",
        statement=(
            r"The same for linear $\mathcal{G}$ of dimension $d$ with ridge $\lambda$ and trigger 16: "
            r"$\sqrt{t\Phi} + \mathrm{sp}\sqrt{T\log(2/\delta)/2} + \mathrm{sp}(1+\Phi/(5\beta))$, $\Phi = "
            r"\max\{25\beta, B^2\}\, d\log_2(1+TX^2/(\lambda d))$."
        ),
        kind=Probability,
        premises=(OPTIMALITY, REALIZABLE, COMPLETE, "features of norm at most $X$, Bellman errors at most $B$"),
        check=_linear_bound,
        control=partial(_linear_bound, share=0.01),
        control_statement="1 % of it.",
    ),
    claim(
        id="loop/regret-bound-mixture",
        source=f"regret theorem for linear mixtures (Section 5), {OURS}",
        statement=r"The same for MixtureLOOP, with $B = \mathrm{sp}$ and the features $\phi_{V_f}$.",
        kind=Probability,
        premises=BOUND_PREMISES,
        check=_mixture_bound,
        control=partial(_mixture_bound, share=0.01),
        control_statement="1 % of it.",
    ),
    claim(
        id="loop/regret-bound-on-every-run",
        source=f"regret theorem (abstract), {OURS}",
        statement=(
            r"On every one of 500 runs LOOP's regret stays below the bound that is proved with probability $1-\delta$, "
            "at every checkpoint."
        ),
        kind=Inequality,
        premises=(*BOUND_PREMISES, WIDTH, "JAO's MDP and two decoys, $T = 2^{15}$"),
        check=_every_run,
        control=partial(_every_run, share=0.03),
        control_statement="3 % of it.",
    ),
)
