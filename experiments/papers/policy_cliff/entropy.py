r"""Sections 3.4 and 4.4: what entropy and KL penalties do to the reward-policy map.

Proposition 4.7, Lemma C.2; and ours: the sharper span bound, the exact derivative, the limit of a vanishing penalty.
"""

from __future__ import annotations

from functools import partial
from math import inf, log
from typing import Any

import numpy as np
import sympy as sp
from scipy.special import softmax

from claimlab.checks import Array
from claimlab.experiments.papers.policy_cliff.common import (
    DISCOUNT,
    FINITE,
    GAMMA,
    SIZES,
    SOFT,
    WEIGHTS,
    WHOLE,
    claim,
    hard_cases,
    many,
    tied_mdp,
    two_sinks,
)
from claimlab.experiments.papers.policy_cliff.mixture import MIXED, effective, tuple_norm
from claimlab.mdps import batched
from claimlab.mdps.batched import MDPBatch
from claimlab.mdps.regularized import soft_solve
from claimlab.mdps.tabular import EPS, TabularMDP
from claimlab.theory.batched import dobrushin
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.soft import soft_limit, soft_policy_derivative
from claimlab.theory.spaces import Box, Case, Simplex, Space

# Proposition 4.7, Lemma C.2, the span bound -------------------------------------------------------------------------

SOFT_MIXED = Space(MIXED.sizes, {**MIXED.fields, "alpha": Box("", 0.05, 2.0)})


def _tv(p: Array, q: Array) -> Array:
    """The largest total variation over the states of each instance."""
    return np.asarray(abs(p - q).sum(axis=2).max(axis=1) / 2)


def _soft_lipschitz(P: Array, w: Array, R: Array, D: Array, gamma: Array, alpha: Array, *, factor: float) -> Trials:
    before = batched.soft_solve(MDPBatch(P, effective(w, R), gamma), alpha)
    after = batched.soft_solve(MDPBatch(P, effective(w, R + D), gamma), alpha)
    bound = factor * tuple_norm((R + D) - R) / (2 * alpha * (1 - gamma))
    # a softmax moves by at most half its argument's error, in the supremum norm, over alpha (Lemma C.2)
    error = (before.error + after.error) / (2 * alpha) + 16 * EPS
    return Trials(_tv(before.pi, after.pi), bound, error, trivial=1.0)


def _soft_witness(size: float = 1e-3) -> Case:
    """Two sinks, perturbed up on one side and down on the other: TV = tanh(e / (alpha (1 - gamma))) / 2."""
    sinks = two_sinks(0.9)
    P = sinks["P"]
    D = size * np.array([[[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]]])
    return {
        "P": P,
        "w": np.ones((3, 1)),
        "R": np.zeros((1, 3, 2)),
        "D": D,
        "gamma": sinks["gamma"],
        "alpha": np.array(0.3),
    }


def _soft_lipschitz_check(budget: Budget, factor: float = 1.0) -> Inequality:
    hard = [_soft_witness(), *hard_cases(SOFT_MIXED, budget.rng("hard"))]
    return attack(SOFT_MIXED, partial(_soft_lipschitz, factor=factor), many(budget), batched=True, hard=hard)


SOFT_PERTURBED = Space(
    SIZES,
    {"P": Simplex("SAS"), "R": Box("SA"), "D": Box("SA"), "gamma": GAMMA, "alpha": Box("", 0.05, 2.0)},
)


def _span(P: Array, R: Array, D: Array, gamma: Array, alpha: Array, *, factor: float) -> Trials:
    mdps, moved = MDPBatch(P, R, gamma), (R + D) - R
    before, after = batched.soft_solve(mdps, alpha), batched.soft_solve(MDPBatch(P, R + D, gamma), alpha)
    error = (before.error + after.error) / (2 * alpha) + 16 * EPS
    bound = factor * np.ptp(moved, axis=(1, 2)) / (4 * alpha * (1 - gamma * dobrushin(mdps)))
    paper = abs(moved).max(axis=(1, 2)) / (2 * alpha * (1 - gamma))
    return Trials(_tv(before.pi, after.pi), bound, error, trivial=np.minimum(1.0, paper))


def _span_check(budget: Budget, factor: float = 1.0) -> Inequality:
    witness = {name: x for name, x in _soft_witness().items() if name != "w"}
    hard = [witness | {"R": witness["R"][0], "D": witness["D"][0]}, *hard_cases(SOFT_PERTURBED, budget.rng("hard"))]
    return attack(SOFT_PERTURBED, partial(_span, factor=factor), many(budget), batched=True, hard=hard)


