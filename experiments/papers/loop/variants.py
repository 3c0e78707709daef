"""Every form of LOOP: value-based, by likelihood, linear, linear mixtures; the event behind each theorem, watched.

The model-based form on a finite class has sections of its own (`confidence`, `switching`, `regret`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.loop.common import (
    CLASSES,
    COMPLETE,
    DELTA,
    FINITE,
    OPTIMALITY,
    OURS,
    REALIZABLE,
    Class,
    claim,
    lives,
    quarter,
    seed_of,
)
from claimlab.mdps.average_learning import World, world
from claimlab.mdps.hypotheses import bellman_targets, closure
from claimlab.mdps.loop import MLELOOP, FiniteLOOP, ValueLOOP
from claimlab.mdps.loop_audit import Watched, watch
from claimlab.mdps.loop_linear import LinearLOOP, MixtureLOOP, hard_linear_mixture, mixture_models
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Probability, probability
from claimlab.theory.loop import likelihood_width, linear_width, value_width

HORIZON = 2_000
RIDGE = 1.0

# linear classes -------------------------------------------------------------------------------------------------------


def one_hot(shape: tuple[int, ...]) -> Array:
    """A feature for every pair, float[S, A, SA]."""
    pairs = shape[0] * shape[1]
    return np.eye(pairs).reshape(*shape, pairs)


def grouped(n_actions: int) -> Array:
    """Features of JAO's MDP, whose actions are all alike in state 1: float[2, A, A + 1]."""
    features = np.zeros((2, n_actions, n_actions + 1))
    features[0, :, :-1], features[1, :, -1] = np.eye(n_actions), 1.0
    return features


def errors_of(given: Class) -> Array:
    """The Bellman errors E(f), float[M, S, A]."""
    H = given.models.optimal
    return np.asarray(H.q - bellman_targets(given.models.P[0], given.models.r, H))


def linear_loop(given: Class, features: Array, horizon: int, delta: float, scale: float = 1.0) -> LinearLOOP:
    """LinearLOOP with `scale` times the theorem's width; `features` are orthonormal on pairs that differ."""
    H, dim = given.models.optimal, features.shape[2]
    phi, targets = features.reshape(-1, dim), bellman_targets(given.models.P[0], given.models.r, H)
    weights = np.linalg.lstsq(phi, targets.reshape(H.size, -1).T, rcond=None)[0]
    weight = float(np.linalg.norm(weights, axis=0).max())
    beta = linear_width(H.span, H.size, dim, horizon, delta, weight=weight, ridge=RIDGE)
    return LinearLOOP(H, features, scale * beta, RIDGE)


class Mixture(NamedTuple):
    """A class of linear mixtures whose first parameter is the truth."""

    theta: Array  # [M, d]
    basis: Array  # [S, A, S, d]
    given: Class

    @property
    def features(self) -> Array:
        """phi_{V_f}(s, a) of every hypothesis, float[M, S, A, d]."""
        return np.einsum("satk,ft->fsak", self.basis, self.given.models.optimal.v)

    @property
    def feature(self) -> float:
        """Largest norm of a feature."""
        return float(np.linalg.norm(self.features, axis=3).max())


@cache
def mixture(d: int, delta: float, gap: float, *, truth: int = 0, easier: float = 1.0) -> Mixture:
    """The hard linear mixtures with parameter `truth` moved to the front and its gap multiplied by `easier`."""
    theta, basis, r = hard_linear_mixture(d, delta, gap)
    theta = np.roll(theta, -truth, axis=0)
    theta[0, :-1] *= easier
    family = mixture_models(theta, basis, r)
    return Mixture(theta, basis, Class(family, world(family.mdp(0))))


def mixture_loop(m: Mixture, horizon: int, delta: float, scale: float = 1.0) -> MixtureLOOP:
    """MixtureLOOP with `scale` times the theorem's width."""
    weight = float(np.linalg.norm(m.theta[0]))
    beta = linear_width(
        m.given.span, 1, m.theta.shape[1], horizon, delta, weight=weight, feature=m.feature, ridge=RIDGE
    )
    return MixtureLOOP(m.theta, m.basis, m.given.models.r, scale * beta, RIDGE)


# the events -----------------------------------------------------------------------------------------------------------


class Levels(NamedTuple):
    """What a theorem promises, in units of beta."""

    truth: float  # excess loss of f*
    planned: float  # in-sample error of a hypothesis when it is chosen
    played: float  # and always
    epoch: float  # what a completed epoch adds to the sum of squared errors


