r"""Single-stream Policy Optimization (SPO): one answer a prompt, and a value tracker instead of a group.

The tracker of a prompt counts successes and failures with forgetting: after a reward r in {0, 1},
:math:`\alpha\leftarrow\rho\alpha+r`, :math:`\beta\leftarrow\rho\beta+1-r` (Eq. 4-5), and
:math:`\hat v=\alpha/(\alpha+\beta)`.  Identities are enumerated: trackers over all reward strings, groups over all
answers.  Accuracy at equal samples on tasks needs a model.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache, partial
from itertools import product
from math import sqrt
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sympy as sp
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Comparison, Identity, Inequality, Outcome, comparison
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="spo",
    title="Single-stream Policy Optimization",
    authors="Zhongwen Xu, Zihan Ding",
    venue="arXiv, 2025",
    arxiv="2509.13232",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

BERNOULLI = "rewards in {0, 1}, independent given the prompt and the policy"
SOFTMAX = "a softmax policy over finitely many answers"

# The tracker


def _exactly(x: Any) -> Fraction:
    return Fraction(float(x)).limit_denominator(10**6)


def _ema(alpha: Array, beta: Array, rho: Array, r: Array, *, extra: int) -> Trial:
    """Eq. 5 against its form as an exponential moving average, Eq. 7, in rationals."""
    a, b, forget, reward = map(_exactly, (alpha, beta, rho, r))
    v, n = a / (a + b), a + b + extra
    tracked = (forget * a + reward) / (forget * (a + b) + 1)
    return Trial(float(abs(v + (reward - v) / (forget * n + 1) - tracked)), 0.0)


def _ema_check(budget: Budget, extra: int = 0) -> Identity:
    fields = {"alpha": Box("", 0.1, 20), "beta": Box("", 0.1, 20), "rho": Box("", 0.5, 1), "r": Box("", 0, 1, step=1)}
    return equate(Space({}, fields), partial(_ema, extra=extra), budget, proof="rational")


def tracker(rewards: tuple[int, ...], rho: Fraction) -> Fraction:
    """The tracked value after `rewards`, from no counts at all."""
    a = b = Fraction(0)
    for r in rewards:
        a, b = rho * a + r, rho * b + 1 - r
    return a / (a + b)


def _tracker_variance(p: Array, rho: Array, n: Array, *, printed: bool) -> Trial:
    """The variance over all 2^n reward strings against ours; `printed` takes the limit for every n."""
    q, forget, length = _exactly(p), _exactly(rho), int(n)
    mean = square = Fraction(0)
    for rewards in product((0, 1), repeat=length):
        weight = q ** sum(rewards) * (1 - q) ** (length - sum(rewards))
        v = tracker(rewards, forget)
        mean, square = mean + weight * v, square + weight * v * v
    transient = 1 if printed else (1 + forget**length) / (1 - forget**length)
    stated = q * (1 - q) * (1 - forget) / (1 + forget) * transient
    return Trial(float(abs(square - mean * mean - stated) + abs(mean - q)), 0.0)


def _tracker_variance_check(budget: Budget, printed: bool = False) -> Identity:
    fields = {"p": Box("", 0, 1), "rho": Box("", 0.5, 0.96), "n": Box("", 1, 7, step=1)}
    measure = partial(_tracker_variance, printed=printed)
    return equate(Space({}, fields), measure, budget.with_instances(min(budget.instances, 200)), proof="rational")


# Degenerate groups, in symbols


def _waiting_check(budget: Budget, offset: int = 1) -> Identity:
    """The series of the number of draws until both outcomes were seen, summed by sympy."""
    p, x = sp.symbols("p x", positive=True)
    k = sp.symbols("k", integer=True, positive=True)
    # P(N = k) = p^(k-1) (1-p) + (1-p)^(k-1) p for k >= 2; the series is summed where it converges, 0 < x < 1
    series = sp.Piecewise(*sp.summation(k * x**k, (k, 1, sp.oo)).args).args[0].args[0] / x - 1
    expected = series.subs(x, p) * (1 - p) + series.subs(x, 1 - p) * p
    residual = sp.simplify(expected - (1 / (p * (1 - p)) - offset))
    return Identity(float(residual != 0), 0.0, 1, "sympy", {"residual": str(residual)})


def _degenerate(p: Array, G: Array, *, draws: int) -> Trial:
    """Groups without signal: all rewards equal, by enumeration in rationals."""
    q, size = _exactly(p), int(G)
    total = Fraction(0)
    for rewards in product((0, 1), repeat=size):
        if len(set(rewards)) == 1:
            total += q ** sum(rewards) * (1 - q) ** (size - sum(rewards))
    power = size + draws
    return Trial(float(abs(total - q**power - (1 - q) ** power)), 0.0)


def _degenerate_check(budget: Budget, draws: int = 0) -> Identity:
    space = Space({}, {"p": Box("", 0, 1), "G": Box("", 2, 8, step=1)})
    measure = partial(_degenerate, draws=draws)
    return equate(space, measure, budget.with_instances(min(budget.instances, 300)), proof="rational")


# Appendix C: the variance of rewards less a baseline


def _inflation(p: Array, G: Array, *, baseline: str, factor: str) -> Trial:
    """The variance of r - b over that of r - p, enumerated: b the mean of the own group, of the others, or
    another's."""
    q, size = _exactly(p), int(G)
    others = {"own": size - 1, "others": size - 1, "independent": size}[baseline]
    mean = square = Fraction(0)
    for r in (0, 1):
        for successes in range(others + 1):
            ways = Fraction(_choose(others, successes))
            weight = (q if r else 1 - q) * ways * q**successes * (1 - q) ** (others - successes)
            b = Fraction(successes + r, size) if baseline == "own" else Fraction(successes, others)
            mean, square = mean + weight * (r - b), square + weight * (r - b) ** 2
    change = {"1+1/G": Fraction(1, size), "1-1/G": Fraction(-1, size), "1+1/(G-1)": Fraction(1, max(size - 1, 1))}
    return Trial(float(abs(square - mean * mean - q * (1 - q) * (1 + change[factor]))), 0.0)