LOGITS = Space({"A": (1, 5)}, {"x": Box("A", -3, 3), "d": Box("A"), "alpha": Box("", 0.05, 2.0)})


def _softmax(x: Array, d: Array, alpha: Array, *, factor: float) -> Trials:
    y, temperature = x + d, alpha[:, None]
    moved = abs(softmax(x / temperature, axis=1) - softmax(y / temperature, axis=1)).sum(axis=1)
    bound = factor * abs(y - x).max(axis=1) / alpha
    return Trials(moved, bound, 64 * EPS * (1 + abs(x).max(axis=1) / alpha), trivial=2.0)


def _softmax_check(budget: Budget, factor: float = 1.0) -> Inequality:
    near = {"x": np.zeros(2), "d": np.array([1e-3, -1e-3]), "alpha": np.array(0.5)}
    return attack(LOGITS, partial(_softmax, factor=factor), many(budget), batched=True, hard=[near])


def _jacobian(budget: Budget, centred: bool = True) -> Identity:
    """The lemma's proof in computer algebra: (J v)_i = pi_i (v_i - v.pi) / alpha, and its L1 norm 4 p (1 - p) /
    alpha."""
    alpha, p, t = sp.symbols("alpha p t", positive=True)
    wrong = 0
    for d in (2, 3, 4):
        x, v = sp.symbols(f"x:{d}", real=True), sp.symbols(f"v:{d}", real=True)
        weights = [sp.exp(xi / alpha) for xi in x]
        pi = [weight / sum(weights) for weight in weights]
        mean = sum(a * b for a, b in zip(pi, v)) if centred else 0
        for i in range(d):
            directional = sum(sp.diff(pi[i], x[j]) * v[j] for j in range(d))
            wrong += sp.simplify(directional - pi[i] * (v[i] - mean) / alpha) != 0
    mean_sign = p - (1 - p)  # v = 1 on a set of probability p, -1 on the rest
    l1 = p * sp.Abs(1 - mean_sign) + (1 - p) * sp.Abs(-1 - mean_sign)
    wrong += sp.simplify(l1.subs(p, 1 / (1 + t)) - 4 * p.subs(p, 1 / (1 + t)) * (1 - 1 / (1 + t))) != 0
    wrong += sp.expand(1 - 4 * p * (1 - p) - (1 - 2 * p) ** 2) != 0  # so 4 p (1 - p) <= 1, with equality at 1/2
    return Identity(float(wrong), 0.0, 11, "sympy", {"wrong equations": wrong})


# the soft policy's derivative, its limit, its price: ours -----------------------------------------------------------

SOFT_ONE = Space(
    {"S": (1, 3), "A": (1, 3)},
    {"P": Simplex("SAS"), "R": Box("SA"), "D": Box("SA"), "gamma": Box("", 0.0, 0.9), "alpha": Box("", 0.05, 2.0)},
)


def _complex_step(P: Array, R: Array, D: Array, gamma: float, alpha: float) -> Array:
    """Directional derivative of the soft policy without differencing: the imaginary part at R + 1e-30 i D."""
    q: Any = R + 1e-30j * D
    r = q.copy()
    for _ in range(2 + int(log(1e-19) / log(max(gamma, 1e-9)))):
        q = r + gamma * (P @ (alpha * _logsumexp(q / alpha)))
    return np.imag(np.exp(q / alpha - _logsumexp(q / alpha)[:, None])) / 1e-30


def _logsumexp(x: Any) -> Any:
    top = x.real.max(axis=1)
    return top + np.log(np.exp(x - top[:, None]).sum(axis=1))


def _derivative(P: Array, R: Array, D: Array, gamma: Array, alpha: Array, *, centred: bool) -> Trial:
    mdp, temperature = TabularMDP(P, R, float(gamma)), float(alpha)
    J = soft_policy_derivative(mdp, temperature)
    formula = np.einsum("satb,tb->sa", J, D)
    if not centred:
        pi = soft_solve(mdp, temperature).pi
        onward = (P[..., None] * pi).reshape(R.size, R.size)
        formula = pi / temperature * np.linalg.solve(np.eye(R.size) - mdp.gamma * onward, D.ravel()).reshape(R.shape)
    residual = abs(formula - _complex_step(P, R, D, mdp.gamma, temperature)).max()
    # a relative error of pi is one of q / alpha; J is of size 1 / (alpha (1 - gamma)); its solve adds 1 / (1 - gamma)
    size = (1 + (1 + mdp.value_bound) / temperature) / (temperature * (1 - mdp.gamma) ** 2)
    return Trial(float(residual), size * (64 * R.size * EPS + 4 * soft_solve(mdp, temperature).error / temperature))