LEVELS = {
    "value": Levels(0.5, 4.0, 10.0, 1.0),
    "likelihood": Levels(1.0, 1.5, 3.0, 0.0),
    "linear": Levels(1.0, 4.0, 25.0, 5.0),
    "mixture": Levels(1.0, 4.0, 25.0, 5.0),
}


def _value(given: Class, scale: float) -> FiniteLOOP:
    H = given.models.optimal
    G = closure(H, given.models.mdp(0))
    return ValueLOOP(H, G, scale * value_width(H.span, H.size, len(G), HORIZON, DELTA))


def _watched(variant: str, scale: float) -> Iterator[tuple[str, Watched, World, float]]:
    """Instances by name, with a watched learner and its beta."""
    if variant == "mixture":
        m = mixture(4, 0.2, 0.1, truth=5)
        errors = m.features @ (m.theta - m.theta[0]).T
        base = mixture_loop(m, HORIZON, DELTA, scale)
        yield "hard mixture", Watched(base, m.given.models, errors=errors), m.given.world, base.beta
        return
    for name, make in CLASSES.items():
        given = make()
        P, r, H = given.models.P, given.models.r, given.models.optimal
        table = np.moveaxis(errors_of(given), 0, -1)
        learner: FiniteLOOP
        if variant == "value":
            learner = _value(given, scale)
        elif variant == "linear":
            learner = linear_loop(given, one_hot(r.shape), HORIZON, DELTA, scale)
        else:
            learner = MLELOOP(given.models, scale * likelihood_width(H.size, DELTA))
            table = np.sqrt(np.maximum(1 - np.moveaxis(np.sqrt(P * P[:1]).sum(axis=3), 0, -1), 0.0))
        yield name, Watched(learner, given.models, errors=table[None]), given.world, learner.beta


def _event(budget: Budget, variant: str, scale: float = 1.0) -> Probability:
    """How often any part of the event fails on each instance, the worst of which is reported."""
    levels, found = LEVELS[variant], []
    runs = quarter(budget) if variant == "likelihood" else max(500, budget.runs // 8)  # the first's fails in some 2 %
    for name, learner, there, beta in _watched(variant, scale):
        w = watch(lives(learner, there, HORIZON, runs, seed_of(budget, name), keep_states=True).states)
        failed = (w.excess > levels.truth * beta) | (w.optimism < -1e-9)  # gains are solved to some 1e-15
        failed |= (w.planned > levels.planned * beta) | (w.played > levels.played * beta)
        failed |= (w.distinct - 1) * levels.epoch * beta > w.squared * (1 + 1e-9)
        witness = {"instance": name, "beta": beta, "excess of f* / beta": (w.excess / beta).max()}
        witness |= {"in-sample / beta": (w.played / beta).max(), "most hypotheses chosen": w.distinct.max()}
        found.append(probability(int(failed.sum()), runs, DELTA, witness))
    return max(found, key=lambda evidence: evidence.failures)


EVENTS = {
    "value": (
        "Algorithm 1, value-based",
        r"\beta = \mathrm{sp}^2\log((2|\mathcal{H}||\mathcal{G}|+T)/\delta)",
        COMPLETE,
    ),
    "likelihood": ("Algorithm 2 (MLE-LOOP)", r"\beta = \log(2|\mathcal{H}|/\delta)", FINITE),
    "linear": ("Section 5, linear MDPs", "the width of a ridge regression, trigger $16$", COMPLETE),
    "mixture": ("Section 5, linear mixtures", "the width of value-targeted regression, trigger $16$", FINITE),
}


def _promise(variant: str) -> str:
    levels = LEVELS[variant]
    error = r"\sum_{i<t} H^2(P_{f_t}, P^*)" if variant == "likelihood" else r"\sum_{i<t} \mathcal{E}_i(f_t)^2"
    epoch = rf", and every completed epoch adds {levels.epoch:g} $\beta$ to the squared errors" if levels.epoch else ""
    return (
        r"With probability at least $1-\delta$: $f^* \in \mathcal{C}_t$ for all $t$, every choice is optimistic, "
        rf"${error} \le {levels.planned:g}\beta$ when $f_t$ is chosen and $\le {levels.played:g}\beta$ always{epoch}."
    )


CLAIMS = tuple(
    claim(
        id=f"loop/{variant}-event",
        source=f"{source}, {OURS}",
        statement=_promise(variant),
        kind=Probability,
        premises=(OPTIMALITY, REALIZABLE, premise, width if "trigger" in width else f"${width}$"),
        check=partial(_event, variant=variant),
        control=partial(_event, variant=variant, scale=0.01),
        control_statement=r"the same with $\beta/100$.",
    )
    for variant, (source, width, premise) in EVENTS.items()
)