def _choose(n: int, k: int) -> int:
    return int(sp.binomial(n, k))


def _inflation_check(budget: Budget, baseline: str, factor: str) -> Identity:
    space = Space({}, {"p": Box("", 0, 1), "G": Box("", 2, 16, step=1)})
    measure = partial(_inflation, baseline=baseline, factor=factor)
    return equate(space, measure, budget.with_instances(min(budget.instances, 300)), proof="rational")


# The baseline of least variance


def _variances(logits: Array, r: Array) -> tuple[Array, Array, Array]:
    """Law of the answers, squared norm of their scores, and the value, float[n, K], float[n, K], float[n, 1]."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    pi = weights / weights.sum(axis=1, keepdims=True)
    score = 1 - 2 * pi + (pi**2).sum(axis=1, keepdims=True)  # |e_a - pi|^2
    return pi, score, (pi * r).sum(axis=1, keepdims=True)


def _second_moment(pi: Array, score: Array, r: Array, b: Array) -> Array:
    """E |(r - b) score|^2; the mean of the estimator is the same for every b, so this orders variances."""
    moment: Array = (pi * score * (r - b) ** 2).sum(axis=1)
    return moment


def _best_baseline(logits: Array, r: Array, b: Array, *, baseline: str) -> Trials:
    pi, score, v = _variances(logits, r)
    total = (pi * score).sum(axis=1, keepdims=True)
    best = (pi * score * r).sum(axis=1, keepdims=True) / np.where(total > 0, total, 1.0)
    chosen, other = (v, best) if baseline == "value" else (best, b[:, None])
    error = 64 * EPS * (1 + abs(b)) ** 2 + 1e-300
    return Trials(_second_moment(pi, score, r, chosen), _second_moment(pi, score, r, other), error)


def _best_baseline_check(budget: Budget, baseline: str) -> Inequality:
    space = Space({"K": (1, 4)}, {"logits": Box("K", -7, 7), "r": Box("K", 0, 1), "b": Box("", -1, 2)})
    sure = {"logits": np.array([7.0, -7.0]), "r": np.array([1.0, 0.0]), "b": np.array(0.0)}
    measure = partial(_best_baseline, baseline=baseline)
    return attack(space, measure, budget.with_instances(20 * budget.instances), batched=True, hard=[sure])


# Expected gradients, over all groups of G answers


def group_gradient(pi: Array, r: Array, G: int, signal: str) -> Array:
    """E of (1/G) sum_i A_i score_i over all K^G groups; float[K] in the logits."""
    K, total = len(pi), np.zeros(len(pi))
    for answers in product(range(K), repeat=G):
        a = np.array(answers)
        rewards, weight = r[a], pi[a].prod()
        centred = rewards - rewards.mean()
        if signal == "rloo":
            centred = centred * G / (G - 1)
        elif signal == "std":
            centred = centred / rewards.std() if rewards.std() > 0 else 0 * centred
        elif signal == "fixed":
            centred = rewards - r.min()
        total += weight * (centred[:, None] * (np.eye(K)[a] - pi)).mean(axis=0)
    return total


def _factor(signal: str, p: float, G: int) -> float:
    """What the expected gradient is of that of p: for the std of binary rewards, a mean over the binomial law."""
    if signal == "mean":
        return 1 - 1 / G
    if signal == "std":
        law = [_choose(G, k) * p**k * (1 - p) ** (G - k) for k in range(G + 1)]
        return sum(w * sqrt(k * (G - k)) for k, w in enumerate(law)) / (G * p * (1 - p)) if 0 < p < 1 else 0.0
    return 1.0


def _expected(pi: Array, r: Array, G: Array, *, signal: str, stated: str) -> Trial | None:
    size, p = int(G), float((pi * r).sum())
    if p < 1e-3 or p > 1 - 1e-3:
        return None
    gradient = pi * (r - p)
    residual = group_gradient(pi, r, size, signal) - _factor(stated, p, size) * gradient
    return Trial(abs(residual).max(), 512 * len(pi) ** size * EPS)


def _expected_check(budget: Budget, signal: str, stated: str) -> Identity:
    space = Space({"K": (1, 3)}, {"pi": Simplex("K"), "r": Box("K", 0, 1, step=1), "G": Box("", 2, 5, step=1)})
    measure = partial(_expected, signal=signal, stated=stated)
    return equate(space, measure, budget.with_instances(min(budget.instances, 200)))


# A population of prompts whose difficulties drift

PROMPTS, SAMPLES, GROUP, UPDATES, DRIFT = 256, 64, 8, 200, 2.0


@lru_cache(maxsize=8)
def errors(runs: int, seed: int, drift: float = DRIFT, period: int = 0) -> tuple[Array, Array]:
    """Mean squared errors of the two gradient estimates at equal samples, float[runs] each: single stream and groups.

    A prompt x is solved with probability sigma(theta + c_x); theta rises by `drift` over the run; the gradient is that
    in theta of the mean success.  The tracker starts at the truth, with rho = 0.96; the group has its mean without the
    own answer (unbiased).  Second half of the run.  With a `period` theta swings by `drift` that often instead.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 71]))
    hardness = 2 * rng.standard_normal((runs, PROMPTS))
    tracked = np.stack([p := _sigmoid(hardness), 1 - p]) / (1 - 0.875)
    single, grouped, rows = np.zeros(runs), np.zeros(runs), np.arange(runs)[:, None]
    for update in range(UPDATES):
        theta = drift * ((update // period) % 2 - 0.5) if period else drift * update / UPDATES
        p = _sigmoid(hardness + theta)
        truth = (p * (1 - p)).mean(axis=1)
        order = np.argsort(rng.random((runs, PROMPTS)), axis=1)
        one, few = order[:, :SAMPLES], order[:, : SAMPLES // GROUP]
        r = (rng.random((runs, SAMPLES)) < p[rows, one]).astype(float)
        v = tracked[0, rows, one] / tracked[:, rows, one].sum(axis=0)
        estimate = ((r - v) * (r - p[rows, one])).mean(axis=1)
        rg = (rng.random((runs, SAMPLES // GROUP, GROUP)) < p[rows, few][..., None]).astype(float)
        loo = (rg - rg.mean(axis=2, keepdims=True)) * GROUP / (GROUP - 1)
        grouped_estimate = (loo * (rg - p[rows, few][..., None])).mean(axis=(1, 2))
        tracked[0, rows, one] = 0.96 * tracked[0, rows, one] + r
        tracked[1, rows, one] = 0.96 * tracked[1, rows, one] + 1 - r
        if update >= UPDATES // 2:
            single += (estimate - truth) ** 2
            grouped += (grouped_estimate - truth) ** 2
    return single / (UPDATES - UPDATES // 2), grouped / (UPDATES - UPDATES // 2)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _population_check(budget: Budget, swapped: bool = False) -> Comparison:
    """The logarithm of the ratio of the errors, groups over single stream; a tenth is the least of interest."""
    runs = {"smoke": 100, "standard": 400}.get(budget.name, 2_000)
    single, grouped = errors(runs, budget.seed)
    first, second = (single, grouped) if swapped else (grouped, single)
    return comparison(np.log(first), np.log(second), effect=float(np.log(1.1)), rng=budget.rng("bootstrap"))


# The size of the tracker, batches, priorities, the measure of change


def _size(rho: Array, start: Array, n: Array, *, limit: bool) -> Trial:
    """alpha + beta after n rewards against its closed form, or against its limit."""
    forget, total, length = _exactly(rho), _exactly(start), int(n)
    stated = 1 / (1 - forget) + (0 if limit else forget**length * (total - 1 / (1 - forget)))
    for _ in range(length):
        total = forget * total + 1
    return Trial(float(abs(total - stated)), 0.0)


def _size_check(budget: Budget, limit: bool = False) -> Identity:
    fields = {"rho": Box("", 0.5, 0.96), "start": Box("", 1, 20), "n": Box("", 0, 20, step=1)}
    return equate(Space({}, fields), partial(_size, limit=limit), budget, proof="rational")


def _batch(pi: Array, r: Array, v: Array, B: Array, *, corrected: bool) -> Trial:
    """E of (1/B) sum_i (A_i - mean A) score_i over batches of uniform prompts with fixed baselines, float[X, K]."""
    X, K = pi.shape
    size, total = int(B), np.zeros(pi.shape)
    for batch in product(range(X * K), repeat=size):
        x, y = np.divmod(np.array(batch), K)
        A = r[x, y] - v[x]
        A = A - A.mean()
        weight = pi[x, y].prod() / X**size
        for i in range(size):
            total[x[i]] += weight * A[i] * (np.eye(K)[y[i]] - pi[x[i]]) / size
    gradient = pi * (r - (pi * r).sum(axis=1, keepdims=True)) / X
    return Trial(float(abs(total - (1 - 1 / size if corrected else 1) * gradient).max()), 4096 * EPS)


def _batch_check(budget: Budget, corrected: bool = True) -> Identity:
    fields = {"pi": Simplex("XK"), "r": Box("XK", 0, 1, step=1), "v": Box("X", 0, 1), "B": Box("", 1, 3, step=1)}
    measure = partial(_batch, corrected=corrected)
    return equate(Space({"X": (1, 2), "K": (1, 2)}, fields), measure, budget.with_instances(min(budget.instances, 200)))


def _priority(pi: Array, r: Array, v: Array, *, importance: bool, stated: str) -> Trial:
    """The expected gradient when prompts are drawn by sqrt(v(1 - v)) + 0.05, against that of sum w p or of mean p."""
    weight = np.sqrt(v * (1 - v)) + 0.05
    weight = weight / weight.sum()
    X = len(v)
    of_prompt = pi * (r - (pi * r).sum(axis=1, keepdims=True))
    correction = 1 / (X * weight) if importance else np.ones(X)
    found = (weight * correction)[:, None] * of_prompt
    target = (weight if stated == "weighted" else np.full(X, 1 / X))[:, None] * of_prompt
    return Trial(float(abs(found - target).max()), 64 * EPS)


def _priority_check(budget: Budget, importance: bool = False, stated: str = "uniform") -> Identity:
    space = Space({"X": (1, 4), "K": (1, 3)}, {"pi": Simplex("XK"), "r": Box("XK", 0, 1), "v": Box("X", 0, 1)})
    return equate(space, partial(_priority, importance=importance, stated=stated), budget)


def _change(old: Array, new: Array, at: Array, *, stored: bool) -> Trials:
    """KL(old, new) against |log new - log old| of one stored answer, or its mean over the old policy."""
    p, q = (0.98 * x + 0.02 / x.shape[1] for x in (old, new))
    gaps = np.log(p / q)
    one = abs(gaps)[np.arange(len(p)), np.minimum((at * p.shape[1]).astype(int), p.shape[1] - 1)]
    return Trials((p * gaps).sum(axis=1), one if stored else (p * abs(gaps)).sum(axis=1), 64 * EPS)


def _change_check(budget: Budget, stored: bool = True) -> Inequality:
    space = Space({"K": (2, 4)}, {"old": Simplex("K"), "new": Simplex("K"), "at": Box("", 0, 0.999)})
    moved = {"old": np.full(3, 1 / 3), "new": np.array([1 / 3, 2 / 3, 0.0]), "at": np.array(0.0)}
    many = budget.with_instances(20 * budget.instances)
    return attack(space, partial(_change, stored=stored), many, batched=True, hard=[moved])


def forgetting(D: float, half: float = 0.06) -> float:
    r""":math:`\rho=\mathrm{clip}(2^{-D/D_{half}},0.875,0.96)`."""
    return float(np.clip(2 ** (-D / half), 0.875, 0.96))


def _first_check(budget: Budget, D: float = 0.0) -> Inequality:
    """One instance: a prompt without a stored answer has D = 0; is its rho the smaller one, of the short window?"""
    rho = forgetting(D)
    return Inequality(rho / 0.875, rho - 0.875, 4 * EPS, 1, 1, 1, 1, {"D": D, "rho": rho})


# Waiting for answers: 24 of 48


@lru_cache(maxsize=4)
def waits(sigma: float, runs: int, seed: int) -> tuple[Array, Array, Array]:
    """Times until 24 answers are there, by groups and one by one, and the mean log latency of the latter's answers.

    48 answers start together with log-normal latencies, log-deviation `sigma`: the first three complete groups of eight
    of six, or the first 24 answers.
    """
    logs = sigma * np.random.default_rng(np.random.SeedSequence([seed, 24])).standard_normal((runs, 6, 8))
    grouped = np.sort(logs.max(axis=2), axis=1)[:, 2]
    ordered = np.sort(logs.reshape(runs, -1), axis=1)
    return grouped, ordered[:, 23], ordered[:, :24].mean(axis=1)


def _wait_check(budget: Budget, sigma: float = 1.0) -> Comparison:
    runs = {"smoke": 400, "standard": 2_000}.get(budget.name, 10_000)
    grouped, single, _ = waits(sigma, runs, budget.seed)
    return comparison(grouped, single, effect=float(np.log(2)), rng=budget.rng("bootstrap"))


def _short_check(budget: Budget, reverse: bool = False) -> Comparison:
    """The mean log latency of all answers, 0, less that of the first 24 at deviation one."""
    runs = {"smoke": 400, "standard": 2_000}.get(budget.name, 10_000)
    first = waits(1.0, runs, budget.seed)[2]
    pair = (first, np.zeros(runs)) if reverse else (np.zeros(runs), first)
    return comparison(*pair, effect=0.5, rng=budget.rng("bootstrap"))


def _swing_check(budget: Budget, swapped: bool = False) -> Comparison:
    """As :func:`_population_check`, logits swinging by 8 every four updates: once a visit."""
    runs = {"smoke": 30, "standard": 200}.get(budget.name, 1_000)
    single, grouped = errors(runs, budget.seed, 8.0, 4)
    first, second = (single, grouped) if swapped else (grouped, single)
    return comparison(np.log(first), np.log(second), effect=float(np.log(1.1)), rng=budget.rng("bootstrap"))


# Figure


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 2.2))
    sizes, rows = np.arange(2, 33), []
    for label, y, style in (
        ("own mean: 1 − 1/G", 1 - 1 / sizes, "-"),
        ("as printed: 1 + 1/G", 1 + 1 / sizes, "--"),
        ("others' mean: 1 + 1/(G − 1)", 1 + 1 / (sizes - 1), "-."),
    ):
        axes[0].plot(sizes, y, style, label=label)
        rows += [{"panel": "variance of r - b", "series": label, "x": x, "y": v} for x, v in zip(sizes, y)]
    axes[0].set(xlabel="group size G", ylabel="variance, over that of r − p", ylim=(0.4, 2.6))
    axes[0].legend(loc="upper right", fontsize=6)
    p = np.linspace(0.01, 0.99, 99)
    for G in (4, 8, 16):
        y = p**G + (1 - p) ** G
        axes[1].plot(p, y, label=f"G = {G}")
        rows += [{"panel": "degenerate groups", "series": f"G = {G}", "x": x, "y": v} for x, v in zip(p, y)]
    axes[1].set(xlabel="success probability p", ylabel="share of groups without signal", ylim=(0, 1))
    axes[1].legend()
    drifts = np.array([0.0, 1.0, 2.0, 4.0, 8.0])
    ratio = np.array([np.divide(*errors(40, 1, float(d))[::-1]) for d in drifts])
    axes[2].fill_between(drifts, *np.quantile(ratio, (0.1, 0.9), axis=1), alpha=0.25, lw=0)
    axes[2].plot(drifts, ratio.mean(axis=1), marker="o")
    axes[2].axhline(1, color="black", lw=0.8, ls="--")
    axes[2].set(xlabel="drift of the logits over the run", ylabel="squared error: groups / SPO", ylim=(0, None))
    rows += [{"panel": "errors", "series": "mean", "x": d, "y": y} for d, y in zip(drifts, ratio.mean(axis=1))]
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "group-against-stream",
        r"Left: the variance of $r-b$ for three baselines of $G$ answers; Appendix C takes the second for the first. "
        r"Middle: groups without signal. Right: squared error of the gradient estimate at equal samples, groups of 8 "
        r"over "
        r"a single stream with the tracker, in a population of 256 drifting prompts (mean and 10-90 % band of 40 "
        r"runs).",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="spo/tracker-is-an-average",
        source="Eq. 5 and 7, corrected",
        statement=r"The tracker is $\hat v\leftarrow\hat v+\eta(r-\hat v)$ with $\eta=1/(\rho N+1)$ and "
        r"$N=\alpha+\beta$.",
        kind=Identity,
        premises=(BERNOULLI,),
        check=_ema_check,
        control=partial(_ema_check, extra=1),
        control_statement=r"the same with $N=\alpha+\beta+1$.",
    ),
    claim(
        id="spo/tracker-as-printed",
        source="Eq. 7",
        statement=r"The tracker of Eq. 5 is $\hat v\leftarrow\hat v+\eta(r-\hat v)$ with $\eta=1/(\rho N_{eff}+1)$, "
        r"$N_{eff}=\alpha+\beta+1$.",
        kind=Identity,
        premises=(BERNOULLI,),
        check=partial(_ema_check, extra=1),
        control=_ema_check,
        control_statement=r"the same with $N_{eff}=\alpha+\beta$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/tracker-variance",
        source="ours, on Eq. 4-5",
        statement=r"After $n$ rewards of constant $p$, from no counts, the tracker has mean $p$ and variance "
        r"$p(1-p)\frac{1-\rho}{1+\rho}\cdot\frac{1+\rho^n}{1-\rho^n}$.",
        kind=Identity,
        premises=(BERNOULLI, r"constant $\rho$"),
        check=_tracker_variance_check,
        control=partial(_tracker_variance_check, printed=True),
        control_statement=r"the variance is its limit $p(1-p)(1-\rho)/(1+\rho)$ for every $n$.",
    ),
    claim(
        id="spo/draws-until-signal",
        source="Appendix C",
        statement=r"On average $\frac{1}{p(1-p)}-1$ answers are drawn until both outcomes were seen.",
        kind=Identity,
        premises=(BERNOULLI, "$0<p<1$"),
        check=_waiting_check,
        control=partial(_waiting_check, offset=0),
        control_statement=r"on average $\frac{1}{p(1-p)}$.",
    ),
    claim(
        id="spo/degenerate-groups",
        source="Appendix C",
        statement=r"A group of $G$ answers has no signal with probability $p^G+(1-p)^G$.",
        kind=Identity,
        premises=(BERNOULLI,),
        check=_degenerate_check,
        control=partial(_degenerate_check, draws=1),
        control_statement=r"the same with $G+1$.",
    ),
    claim(
        id="spo/group-mean-variance",
        source="Appendix C",
        statement=r"The mean of the group as baseline inflates the variance: "
        r"$\mathrm{Var}(r-\mu_G)=(1+\frac1G)p(1-p)$.",
        kind=Identity,
        premises=(BERNOULLI, r"$\mu_G$ is the mean of the answer's own group, as in GRPO"),
        check=partial(_inflation_check, baseline="own", factor="1+1/G"),
        control=partial(_inflation_check, baseline="independent", factor="1+1/G"),
        control_statement=r"the same for the mean of $G$ other answers.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/group-mean-variance-corrected",
        source="ours, corrects Appendix C",
        statement=r"It deflates it: $\mathrm{Var}(r-\mu_G)=(1-\frac1G)p(1-p)$.",
        kind=Identity,
        premises=(BERNOULLI,),
        check=partial(_inflation_check, baseline="own", factor="1-1/G"),
        control=partial(_inflation_check, baseline="own", factor="1+1/G"),
        control_statement=r"$\mathrm{Var}(r-\mu_G)=(1+\frac1G)p(1-p)$.",
    ),
    claim(
        id="spo/leave-one-out-variance",
        source="ours, beside Appendix C",
        statement=r"With the mean of the others as baseline (RLOO) it is $(1+\frac1{G-1})p(1-p)$.",
        kind=Identity,
        premises=(BERNOULLI,),
        check=partial(_inflation_check, baseline="others", factor="1+1/(G-1)"),
        control=partial(_inflation_check, baseline="others", factor="1+1/G"),
        control_statement=r"it is $(1+\frac1G)p(1-p)$.",
    ),
    claim(
        id="spo/value-is-the-best-baseline",
        source="Section 3",
        statement=r"Among baselines that do not depend on the answer, the value $V^\pi(x)$ minimises the variance of "
        r"the "
        r"policy gradient.",
        kind=Inequality,
        premises=(SOFTMAX, "rewards in [0, 1]"),
        check=partial(_best_baseline_check, baseline="value"),
        control=partial(_best_baseline_check, baseline="best"),
        control_statement=r"$E[\|\nabla\log\pi\|^2 r]/E\|\nabla\log\pi\|^2$ does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/best-baseline",
        source="ours, corrects Section 3",
        statement=r"$b^*=E[\|\nabla\log\pi\|^2 r]/E\|\nabla\log\pi\|^2$ minimises the variance of the policy gradient.",
        kind=Inequality,
        premises=(SOFTMAX, "rewards in [0, 1]"),
        check=partial(_best_baseline_check, baseline="best"),
        control=partial(_best_baseline_check, baseline="value"),
        control_statement=r"the value does.",
    ),
    claim(
        id="spo/group-mean-shrinks",
        source="ours, on Section 2 (GRPO without the standard deviation)",
        statement=r"The expected gradient of a group with its own mean is $(1-\frac1G)\nabla p$.",
        kind=Identity,
        premises=(SOFTMAX, BERNOULLI),
        check=partial(_expected_check, signal="mean", stated="mean"),
        control=partial(_expected_check, signal="mean", stated="rloo"),
        control_statement=r"it is $\nabla p$.",
    ),
    claim(
        id="spo/leave-one-out-is-unbiased",
        source="ours, on Section 2 (RLOO)",
        statement=r"The expected gradient of a group with the mean of the others is $\nabla p$.",
        kind=Identity,
        premises=(SOFTMAX, BERNOULLI),
        check=partial(_expected_check, signal="rloo", stated="rloo"),
        control=partial(_expected_check, signal="rloo", stated="mean"),
        control_statement=r"it is $(1-\frac1G)\nabla p$.",
    ),
    claim(
        id="spo/standard-deviation",
        source="ours, on Section 2 (GRPO)",
        statement=r"With rewards centred and divided by the group's standard deviation the expected gradient is "
        r"$\frac{E\sqrt{k(G-k)}}{G\,p(1-p)}\nabla p$, $k\sim\mathrm{Bin}(G,p)$.",
        kind=Identity,
        premises=(SOFTMAX, BERNOULLI, "population standard deviation; a group without signal contributes nothing"),
        check=partial(_expected_check, signal="std", stated="std"),
        control=partial(_expected_check, signal="std", stated="mean"),
        control_statement=r"it is $(1-\frac1G)\nabla p$.",
    ),
    claim(
        id="spo/fixed-baseline-is-unbiased",
        source="Section 3",
        statement=r"A baseline that does not depend on the answers leaves the policy gradient unbiased.",
        kind=Identity,
        premises=(SOFTMAX,),
        check=partial(_expected_check, signal="fixed", stated="rloo"),
        control=partial(_expected_check, signal="mean", stated="rloo"),
        control_statement="the mean of the own group does too.",
    ),
    claim(
        id="spo/lower-error-than-groups",
        source="abstract, in a population of prompts",
        statement=r"At equal samples the single stream with its tracker estimates the gradient with a squared error "
        r"at least "
        r"a tenth below that of groups of eight.",
        kind=Comparison,
        premises=(
            f"{PROMPTS} prompts of success sigma(theta + c), c normal with deviation 2; {SAMPLES} samples an update; "
            f"the "
            f"logits drift by {DRIFT:g} over {UPDATES} updates",
            r"tracker with $\rho=0.96$ that starts at the truth; groups with leave-one-out means",
            "an analogue: one parameter, not a network",
        ),
        check=_population_check,
        control=partial(_population_check, swapped=True),
        control_statement="groups have the lower error.",
    ),
    claim(
        id="spo/tracker-size",
        source="ours, on Eq. 4-5",
        statement=r"After $n$ rewards $\alpha+\beta=\frac{1}{1-\rho}+\rho^n\bigl(N_0-\frac{1}{1-\rho}\bigr)$: the "
        r"window is $\frac1{1-\rho}$, 8 and 25 at the two ends.",
        kind=Identity,
        premises=(r"constant $\rho$, start $N_0$",),
        check=_size_check,
        control=partial(_size_check, limit=True),
        control_statement=r"it is $\frac1{1-\rho}$ for every $n$.",
    ),
    claim(
        id="spo/batch-normalisation-shrinks",
        source="ours, on Section 3 (normalisation over the batch)",
        statement=r"Subtracting the mean of a batch of $B$ advantages leaves $(1-\frac1B)\nabla J$ of the gradient.",
        kind=Identity,
        premises=(SOFTMAX, "uniform prompts, fixed baselines, one answer each", "before division by the deviation"),
        check=_batch_check,
        control=partial(_batch_check, corrected=False),
        control_statement=r"it leaves $\nabla J$.",
    ),
    claim(
        id="spo/priorities-keep-the-objective",
        source="Section 3 (prioritised sampling)",
        statement=r"Drawing prompts by $\sqrt{\hat v(1-\hat v)}+0.05$ keeps the gradient that of the mean success.",
        kind=Identity,
        premises=(SOFTMAX, "no importance weights, as in paper and code"),
        check=_priority_check,
        control=partial(_priority_check, importance=True),
        control_statement=r"the same with importance weights $1/(N\,w(x))$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/priorities-change-the-objective",
        source="ours, corrects the last",
        statement=r"It makes it that of $\sum_xw(x)p(x)$, the weights held fixed.",
        kind=Identity,
        premises=(SOFTMAX, "no importance weights, as in paper and code"),
        check=partial(_priority_check, stated="weighted"),
        control=_priority_check,
        control_statement="it keeps it that of the mean success.",
    ),
    claim(
        id="spo/one-answer-measures-the-change",
        source="Eq. of $D(x)$, by the released code",
        statement=r"$KL(\pi_{old}\|\pi_\theta)\le D$ for the $D=|\log\pi_\theta-\log\pi_{old}|$ of one stored answer.",
        kind=Inequality,
        premises=("two to four answers of one token",),
        check=_change_check,
        control=partial(_change_check, stored=False),
        control_statement=r"the same for its mean over $\pi_{old}$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/mean-change-bounds-the-divergence",
        source="ours, corrects the last",
        statement=r"$KL(\pi_{old}\|\pi_\theta)\le E_{\pi_{old}}|\log\pi_\theta-\log\pi_{old}|$.",
        kind=Inequality,
        premises=("two to four answers of one token",),
        check=partial(_change_check, stored=False),
        control=_change_check,
        control_statement="the same for one stored answer.",
    ),
    claim(
        id="spo/first-visit-forgets",
        source="Eq. of $\\rho(x)$ with the released first visit, $D=0$",
        statement=r"A prompt that was never visited gets $\rho_{min}=0.875$, the shortest window.",
        kind=Inequality,
        premises=(r"$\rho=\mathrm{clip}(2^{-D/0.06},0.875,0.96)$",),
        check=_first_check,
        control=partial(_first_check, D=1.0),
        control_statement="the same at $D=1$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/no-waiting-for-groups",
        source="Section on throughput, simulated",
        statement="24 of 48 answers are there in half the time that three complete groups of eight out of six take.",
        kind=Comparison,
        premises=("all start together, log-normal latencies of log-deviation 1", "mean of the log of the ratio"),
        check=_wait_check,
        control=partial(_wait_check, sigma=0.1),
        control_statement="the same with log-deviation 0.1.",
    ),
    claim(
        id="spo/first-answers-are-short",
        source="ours, on the simulation of throughput",
        statement="The first 24 of 48 answers have a mean log latency at least half a deviation below that of all.",
        kind=Comparison,
        premises=("all start together, log-normal latencies of log-deviation 1",),
        check=_short_check,
        control=partial(_short_check, reverse=True),
        control_statement="at least half a deviation above.",
    ),
    claim(
        id="spo/lower-error-under-swings",
        source="ours, on the abstract: where the tracker is always behind",
        statement="Also where the logits swing by 8 every four updates, about once a visit, the single stream has a "
        "squared error at least a tenth below that of groups of eight.",
        kind=Comparison,
        premises=(
            f"{PROMPTS} prompts, {SAMPLES} samples an update, $\\rho=0.96$",
            "the prediction was that it loses there; but it sees eight times as many prompts an update",
        ),
        check=_swing_check,
        control=partial(_swing_check, swapped=True),
        control_statement="groups have the lower error.",
    ),
)