def _derivative_check(budget: Budget, centred: bool = True) -> Identity:
    return equate(SOFT_ONE, partial(_derivative, centred=centred), budget)


LIMITS = Space({"S": (1, 4), "A": (1, 3)}, {"P": Simplex("SAS"), "q": WHOLE, "gamma": Box("", 0.0, 0.95)})


def _cold(mdp: TabularMDP) -> float:
    """A temperature at which suboptimal actions (gaps of one at least) have lost all but 1e-17 of their weight.

    The soft value exceeds v* by at most alpha log A / (1 - gamma), so a suboptimal action's log-weight relative to an
    optimal one's is at most -1/alpha + gamma log A / (1 - gamma).
    """
    return 1 / (40 + log(mdp.n_actions) * (1 + 2 * mdp.gamma / (1 - mdp.gamma)))


def _limit(P: Array, q: Array, gamma: Array, *, uniform: bool) -> Trial | None:
    mdp, best = tied_mdp(P, q, float(gamma))
    alpha = _cold(mdp)
    cold = soft_solve(mdp, alpha, 1e-13 * (1 + mdp.value_bound) / (1 - mdp.gamma))
    limit = best / best.sum(axis=1, keepdims=True) if uniform else soft_limit(mdp, optimal=best)
    # inverse Bellman rounds the reward, so ties are off by a few units in the last place, seen through 1 / alpha
    rounding = 4 * cold.error / alpha + 16 * EPS * (1 + mdp.value_bound) / (alpha * (1 - mdp.gamma))
    return Trial(float(abs(cold.pi - limit).max()), rounding + SOFT_TOLERANCE)


SOFT_TOLERANCE = 1e-9  # soft_limit solves to 1e-9 at temperature one, and a softmax moves by less than its argument


def _fork() -> Case:
    """s0 chooses between s1 with two optimal actions and s2 with one: the limit is (2^gamma, 1) / (2^gamma + 1)."""
    P = np.zeros((3, 2, 3))
    P[0, 0, 1] = P[0, 1, 2] = P[1, :, 1] = P[2, :, 2] = 1
    P[1, :, 1], P[1, :, 2] = 0, 1
    return {"P": P, "q": np.array([[0.0, 0.0], [0.0, 0.0], [0.0, -1.0]]), "gamma": np.array(0.9)}


def _limit_check(budget: Budget, uniform: bool = False) -> Identity:
    return equate(LIMITS, partial(_limit, uniform=uniform), budget, hard=[_fork()])


CLOSEST = Space(
    {"S": (1, 3), "A": (2, 3)},
    {
        "P": Simplex("SAS"),
        "q": WHOLE,
        "base": Simplex("SA"),
        "other": Simplex("SA"),
        "gamma": Box("", 0, 0.9),
    },
)


