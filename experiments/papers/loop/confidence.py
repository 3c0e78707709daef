"""Section 4: is the truth in the confidence set, what does the set guarantee, how wide must it be, what is G for?"""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.experiments.papers.loop.common import (
    CLASSES,
    COMPLETE,
    DELTA,
    FINITE,
    OPTIMALITY,
    OURS,
    REALIZABLE,
    WIDTH,
    Class,
    claim,
    hub,
    hub_class,
    jao_class,
    lives,
    near_ties,
    quarter,
    seed_of,
    watched,
)
from claimlab.mdps.hypotheses import Hypotheses, bellman_targets, closure
from claimlab.mdps.loop import ValueLOOP, published_width
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Outcome, Probability, Rate, probability, rate
from claimlab.theory.loop import PLANNED, PLAYED, value_width

HORIZON = 2_000


def _event(budget: Budget, part: str, scale: float = 1.0, share: float = 1.0) -> Probability:
    """How often the theorem's event fails, over both classes, the worse of which is reported.

    `scale` multiplies the width with which LOOP runs, `share` the level that is claimed.
    """
    found = []
    for name, make in CLASSES.items():
        given, runs = make(), quarter(budget)
        a, _ = watched(given, HORIZON, runs, seed_of(budget, name), scale=scale)
        beta = scale * given.width(HORIZON)
        if part == "coverage":
            value, bound = a.excess, share * beta
        elif part == "optimism":
            value, bound = -a.optimism, 1e-9  # gains are solved to some 1e-15
        else:
            value = np.maximum(a.planned / PLANNED, a.played / PLAYED)
            bound = share * beta
        witness = {"class": name, "largest": value.max(), "bound": bound, "beta": beta}
        found.append(probability(int((value > bound).sum()), runs, DELTA, witness))
    return max(found, key=lambda evidence: evidence.failures)


def thousand() -> Class:
    """JAO's MDP: ten actions as the best one, by a hundred gaps from 0.01 to 0.6 of which neighbours nearly tie."""
    return jao_class(10, 0.2, (0.1, *np.linspace(0.01, 0.6, 99).tolist()))


def _thousand(budget: Budget, scale: float = 1.0) -> Probability:
    """How often any part of the theorem's event fails in a class of 1000 models, in 500 runs."""
    given, runs = thousand(), 500
    a, _ = watched(given, HORIZON, runs, seed_of(budget), scale=scale)
    beta = scale * given.width(HORIZON)
    failed = (a.excess > beta) | (a.optimism < -1e-9) | (np.maximum(a.planned / PLANNED, a.played / PLAYED) > beta)
    witness = {"excess of f* / beta": (a.excess / beta).max(), "in-sample / beta": (a.played / beta).max()}
    witness |= {"least optimism": a.optimism.min(), "most hypotheses chosen": a.distinct.max()}
    return probability(int(failed.sum()), runs, DELTA, witness)


# the power of the span in beta ----------------------------------------------------------------------------------------

EPSILONS = (0.1, -0.1, -0.05, 0.05, 0.15)  # the truth's first
WIDE = 100.0  # times the width: the first hypothesis is kept, so that every run sees the same kind of data


