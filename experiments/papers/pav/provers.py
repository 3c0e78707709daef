"""Remark 3.1 and which provers help: best of K, and any."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.pav.common import (
    LAWS,
    NPG,
    PROVER,
    SLOPES,
    TREE,
    advantages,
    claim,
    expected,
    inner,
    slope,
    variance,
)
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.decision_trees import action_values
from claimlab.theory.evidence import Comparison, Inequality, Outcome, comparison
from claimlab.theory.falsify import Trial, Trials, attack
from claimlab.theory.spaces import Box, Case, Simplex, Space


def _best_of(q: Array, pi: Array, K: Array, *, factor: float, side: str) -> Trials:
    """One node: 0 <= <A^mu, A^pi> <= K Var(A^pi) for the prover that takes the best of K of the policy's answers."""
    n = K[:, None]
    better = 1 - (1 - q) ** n
    own, its = q - (pi * q).sum(axis=1, keepdims=True), better - (pi * better).sum(axis=1, keepdims=True)
    aligned, variance = (pi * own * its).sum(axis=1), (pi * own**2).sum(axis=1)
    if side == "lower":
        return Trials(-aligned, 0.0, 64 * EPS)
    return Trials(aligned, factor * K * variance, 64 * EPS * K)


def _best_of_check(budget: Budget, side: str, factor: float = 1.0, any_prover: bool = False) -> Inequality:
    fields = {"q": Box("A", 0, 1), "pi": Simplex("A"), "K": Box("", 1, 16, step=1)}
    small = {"q": np.array([1e-4, 2e-4]), "pi": np.array([0.5, 0.5]), "K": np.array(4.0)}
    many = budget.with_instances(20 * budget.instances)
    if any_prover:
        return attack(Space({"A": (1, 4)}, fields | {"m": Box("A", 0, 1)}), _misaligned, many, batched=True)
    measure = partial(_best_of, factor=factor, side=side)
    return attack(Space({"A": (1, 4)}, fields), measure, many, batched=True, hard=[small])


def _misaligned(q: Array, pi: Array, K: Array, m: Array) -> Trials:
    """The same with any values for the prover's."""
    own, its = q - (pi * q).sum(axis=1, keepdims=True), m - (pi * m).sum(axis=1, keepdims=True)
    return Trials(-(pi * own * its).sum(axis=1), 0.0, 64 * EPS)


def _harmless(leaf: Array, *, own: bool, **laws: Array) -> Trials:
    """Minus the first-order gain at alpha = 5, the paper's."""
    policy, prover = [laws[n] for n in LAWS], [laws[n] for n in (LAWS if own else PROVER)]
    return Trials(-slope(leaf, policy, prover, np.full(len(leaf), 5.0)), 0.0, 256 * EPS)


def opposite() -> Case:
    """The policy succeeds for certain after the first action and never after the second, the prover the other way."""
    leaf, half = np.zeros((2, 2, 2)), np.array([0.5, 0.5])
    leaf[:, 0, 0] = 1  # success: the first action in the second and third step
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    third = np.broadcast_to(np.array([1.0, 0.0]), (2, 2, 2)).copy()
    return {"p1": half, "p2": rows, "p3": third, "m1": half, "m2": rows[::-1].copy(), "m3": third, "leaf": leaf}


def _harmless_check(budget: Budget, own: bool = False) -> Inequality:
    many = budget.with_instances(10 * budget.instances)
    return attack(SLOPES, partial(_harmless, own=own), many, batched=True, hard=[opposite()])


def _best_of_variance(q: Array, pi: Array, K: Array, *, factor: float) -> Trials:
    n = K[:, None]
    its = 1 - (1 - q) ** n
    spread = [(pi * x**2).sum(axis=1) - (pi * x).sum(axis=1) ** 2 for x in (its, q)]
    return Trials(spread[0], factor * K**2 * spread[1], 64 * EPS * K**2)


