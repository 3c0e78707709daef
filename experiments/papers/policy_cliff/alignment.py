r"""Section 3: incomplete rewards, tie-breakers, and what they do on token trees.

Propositions 3.1 and 3.2, the reading of Section 3.3 on short and long answers; and illustrations on trees and on a
grader with a monitor.  The illustrations say what optimal policies do, nothing about policies trained by gradient
descent.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array, Bools
from claimlab.experiments.papers.policy_cliff.common import (
    DISCOUNT,
    EPSILONS,
    FINITE,
    GAMMA,
    SIZES,
    SOFT,
    TIED,
    WHOLE,
    claim,
    decided,
    describe,
    discounted_tree,
    draw_tied,
    expect,
    many,
    norm,
    tied_batch,
)
from claimlab.mdps import batched
from claimlab.mdps.batched import MDPBatch
from claimlab.mdps.episodic import backward_induction
from claimlab.mdps.exact import rationals, solve_exactly, solve_linear
from claimlab.mdps.planning import optimal_actions
from claimlab.mdps.regularized import soft_value_iteration
from claimlab.mdps.tabular import EPS, EpisodicMDP, TabularMDP
from claimlab.mdps.trees import TokenTree
from claimlab.theory.cells import sweep
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Evidence, Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.soft import soft_lipschitz
from claimlab.theory.spaces import Box, Simplex, Space

# Proposition 3.1 ----------------------------------------------------------------------------------------------------


def _slacker(
    rng: Generator, *, reachable: bool = True, gamma: Fraction | None = None
) -> tuple[bool, Mapping[str, Any]]:
    """Conditions (i)-(iii) hold by construction; is the policy then strictly suboptimal for the true reward from mu?

    State 0 has the tie.  The agent starts anywhere, or in a state of its own in front of state 0 (always so for a given
    `gamma`, never so at a drawn discount of 0).  Without reachability that state leads to itself only.
    """
    mdp = draw_tied(rng)
    if gamma is not None:
        mdp = mdp._replace(gamma=gamma)
    S, A = mdp.q.shape
    train, others = mdp.reward(mdp.q), [a for a in range(A) if a != mdp.a2]
    in_front = not reachable or gamma is not None or (mdp.gamma > 0 and rng.random() < 0.5)
    if in_front:
        P = rationals(np.zeros((S + 1, A, S + 1), int))
        P[:S, :, :S], P[S, :, 0 if reachable else S] = mdp.P, Fraction(1)
        train = np.vstack([train, rationals(np.zeros((1, A), int))])
        mu = rationals(np.eye(S + 1, dtype=int)[S])
    else:
        P = mdp.P
        mu = rationals(np.ones(S, int)) / Fraction(S)
    S = len(train)
    solution = solve_exactly(P, train, mdp.gamma)
    pi = solution.policy.copy()
    pi[0] = next(a for a in others if solution.actions[0, a])  # an optimal policy that does not take a2
    missing = rationals(rng.integers(-2, 3, size=(S, A)))
    if in_front:
        missing[S - 1] = Fraction(0)
    states = np.arange(S)
    kernel = rationals(np.eye(S, dtype=int)) - mdp.gamma * P[states, pi]
    v_missing = solve_linear(kernel, missing[states, pi])
    lacking = v_missing[0] - missing[0, mdp.a2] - mdp.gamma * (P[0, mdp.a2] @ v_missing)
    if lacking >= 0:  # make the advantage of a2 positive: its reward in state 0 is not on the policy's own path
        missing[0, mdp.a2] += lacking + Fraction(1, int(rng.integers(1, 100)))
    true = train + missing
    achieved, best = solve_linear(kernel, true[states, pi]), solve_exactly(P, true, mdp.gamma).v
    return bool(mu @ best > mu @ achieved), describe(mdp, P=P, train=train, policy=pi, missing=missing, mu=mu)


SLACKER = Space(
    SIZES,
    {"P": Simplex("SAS"), "q": WHOLE, "missing": Box("SA"), "mu": Simplex("S"), "gamma": GAMMA},
)


def _gain(P: Array, q: Array, missing: Array, mu: Array, gamma: Array, *, discounted: bool, tied: bool) -> Trials:
    """E[gamma^T] A_true(s0, a2) against what the policy loses, at the pair (s0, a2) where the bound is largest.

    The advantage for the true reward is that for the missing one less the gap, which is 0 for `tied` actions.
    """
    train, best = tied_batch(P, q, gamma)
    pi, gap = best.argmax(axis=2), q.max(axis=2, keepdims=True) - q
    v, _ = batched.policy_value(MDPBatch(P, missing, gamma), pi)
    advantage = missing + gamma[:, None, None] * expect(P, v) - v[..., None] - gap
    reach = batched.occupancy(train, pi, mu).visits.sum(axis=2)
    starts = np.eye(mu.shape[1])
    own = np.stack([batched.occupancy(train, pi, start).visits[:, s].sum(axis=1) for s, start in enumerate(starts)], 1)
    hitting = reach / own  # E[gamma^T] of the first visit
    weight = hitting if discounted else (hitting > 1e-9).astype(float)
    promise = np.where(best if tied else True, advantage * weight[..., None], -np.inf).max(axis=(1, 2))
    true = MDPBatch(P, train.r + missing, gamma)
    optimum, achieved = batched.solve(true, np.inf), batched.policy_value(true, pi)
    lost = (mu * (optimum.v - achieved.v)).sum(axis=1)
    error = optimum.error + achieved.error + 256 * EPS * (1 + true.value_bound) / (1 - gamma)
    return Trials(promise, lost, error, holds=promise > 1e-9)


def _gain_check(budget: Budget, discounted: bool = True, tied: bool = True) -> Inequality:
    return attack(SLACKER, partial(_gain, discounted=discounted, tied=tied), many(budget), batched=True)


# Proposition 3.2 ----------------------------------------------------------------------------------------------------


def _tie_breaker(rng: Generator, *, tie: bool) -> tuple[bool, Mapping[str, Any]]:
    mdp = draw_tied(rng, tie=tie)
    r0, a1 = mdp.reward(mdp.q), int(np.flatnonzero(mdp.q[0] == mdp.q[0].max())[0])
    if a1 == mdp.a2:
        a1 = int(np.flatnonzero(mdp.q[0] == mdp.q[0].max())[1])
    holds = True
    for eps in EPSILONS:
        _, r = mdp.bumped(eps / (1 + mdp.gamma))  # as in the proof
        q = solve_exactly(mdp.P, r, mdp.gamma).q
        holds = holds and norm(r - r0) <= eps and q[0, mdp.a2] > q[0, a1]
    return holds, describe(mdp, a1=a1)


BREAKER = Space(
    {"S": (1, 4), "A": (2, 3)},
    {"P": Simplex("SAS"), "q": WHOLE, "eps": Box("", 0.01, 1.0), "gamma": GAMMA},
)


def _margin(P: Array, q: Array, eps: Array, gamma: Array, *, discounted: bool) -> Trials:
    """Adding eps to the reward of one tied action: by how much is it then better than every other?"""
    tied = np.round(q)
    tied[:, 0, 1] = tied[:, 0, 0] = tied[:, 0].max(axis=1)
    mdps, _ = tied_batch(P, tied, gamma)
    bonus = np.zeros(q.shape)
    bonus[:, 0, 1] = eps
    values, error = batched.action_values(MDPBatch(P, mdps.r + bonus, gamma))
    margin = values[:, 0, 1] - np.delete(values[:, 0], 1, axis=1).max(axis=1)
    claimed = (1 - gamma if discounted else 1.0) * eps
    return Trials(claimed, margin, 2 * error + 64 * EPS * (1 + mdps.value_bound) / (1 - gamma))


def _margin_check(budget: Budget, discounted: bool = True) -> Inequality:
    loops = np.zeros((2, 2, 2))
    loops[0, 0, 0] = loops[0, 1, 1] = loops[1, :, 1] = 1  # the rival action stays and so shares the future gain
    hard = [{"P": loops, "q": np.zeros((2, 2)), "eps": np.array(0.5), "gamma": np.array(g)} for g in (0.5, 0.9, 0.99)]
    return attack(BREAKER, partial(_margin, discounted=discounted), many(budget), batched=True, hard=hard)


# short and long answers ---------------------------------------------------------------------------------------------


def _answers(rng: Generator, *, same_length: bool) -> tuple[bool, Mapping[str, Any]]:
    """Two ways to a correct answer, by `short` and by `long` tokens, accuracy reward 1 with the last token.

    States 0 .. long-1 are the steps of the long way, then the rest of the short way, then the end.
    """
    short = int(rng.integers(1, 4))
    long = short if same_length else short + int(rng.integers(1, 4))
    gamma = Fraction(["1/2", "9/10", "99/100", "999/1000"][rng.integers(4)])
    n = long + short  # the root and long - 1 further steps, short - 1 steps, the end
    end, P, r = n - 1, rationals(np.zeros((n, 2, n), int)), rationals(np.zeros((n, 2), int))
    ways = ([0, *range(1, long)], [0, *range(long, long + short - 1)])
    for action, way in enumerate(ways):
        for here, after in zip(way, [*way[1:], end]):
            for a in (action,) if here == 0 else (0, 1):
                P[here, a, after] = Fraction(1)
                r[here, a] = Fraction(int(after == end))
    P[end, :, end] = Fraction(1)
    solution = solve_exactly(P, r, gamma)
    return bool(solution.actions[0].all()), {
        "tokens": [long, short],
        "gamma": gamma,
        "Q*(prompt, long)": solution.q[0, 0],
        "Q*(prompt, short)": solution.q[0, 1],
    }


# token trees --------------------------------------------------------------------------------------------------------

VOCABULARY, DEPTH, TREE_GAMMA = 4, 6, 0.9
FAITHFUL, SHORTCUT = 0, 1  # first tokens: reason about the question, or guess and justify afterwards


class Tree(NamedTuple):
    mdp: TabularMDP
    numbers: TokenTree
    correct: Bools  # [V**D], which complete traces end in the right answer


def reasoning_tree(rng: Generator) -> Tree:
    """Traces of six tokens; a tenth of them is correct, among them some that begin faithfully and some by a
    shortcut."""
    numbers = TokenTree(VOCABULARY, DEPTH)
    correct = rng.random(numbers.n_leaves) < 0.1
    correct &= np.isin(numbers.leaves[:, 0], (FAITHFUL, SHORTCUT))
    return Tree(discounted_tree(VOCABULARY, DEPTH, correct.astype(float), TREE_GAMMA), numbers, correct)


def with_bonus(tree: Tree, size: float) -> TabularMDP:
    """A process reward of `size` for beginning faithfully."""
    r = np.array(tree.mdp.r)
    r[0, FAITHFUL] += size
    return tree.mdp.with_reward(r)


def _tree_ties(budget: Budget, partial_credit: bool = False) -> Identity:
    """Prefixes whose optimal next tokens are not exactly those that keep a correct completion within reach."""
    rng, wrong, prefixes = budget.rng("trees"), 0, 0
    for _ in range(max(3, budget.instances // 100)):
        tree = reasoning_tree(rng)
        mdp = tree.mdp
        if partial_credit:  # a graded outcome reward instead of right or wrong
            mdp = discounted_tree(VOCABULARY, DEPTH, tree.correct * rng.uniform(0.5, 1, tree.correct.size), TREE_GAMMA)
        best = optimal_actions(mdp)
        for state in range(tree.numbers.end):
            block = tree.correct.reshape((VOCABULARY,) * DEPTH)[tree.numbers.sequence(state)]
            alive = block.reshape(VOCABULARY, -1).any(axis=1)
            expected = alive if alive.any() else np.ones(VOCABULARY, bool)
            wrong += not np.array_equal(best[state], expected)
            prefixes += 1
    return Identity(float(wrong), 0.0, prefixes, "float", {"prefixes that differ": wrong})


def _tree_snaps(budget: Budget, sizes: tuple[float, ...] = (1e-1, 1e-3, 1e-6, 1e-10)) -> Identity:
    """Any bonus, however small, leaves one optimal first token where there were two."""
    rng, wrong, count = budget.rng("trees"), 0, 0
    for _ in range(max(3, budget.instances // 100)):
        tree = reasoning_tree(rng)
        wrong += set(np.flatnonzero(optimal_actions(tree.mdp)[0])) != {FAITHFUL, SHORTCUT}
        for size in sizes:
            wrong += set(np.flatnonzero(optimal_actions(with_bonus(tree, size))[0])) != {FAITHFUL}
            count += 1
    return Identity(float(wrong), 0.0, count, "float", {"bonuses without a snap": wrong})


TREE_GRID = Space({}, {"size": Box("", 1e-6, 1.0), "alpha": Box("", 0.02, 1.0), "seed": Box("", 0, 1e6)})


def _tree_soft(size: Array, alpha: Array, seed: Array, *, hard: bool) -> Trial:
    tree = reasoning_tree(np.random.default_rng(int(seed)))
    bonus, temperature = float(size), float(alpha)
    policies, error = [], 16 * EPS
    for mdp in (tree.mdp, with_bonus(tree, bonus)):
        if hard:
            best = optimal_actions(mdp)[0]
            policies.append(best / best.sum())
        else:
            soft = soft_value_iteration(mdp, temperature)  # exact after as many sweeps as the tree is deep
            policies.append(soft.pi[0])
            error += soft.error / (2 * temperature)
    moved = abs(policies[1] - policies[0]).sum() / 2
    return Trial(moved, soft_lipschitz(temperature, TREE_GAMMA) * bonus, error, trivial=1.0)


def _tree_soft_check(budget: Budget, hard: bool = False) -> Inequality:
    fewer = budget.with_instances(max(15, budget.instances // 50))
    small = [{"size": np.array(1e-3), "alpha": np.array(a), "seed": np.array(0.0)} for a in (0.05, 0.5)]
    return attack(TREE_GRID, partial(_tree_soft, hard=hard), fewer, hard=small)


def _length_penalty(budget: Budget, penalty: float = 3e-4) -> Identity:
    """Undiscounted traces with a stop token (0), right if any token before the stop is 1; a price on each token.

    Without the price every trace that ends right is optimal; with it only the shortest are.
    """
    n = 6
    S = 2 * n + 1  # (tokens so far, solved or not), the end
    P, r = np.zeros((S, 3, S)), np.zeros((S, 3))
    actions = np.ones((S, 3), bool)
    for length in range(n):
        for solved in (0, 1):
            s = 2 * length + solved
            P[s, 0, -1] = 1
            r[s, 0] = solved
            for token in (1, 2):
                after = 2 * (length + 1) + (solved or token == 1)
                P[s, token, after if length + 1 < n else S - 1] = 1
                r[s, token] = -penalty + (length + 1 == n) * float(solved or token == 1)
    P[-1, :, -1] = 1
    actions[-1, 1:] = False
    terminal = np.arange(S) == S - 1
    solution = backward_induction(EpisodicMDP(P, r, n, actions=actions, terminal=terminal))
    v = solution.v
    q = np.array([r[2 * t : 2 * t + 2] + P[2 * t : 2 * t + 2] @ v[t + 1] for t in range(n)])  # [length, solved, token]
    best = q >= q.max(axis=2, keepdims=True) - 2 * solution.error
    # solved: stop at once and nothing else; unsolved: solve now and nothing else
    wrong = sum(set(np.flatnonzero(best[t, 1])) != {0} for t in range(1, n))
    wrong += sum(set(np.flatnonzero(best[t, 0])) != {1} for t in range(n))
    return Identity(float(wrong), 0.0, 2 * n - 1, "float", {"states with another optimum": wrong})


# a weak grader and a monitor ----------------------------------------------------------------------------------------

TRACES = Space(
    {},
    {"success": Box("", 0.05, 0.6), "disguise": Box("", 0.02, 0.3), "leak": Box("", 0.05, 0.8)},
)
STRATEGIES = ("honest", "transparent hack", "obfuscated hack")


def graded(success: float, disguise: float, penalty: float, leak: float) -> TabularMDP:
    """One choice of trace: honest work pays with probability `success`; a hack always passes the weak grader; a monitor
    fines a transparent hack by `penalty`, an obfuscated one (which costs `disguise`) only with probability `leak`."""
    r = np.array([[success, 1 - penalty, 1 - disguise - leak * penalty]])
    return TabularMDP(np.ones((1, 3, 1)), r, 0.0)


def _monitor_jumps(success: Array, disguise: Array, leak: Array, *, obfuscates: bool) -> Trial | None:
    q, cost, seen = float(success), float(disguise), float(leak)
    if cost / (1 - seen) >= 1 - q - 1e-3:
        return None  # the disguise never pays
    slope = np.array([[0.0, -1.0, -seen]])
    path = sweep(graded(q, cost, 0.0, seen), slope, high=1e3)
    found = [STRATEGIES[policy[0]] for policy in path.policies]
    expected = ["transparent hack", "obfuscated hack", "honest"] if obfuscates else ["transparent hack", "honest"]
    at = [cost / (1 - seen), (1 - cost - q) / seen] if obfuscates else [1 - q]
    apart = float(abs(path.breakpoints - np.array(at)).max()) if found == expected else 1.0
    return Trial(apart, 64 * EPS * (1 + max(at)) / (1 - seen))


def _monitor_check(budget: Budget, obfuscates: bool = True) -> Evidence:

    return equate(TRACES, partial(_monitor_jumps, obfuscates=obfuscates), budget)


ILLUSTRATION = "illustration, of optimal policies and not of trained ones"

CLAIMS = (
    claim(
        id="policy-cliff/incomplete-reward",
        source="Proposition 3.1, but for its exception at discount 0",
        statement=(
            r"If $a_2\in A^*(s_0;R_{train})$, $A^{\pi}_{R_{missing}}(s_0,a_2) > 0$ for the policy $\pi$ optimal under "
            r"$R_{train}$, and $s_0$ is reached from $\mu$ under $\pi$, then $\pi$ is strictly suboptimal for "
            "$R_{train}+R_{missing}$ (decided in rationals)."
        ),
        kind=Identity,
        premises=(
            FINITE,
            DISCOUNT,
            "action optimality",
            "positive advantage",
            r"reachability, at $\gamma=0$ in the first step (see policy-cliff/incomplete-reward-myopic)",
        ),
        check=decided(_slacker),
        control=decided(_slacker, reachable=False),
        control_statement="the same when $s_0$ is never reached.",
    ),
    claim(
        id="policy-cliff/incomplete-reward-myopic",
        source="Proposition 3.1, discount 0",
        statement=(
            r"As printed, Proposition 3.1 includes $\gamma=0$ (Assumption 2.3) and a state $s_0$ that is reached only "
            r"after the first step: there, too, $\pi$ is strictly suboptimal from $\mu$. (Nothing after the first step "
            r"counts, so it need not be: the repair is $\gamma>0$ or $\mu(s_0)>0$.)"
        ),
        kind=Identity,
        premises=(FINITE, r"$\gamma=0$", "action optimality", "positive advantage", "reachability"),
        check=decided(_slacker, gamma=Fraction(0)),
        control=decided(_slacker, gamma=Fraction(1, 2)),
        control_statement=r"the same with $\gamma=1/2$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="policy-cliff/incomplete-reward-gain",
        source="ours, sharpens Proposition 3.1",
        statement=(
            r"The loss is at least $\mathbb E_\pi[\gamma^{T}]\,A^\pi_{R_{missing}}(s_0,a_2)$, $T$ the first visit to "
            r"$s_0$ from $\mu$."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, "the conditions of Proposition 3.1"),
        check=_gain_check,
        control=partial(_gain_check, discounted=False),
        control_statement=r"it is at least $A^\pi_{R_{missing}}(s_0,a_2)$ whenever $s_0$ is reached.",
    ),
    claim(
        id="policy-cliff/incomplete-reward-general",
        source="ours, generalises Proposition 3.1",
        statement=(
            r"Action optimality is not needed: whenever $A^\pi_{R_{train}}(s_0,a) + A^\pi_{R_{missing}}(s_0,a) > 0$, "
            r"the loss is at least $\mathbb E_\pi[\gamma^{T}]$ times that sum."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, r"$\pi$ optimal for $R_{train}$"),
        check=partial(_gain_check, tied=False),
        control=partial(_gain_check, tied=False, discounted=False),
        control_statement="it is at least that sum whenever $s_0$ is reached.",
    ),
    claim(
        id="policy-cliff/tie-breaker",
        source="Proposition 3.2",
        statement=(
            r"At a tie of $a_1, a_2$ there is, for every $\varepsilon>0$, a reward with "
            r"$\|R'-R_0\|_\infty\le\varepsilon$ and $Q^*_{R'}(s_0,a_2) > Q^*_{R'}(s_0,a_1)$; checked for $\varepsilon$ "
            "down to $10^{-300}$ in rationals."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT, TIED),
        check=decided(_tie_breaker, tie=True),
        control=decided(_tie_breaker, tie=False),
        control_statement=r"the same for an action $a_2$ with gap 1.",
    ),
    claim(
        id="policy-cliff/tie-breaker-margin",
        source="ours, sharpens Proposition 3.2",
        statement=(
            r"The plain bonus does it: $R' = R_0+\varepsilon 1_{(s_0,a_2)}$ makes $a_2$ better than every other action "
            r"by at least $(1-\gamma)\varepsilon$."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, TIED),
        check=_margin_check,
        control=partial(_margin_check, discounted=False),
        control_statement=r"by at least $\varepsilon$.",
    ),
    claim(
        id="policy-cliff/accuracy-ties-lengths",
        source="Section 3.3, Promoting Efficient Reasoning",
        statement=(
            "Under an accuracy-only reward, short and long reasoning paths that reach the correct answer are equally "
            "optimal (in the paper's own MDP: infinite horizon, discount below 1, deterministic concatenation)."
        ),
        kind=Identity,
        premises=(FINITE, r"$\gamma\in(0,1)$", "reward 1 with the token that completes a correct answer, 0 else"),
        check=decided(_answers, same_length=False),
        control=decided(_answers, same_length=True),
        control_statement="paths of equal length that reach the correct answer are equally optimal.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="policy-cliff/accuracy-ties-equal-lengths",
        source="ours, repairs policy-cliff/accuracy-ties-lengths",
        statement=(
            "Under an accuracy-only reward with discount below 1, correct paths of equal length are equally optimal. "
            r"(A discount already prefers the short of two: $\gamma^{n-1}$ for $n$ tokens.)"
        ),
        kind=Identity,
        premises=(FINITE, r"$\gamma\in(0,1)$", "reward 1 with the token that completes a correct answer, 0 else"),
        check=decided(_answers, same_length=True),
        control=decided(_answers, same_length=False),
        control_statement="so are correct paths of different lengths.",
    ),
    claim(
        id="policy-cliff/tree-outcome-ties",
        source="Section 3.3, Spurious Reasoning",
        statement=(
            "With an outcome reward on a token tree (4 tokens, depth 6) exactly the next tokens that keep a correct "
            "answer within reach are optimal: faithful and spurious traces tie."
        ),
        kind=Identity,
        premises=(ILLUSTRATION,),
        check=_tree_ties,
        control=partial(_tree_ties, partial_credit=True),
        control_statement="the same with graded outcome rewards.",
    ),
    claim(
        id="policy-cliff/tree-bonus-snaps",
        source="Section 3.3, Enforcing Format and Style Consistency",
        statement=(
            "A process bonus of any size (down to $10^{-10}$) for beginning faithfully leaves one optimal first token "
            "where there were two: the policy snaps."
        ),
        kind=Identity,
        premises=(ILLUSTRATION,),
        check=_tree_snaps,
        control=partial(_tree_snaps, sizes=(0.0,)),
        control_statement="a bonus of 0 does so.",
    ),
    claim(
        id="policy-cliff/tree-soft",
        source="Proposition 4.7 on a token tree",
        statement=(
            r"The entropy-regularised policy at the prompt moves by at most $\frac{\varepsilon}{2\alpha(1-\gamma)}$ "
            r"under the bonus $\varepsilon$ at which the hard-max policy snaps."
        ),
        kind=Inequality,
        premises=(ILLUSTRATION, SOFT),
        check=_tree_soft_check,
        control=partial(_tree_soft_check, hard=True),
        control_statement="the policy uniform over optimal tokens moves by at most that.",
    ),
    claim(
        id="policy-cliff/length-penalty",
        source="Section 3.3, Promoting Efficient Reasoning",
        statement=(
            r"Without discounting, a price of $3\cdot10^{-4}$ a token leaves only the most concise correct traces "
            "optimal."
        ),
        kind=Identity,
        premises=(ILLUSTRATION, "undiscounted traces of at most 6 tokens"),
        check=_length_penalty,
        control=partial(_length_penalty, penalty=0.0),
        control_statement="a price of 0 does.",
    ),
    claim(
        id="policy-cliff/monitor-obfuscation",
        source="Section 5.1, A Deeper Failure",
        statement=(
            r"Fining transparent hacks by $c$ moves the optimum first to the *obfuscated* hack, at $c=\delta/(1-d)$, "
            r"and to honest work only at $c=(1-\delta-q)/d$ (cost of disguise $\delta$, leak $d$, honest success $q$)."
        ),
        kind=Identity,
        premises=(ILLUSTRATION, r"$\delta/(1-d) < 1-q$"),
        check=_monitor_check,
        control=partial(_monitor_check, obfuscates=False),
        control_statement=r"it moves straight to honest work, at $c = 1-q$.",
    ),
)