def _published(budget: Budget, power: int) -> Probability:
    r"""Whether beta = sp^power log(T N^2/delta) covers f* where spans are large: the hub at delta = 1/80, sp = 80."""
    given, horizon, runs = hub_class(2, 1 / 80, EPSILONS), 16_000, quarter(budget)
    beta = published_width(given.span, horizon, given.models.size, DELTA, power=power)
    a, _ = watched(given, horizon, max(150, runs // 5), seed_of(budget, "hub"), scale=WIDE)
    witness = {"span": given.span, "beta": beta, "median excess": np.median(a.excess)}
    return probability(int((a.excess > beta).sum()), len(a.excess), DELTA, witness)


def _growth(budget: Budget, exponent: float, side: str) -> Rate:
    """How the excess loss of f*, at which beta has to aim, grows with the span: rooms left after 5 to 40 steps."""
    deltas, columns, spans = (1 / 5, 1 / 10, 1 / 20, 1 / 40), [], []
    for delta in deltas:
        given = hub_class(2, delta, EPSILONS)
        a, _ = watched(given, int(50 / delta), quarter(budget), seed_of(budget, delta), scale=WIDE)
        columns.append(a.excess)
        spans.append(given.span)
    y = np.array(columns).T
    y = y[(y > 0).all(axis=1)]  # runs in which f* never had the smallest loss from the first step to the last
    return rate(spans, y, exponent=exponent, side=side, rng=budget.rng("bootstrap"), resolution=0.15)


# what completeness is for ---------------------------------------------------------------------------------------------


def _incomplete(budget: Budget, complete: bool = False) -> Probability:
    """Two hypotheses with the values of f*, one with a gain too large by 0.4: G = H cannot tell them apart.

    Each Q fits the data of the other as well as its own, so neither has excess loss, while the Bellman error of the
    second is 0.4 at every step.
    """
    given, horizon, runs = near_ties(), 20_000, max(150, quarter(budget) // 4)
    truth = given.models.optimal
    H = Hypotheses(np.stack([truth.q[0]] * 2), truth.gain[0] + np.array([0.0, 0.4]))
    G = closure(H, given.models.mdp(0)) if complete else H.q
    beta = value_width(H.span, H.size, len(G), horizon, DELTA)
    error = abs(H.q - bellman_targets(given.models.P[0], given.models.r, H)).max(axis=(1, 2))
    kept = lives(ValueLOOP(H, G, beta), given.world, horizon, runs, seed_of(budget), keep_states=True).states
    used = np.array([state.chosen.used[0] for state in kept])
    in_sample = horizon * error[used] ** 2  # of the hypothesis in use at the end; constant errors
    witness = {"in-sample error": in_sample.max(), "10 beta": PLAYED * beta, "G": "closure" if complete else "H"}
    return probability(int((in_sample > PLAYED * beta).sum()), runs, DELTA, witness)


def _double_sampling(budget: Budget, complete: bool = False) -> Probability:
    """Losses of f* and of f0 = (Q = 0, J*) along the optimal policy of the hub; comparing L(f, f) over H drops f*."""
    delta, horizon, runs = 0.1, 2_000, quarter(budget)
    mdp, rng = hub(2, delta, 0.1, 0), budget.rng("chain")
    truth = hub_class(2, delta, (0.1,)).models.optimal
    H = Hypotheses(np.stack([truth.q[0], np.zeros((3, 2))]), np.repeat(truth.gain[:1], 2))
    G = closure(H, mdp)
    beta = value_width(H.span, H.size, len(G), horizon, DELTA)
    s, own, others, worst = np.zeros(runs, np.int64), np.zeros((2, runs)), np.zeros((len(G), runs)), np.zeros(runs)
    cumulative = mdp.P[:, 0].cumsum(axis=1)
    for _ in range(horizon):
        t = (rng.random(runs)[:, None] >= cumulative[s]).sum(axis=1)
        for f in range(2):
            own[f] += (H.q[f][s, 0] - mdp.r[s, 0] - H.v[f][t] + H.gain[f]) ** 2
        others += (G[:, s, 0] - mdp.r[s, 0] - H.v[0][t] + H.gain[0]) ** 2
        worst = np.maximum(worst, own[0] - (others if complete else own).min(axis=0))
        s = t
    witness = {"median excess of f*": np.median(worst), "beta": beta}
    return probability(int((worst > beta).sum()), runs, DELTA, witness)


PREMISES = (OPTIMALITY, REALIZABLE, FINITE, WIDTH)

CLAIMS = (
    claim(
        id="loop/coverage",
        source="Algorithm 1 and the concentration lemma behind it, with our constant",
        statement=r"With probability at least $1-\delta$, $f^* \in \mathcal{C}_t$ for all $t \le T$.",
        kind=Probability,
        premises=PREMISES,
        check=partial(_event, part="coverage"),
        control=partial(_event, part="coverage", scale=0.01),
        control_statement=r"the same with $\beta/100$.",
    ),
    claim(
        id="loop/coverage-half",
        source=OURS,
        statement=r"With probability at least $1-\delta$ the excess loss of $f^*$ is at most $\beta/2$ for all $t$.",
        kind=Probability,
        premises=PREMISES,
        check=partial(_event, part="coverage", share=0.5),
        control=partial(_event, part="coverage", share=0.005),
        control_statement=r"it is at most $\beta/200$.",
    ),
    claim(
        id="loop/in-sample",
        source=OURS,
        statement=(
            r"With probability at least $1-\delta$, $\sum_{i<t} d_i(f_t)^2 \le 4\beta$ whenever $f_t$ is chosen and "
            r"$\le 10\beta$ always."
        ),
        kind=Probability,
        premises=PREMISES,
        check=partial(_event, part="in-sample"),
        control=partial(_event, part="in-sample", share=0.05),
        control_statement=r"at most $\beta/5$ and $\beta/2$.",
    ),
    claim(
        id="loop/optimism",
        source="Algorithm 1: optimism",
        statement=r"With probability at least $1-\delta$, $J_{f_t} \ge J^*$ whenever $f_t$ is chosen.",
        kind=Probability,
        premises=PREMISES,
        check=partial(_event, part="optimism"),
        control=partial(_event, part="optimism", scale=0.001),
        control_statement=r"the same with $\beta/1000$.",
    ),
    claim(
        id="loop/thousand-models",
        source=f"Algorithm 1 in a large class, {OURS}",
        statement=(
            r"With 1000 models, many of them nearly tied, coverage, optimism and the in-sample errors $4\beta$ and "
            r"$10\beta$ hold together with probability at least $1-\delta$ (500 runs)."
        ),
        kind=Probability,
        premises=PREMISES,
        check=_thousand,
        control=partial(_thousand, scale=0.001),
        control_statement=r"the same with $\beta/1000$.",
    ),
    claim(
        id="loop/width-linear-in-span",
        source="ours, one reading of the paper's width",
        statement=r"$\beta = \mathrm{sp}(V^*) \log(T|\mathcal{H}|^2/\delta)$ covers $f^*$ w.p. at least $1-\delta$.",
        kind=Probability,
        premises=(OPTIMALITY, REALIZABLE, FINITE),
        check=partial(_published, power=1),
        control=partial(_published, power=2),
        control_statement=r"$\beta = \mathrm{sp}(V^*)^2 \log(T|\mathcal{H}|^2/\delta)$ does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="loop/width-quadratic-in-span",
        source="ours, settles the power of the span in the width",
        statement=(
            r"The excess loss of $f^*$ grows at least like $\mathrm{sp}^2$ on hubs, so no $\beta \propto \mathrm{sp}$ "
            "covers it, whatever the constant."
        ),
        kind=Rate,
        premises=("transitions to states of values as far apart as the span, each with probability 1/2",),
        check=partial(_growth, exponent=2.0, side="at least"),
        control=partial(_growth, exponent=2.5, side="at least"),
        control_statement=r"it grows at least like $\mathrm{sp}^{2.5}$.",
    ),
    claim(
        id="loop/width-no-more-than-quadratic",
        source=OURS,
        statement=r"The excess loss of $f^*$ grows at most like $\mathrm{sp}^2$.",
        kind=Rate,
        premises=(OPTIMALITY, REALIZABLE, FINITE),
        check=partial(_growth, exponent=2.0, side="at most"),
        control=partial(_growth, exponent=1.0, side="at most"),
        control_statement=r"it grows at most like $\mathrm{sp}$.",
    ),
    claim(
        id="loop/completeness-dropped",
        source="ours, what the completeness assumption is for",
        statement=r"The in-sample error stays below $10\beta$ with $\mathcal{G} = \mathcal{H}$, closed or not.",
        kind=Probability,
        premises=(OPTIMALITY, REALIZABLE, FINITE),
        check=_incomplete,
        control=partial(_incomplete, complete=True),
        control_statement=rf"it does with {COMPLETE.split(': ')[1]}.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="loop/double-sampling",
        source=r"ours, why the loss subtracts an infimum over $\mathcal{G}$",
        statement=(
            r"$\{f : L(f,f) \le \min_{f'\in\mathcal{H}} L(f',f') + \beta\}$ holds $f^*$ w.p. at least $1-\delta$."
        ),
        kind=Probability,
        premises=(OPTIMALITY, REALIZABLE, FINITE),
        check=_double_sampling,
        control=partial(_double_sampling, complete=True),
        control_statement=(
            r"$\{f : L(f,f) \le \min_{g\in\mathcal{G}} L(f,g) + \beta\}$ does, with complete $\mathcal{G}$."
        ),
        expected=Outcome.REFUTED,
    ),
)