def _best_of_alignment(q: Array, pi: Array, K: Array, *, factor: float) -> Trials:
    r"""Ours: both differences of :math:`1-(1-q)^K` and of q have one sign and a ratio of at least
    :math:`K(1-q_{max})^{K-1}`, the least slope; so has the covariance."""
    n = K[:, None]
    its = 1 - (1 - q) ** n
    own, other = (x - (pi * x).sum(axis=1, keepdims=True) for x in (q, its))
    least = K * (1 - q.max(axis=1)) ** (K - 1)
    return Trials(factor * least * (pi * own**2).sum(axis=1), (pi * own * other).sum(axis=1), 64 * EPS * K)


def _best_of_factors_check(budget: Budget, measure: str, factor: float = 1.0) -> Inequality:
    fields = {"q": Box("A", 0, 1), "pi": Simplex("A"), "K": Box("", 1, 16, step=1)}
    small = {"q": np.array([1e-4, 2e-4]), "pi": np.array([0.5, 0.5]), "K": np.array(4.0)}
    chosen = {"variance": _best_of_variance, "alignment": _best_of_alignment}[measure]
    many = budget.with_instances(20 * budget.instances)
    return attack(Space({"A": (1, 4)}, fields), partial(chosen, factor=factor), many, batched=True, hard=[small])


def _certain(leaf: Array, share: Array, *, leaves: bool) -> Trial | None:
    """The largest action value of a policy of full support, at 0/1 outcomes, against 1/K with K = 2."""
    if leaf.max() == 0:
        return None
    policy = [np.full((1, *leaf.shape[: d + 1]), 1 / leaf.shape[d]) for d in range(3)]
    q = action_values(leaf[None], policy)
    return Trial(float(max(x.max() for x in (q if leaves else q[:1]))), 0.5, 0.0)


def _certain_check(budget: Budget, leaves: bool = True) -> Inequality:
    """`leaves` False keeps the root's actions of trees in which at most half of all leaves below each succeed."""
    space = Space({"A": (1, 3), "B": (1, 3), "C": (2, 3)}, {"leaf": Box("ABC", 0, 1, step=1), "share": Box("", 0, 1)})
    if leaves:
        return attack(space, partial(_certain, leaves=True), budget)

    def sparse(leaf: Array, share: Array) -> Trial | None:
        thin = leaf * (np.arange(leaf.shape[2]) == 0)
        return _certain(thin, share, leaves=False)

    return attack(space, sparse, budget)


def best_of_gains(K: int, runs: int, scale: float, rng: np.random.Generator) -> Array:
    """The gain of a small step with the best-of-K prover, alpha = 1, over that of the outcome alone, float[runs].

    Uniform policies on trees of 27 leaves, 0 or `scale` with equal chances, and at least one gap at the root.
    """
    leaf = scale * rng.integers(2, size=(runs, 3, 3, 3)).astype(float)
    leaf[:, 0, 0, :] = np.array([scale, 0.0, 0.0])  # some signal in every tree
    policy = [np.full((runs, *(3,) * (d + 1)), 1 / 3) for d in range(3)]
    q, own = action_values(leaf, policy), advantages(leaf, policy)
    its = [x - x.mean(axis=-1, keepdims=True) for x in (1 - (1 - y) ** K for y in q)]
    alone = expected(policy, variance(policy, own))
    return np.asarray(1 + expected(policy, inner(policy, its, own)) / alone)


def _saturates_check(budget: Budget, scale: float = 1.0) -> Comparison:
    """The ratio at K = 64 less that at K = 1, which is two; `scale` makes all values small."""
    runs = {"smoke": 200, "standard": 1_000}.get(budget.name, 5_000)
    many, one = (best_of_gains(K, runs, scale, budget.rng("trees")) for K in (64, 1))
    return comparison(many, one, effect=2.0, rng=budget.rng("bootstrap"))