def _divergence(P: Array, pi: Array, base: Array, gamma: float) -> Array:
    """Discounted sum of KL(pi || base) from each state, float[S]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.where(pi > 0, pi * np.log(pi / base), 0.0).sum(axis=1)
    P_pi = np.einsum("sa,sat->st", pi, P)
    return np.linalg.solve(np.eye(len(kl)) - gamma * P_pi, kl)


def _closest(P: Array, q: Array, base: Array, other: Array, gamma: Array, *, uniform: bool) -> Trial | None:
    """The policy of a vanishing KL penalty against some other optimal policy, at the state where it does worst."""
    mdp, best = tied_mdp(P, q, float(gamma))
    base = 0.9 * base + 0.1 / base.shape[1]  # full support
    mass = np.where(best, other, 0.0).sum(axis=1, keepdims=True)
    if (mass == 0).any():
        return None
    rival = np.where(best, other, 0.0) / mass
    cold = _cold(mdp) / (1 + log(10 * best.shape[1]))
    soft = soft_solve(mdp, cold, base=base)
    ours = np.where(best, 1.0 if uniform else soft.pi, 0.0)
    ours = ours / ours.sum(axis=1, keepdims=True)
    mine, theirs = (_divergence(P, pi, base, mdp.gamma) for pi in (ours, rival))
    s = int((mine - theirs).argmax())
    # log-ratios of the policy are off by 2 error / alpha and by the ties' rounding; log(pi / base) is at most log(30)
    off = 2 * soft.error / cold + 16 * EPS * (1 + mdp.value_bound) / (cold * (1 - mdp.gamma))
    error = 2 * off * (1 + log(30)) / (1 - mdp.gamma) ** 2
    return Trial(mine[s], theirs[s], error)


def _closest_check(budget: Budget, uniform: bool = False) -> Inequality:
    return attack(CLOSEST, partial(_closest, uniform=uniform), budget)


def _soft_value(P: Array, R: Array, gamma: Array, alpha: Array, *, factor: float) -> Trials:
    """The two-sided bound: where the lower side fails, that failure is the trial."""
    mdps = MDPBatch(P, R, gamma)
    soft, hard = batched.soft_solve(mdps, alpha), batched.solve(mdps, inf)
    above, error = soft.v - hard.v, soft.error + hard.error
    below, upper = -above.min(axis=1), factor * alpha * log(R.shape[2]) / (1 - gamma)
    failed = below > error
    return Trials(np.where(failed, below, above.max(axis=1)), np.where(failed, 0.0, upper), error)


def _soft_value_check(budget: Budget, factor: float = 1.0) -> Inequality:
    tied = {"P": np.ones((1, 3, 1)), "R": np.zeros((1, 3)), "gamma": np.array(0.9), "alpha": np.array(0.5)}
    return attack(PRICED, partial(_soft_value, factor=factor), many(budget), batched=True, hard=[tied])


PRICED = Space(
    {"S": (1, 3), "A": (2, 24)}, {"P": Simplex("SAS"), "R": Box("SA"), "gamma": GAMMA, "alpha": Box("", 0.05, 2.0)}
)


def _price(P: Array, R: Array, gamma: Array, alpha: Array, *, factor: float) -> Trials:
    mdps = MDPBatch(P, R, gamma)
    soft, hard = batched.soft_solve(mdps, alpha), batched.solve(mdps, inf)
    achieved = batched.policy_value(mdps, soft.pi)
    bound = factor * alpha * log(R.shape[2]) / (1 - gamma)
    error = hard.error + achieved.error + 2 * soft.error / (1 - gamma)
    return Trials((hard.v - achieved.v).max(axis=1), bound, error, trivial=2 * mdps.value_bound)


def _price_check(budget: Budget, factor: float = 1.0) -> Inequality:
    one_good = {"P": np.ones((1, 24, 1)), "R": np.r_[1.0, np.zeros(23)][None] * 2 - 1}
    hard = [one_good | {"gamma": np.array(0.9), "alpha": np.array(a)} for a in (0.3, 0.4, 0.5, 0.6, 0.8)]
    return attack(PRICED, partial(_price, factor=factor), many(budget), batched=True, hard=hard)


CLAIMS = (
    claim(
        id="policy-cliff/soft-lipschitz",
        source="Proposition 4.7",
        statement=(
            r"$d_{TV}(\pi_{\mathbf R_1,\alpha}(\cdot|s), \pi_{\mathbf R_2,\alpha}(\cdot|s)) \le "
            r"\frac{1}{2\alpha(1-\gamma)}\|\mathbf R_1-\mathbf R_2\|_N$ for every state. The constant is the best "
            r"possible: two absorbing states attain $\frac12\tanh\frac{\varepsilon}{\alpha(1-\gamma)}$."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, WEIGHTS, SOFT),
        check=_soft_lipschitz_check,
        control=partial(_soft_lipschitz_check, factor=0.9),
        control_statement=r"the constant is $\frac{0.9}{2\alpha(1-\gamma)}$.",
    ),
    claim(
        id="policy-cliff/soft-span",
        source="ours, sharpens Proposition 4.7",
        statement=(
            r"$d_{TV} \le \frac{\max D-\min D}{4\alpha(1-\gamma\tau)}$ with $D = R_1-R_2$ and $\tau$ the Dobrushin "
            "coefficient of the transitions; it implies the paper's bound."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, SOFT),
        check=_span_check,
        control=partial(_span_check, factor=0.9),
        control_statement="the same with 0.9 times the bound.",
    ),
    claim(
        id="policy-cliff/softmax-lipschitz",
        source="Lemma C.2",
        statement=r"$\|\mathrm{softmax}(x/\alpha)-\mathrm{softmax}(y/\alpha)\|_1 \le \frac1\alpha\|x-y\|_\infty$.",
        kind=Inequality,
        premises=(SOFT,),
        check=_softmax_check,
        control=partial(_softmax_check, factor=0.9),
        control_statement=r"the constant is $\frac{0.9}{\alpha}$.",
    ),
    claim(
        id="policy-cliff/softmax-jacobian",
        source="Lemma C.2, proof",
        statement=(
            r"$(J v)_i = \frac1\alpha\pi_i(v_i-\bar v)$ with $\bar v = \sum_k\pi_kv_k$, and "
            r"$\|Jv\|_1 = 4p(1-p)/\alpha \le 1/\alpha$ for sign vectors $v$ that are $+1$ with probability $p$."
        ),
        kind=Identity,
        premises=(SOFT,),
        check=_jacobian,
        control=partial(_jacobian, centred=False),
        control_statement=r"$(J v)_i = \frac1\alpha\pi_iv_i$.",
    ),
    claim(
        id="policy-cliff/soft-derivative",
        source="ours, the local form of Proposition 4.7",
        statement=(
            r"$dQ = (I-\gamma P\Pi_\alpha)^{-1}dR$ and $d\pi(a|s) = "
            r"\frac{\pi(a|s)}{\alpha}\big(dQ(s,a)-\sum_b\pi(b|s)dQ(s,b)\big)$, against complex-step differentiation."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT, SOFT),
        check=_derivative_check,
        control=partial(_derivative_check, centred=False),
        control_statement="the same without subtracting the mean.",
    ),
    claim(
        id="policy-cliff/soft-limit-uniform",
        source="ours, Proposition 2.10 against Section 4.4",
        statement=(
            "The uniform rule of Proposition 2.10 is what entropy regularisation selects as it vanishes: "
            r"$\pi_{R,\alpha}(\cdot|s)$ tends to the uniform law on $A^*(s;R)$ as $\alpha\to0$. (The paper uses both "
            "rules and does not say so.)"
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT),
        check=partial(_limit_check, uniform=True),
        control=_limit_check,
        control_statement=r"the limit is $\pi_0(a|s)\propto 1[a\in A^*(s)]e^{\gamma\mathbb E[H(s')]}$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="policy-cliff/soft-limit",
        source="ours, repairs policy-cliff/soft-limit-uniform",
        statement=(
            r"As $\alpha\to0$ the soft policy tends to $\pi_0(a|s)\propto 1[a\in A^*(s)]e^{\gamma\mathbb "
            r"E[H(s')|s,a]}$ with $H(s)=\log\sum_{a\in A^*(s)}e^{\gamma\mathbb E[H(s')|s,a]}$: it prefers actions with "
            "more optimal futures."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT),
        check=_limit_check,
        control=partial(_limit_check, uniform=True),
        control_statement=r"it tends to the uniform law on $A^*(s)$.",
    ),
    claim(
        id="policy-cliff/kl-closest",
        source="Section 3.4, made precise",
        statement=(
            "A KL penalty breaks ties towards the optimal policy that is closest to the base model: as the penalty "
            "vanishes, its policy has the least discounted divergence from the base among all optimal policies, from "
            "every state."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, "a base policy of full support"),
        check=_closest_check,
        control=partial(_closest_check, uniform=True),
        control_statement="the uniform policy over optimal actions has the least divergence.",
    ),
    claim(
        id="policy-cliff/soft-value",
        source="ours, on the trade-off of Section 4.4",
        statement=r"The regularised value is close above: $0 \le V_\alpha-V^* \le \frac{\alpha\log|A|}{1-\gamma}$.",
        kind=Inequality,
        premises=(FINITE, DISCOUNT, SOFT),
        check=_soft_value_check,
        control=partial(_soft_value_check, factor=0.9),
        control_statement="the upper end is 0.9 times that.",
    ),
    claim(
        id="policy-cliff/soft-price",
        source="ours, on the trade-off of Section 4.4",
        statement=r"Stability costs at most $V^*-V^{\pi_\alpha} \le \frac{\alpha\log|A|}{1-\gamma}$.",
        kind=Inequality,
        premises=(FINITE, DISCOUNT, SOFT),
        check=_price_check,
        control=partial(_price_check, factor=0.4),
        control_statement="it costs at most 0.4 times that.",
    ),
)