CLAIMS = (
    claim(
        id="pav/best-of-k-is-aligned",
        source="ours, on Remark 3.1",
        statement=r"Best-of-$K$ provers are never misaligned: $\langle A^\mu,A^\pi\rangle_\pi\ge0$ in every node.",
        kind=Inequality,
        premises=(r"$Q^\mu=1-(1-Q^\pi)^K$",),
        check=partial(_best_of_check, side="lower"),
        control=partial(_best_of_check, side="lower", any_prover=True),
        control_statement="the same for any prover.",
    ),
    claim(
        id="pav/best-of-k-gain",
        source="ours, on Remark 3.1",
        statement=r"Best of $K$ multiplies the gain of a node by at most $1+\alpha K$: "
        r"$\langle A^\mu,A^\pi\rangle_\pi\le K\,\mathrm{Var}_\pi(A^\pi)$, reached for small $Q^\pi$.",
        kind=Inequality,
        premises=(r"$Q^\mu=1-(1-Q^\pi)^K$",),
        check=partial(_best_of_check, side="upper"),
        control=partial(_best_of_check, side="upper", factor=0.95),
        control_statement=r"the same with $0.95\,K$.",
    ),
    claim(
        id="pav/no-prover-harms",
        source="Section 3 (which provers help), its contrary",
        statement="No prover makes a small step lower the value.",
        kind=Inequality,
        premises=(TREE, NPG, r"$\alpha=5$, to first order"),
        check=_harmless_check,
        control=partial(_harmless_check, own=True),
        control_statement=r"the same for $\mu=\pi$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="pav/best-of-k-variance",
        source="Remark 3.1 (constants ours)",
        statement=r"$\mathrm{Var}_\pi(A^\mu)\le K^2\,\mathrm{Var}_\pi(A^\pi)$, reached for small $Q^\pi$.",
        kind=Inequality,
        premises=(r"$Q^\mu=1-(1-Q^\pi)^K$",),
        check=partial(_best_of_factors_check, measure="variance"),
        control=partial(_best_of_factors_check, measure="variance", factor=0.95),
        control_statement=r"the same with $0.95\,K^2$.",
    ),
    claim(
        id="pav/best-of-k-alignment-grows",
        source="ours, on Remark 3.1 (where alignment is said to get worse)",
        statement=r"$\langle A^\mu,A^\pi\rangle_\pi\ge K(1-\max Q^\pi)^{K-1}\,\mathrm{Var}_\pi(A^\pi)$: where "
        r"$Q^\pi\ll1/K$ alignment gets better, by a factor of $K$.",
        kind=Inequality,
        premises=(r"$Q^\mu=1-(1-Q^\pi)^K$",),
        check=partial(_best_of_factors_check, measure="alignment"),
        control=partial(_best_of_factors_check, measure="alignment", factor=1.1),
        control_statement=r"the same with $1.1\,K$.",
    ),
    claim(
        id="pav/small-values-everywhere",
        source=r"Remark 3.1 (its premise $Q^\pi=O(1/K)$ for all states and actions)",
        statement=r"$Q^\pi\le\frac12$ for every state and action of a tree that can be solved.",
        kind=Inequality,
        premises=("three steps, outcomes 0 or 1", "uniform policy, $K=2$"),
        check=_certain_check,
        control=partial(_certain_check, leaves=False),
        control_statement="the same at the root, where at most half of the last actions succeed: at the last step "
        r"$Q^\pi$ is 0 or 1.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="pav/best-of-k-keeps-growing",
        source="Remark 3.1 (strength grows with $K$), on full trees",
        statement="On average the prover with $K=64$ multiplies the gain of the outcome by 2 more than that with $K=1$ "
        "does.",
        kind=Comparison,
        premises=("random trees of 27 leaves with outcomes 0 or 1, uniform policy", r"$\alpha=1$"),
        check=_saturates_check,
        control=partial(_saturates_check, scale=1e-3),
        control_statement="the same where all values are below 0.001.",
        expected=Outcome.REFUTED,
    ),
)
