"""Segments of answers: advantages against brute force on enumerated trees, what is drawn as a tree, and its judges."""

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from claimlab.experiments.lm import arms, clipped, regressions, signals, studies, surrogates, tasks  # noqa: E402
from claimlab.experiments.lm.batch import Batch, Steps, sampled  # noqa: E402
from claimlab.experiments.lm.decode import END, PAD  # noqa: E402
from claimlab.experiments.lm.processes import together  # noqa: E402
from claimlab.experiments.lm.rollouts import Belief, Branching, MonteCarlo, decode, encode, rollout  # noqa: E402
from claimlab.experiments.lm.seeds import reinforce_together  # noqa: E402
from claimlab.experiments.lm.train import Settings, imitate, reinforce  # noqa: E402
from claimlab.experiments.lm.transformer import every_answer  # noqa: E402
from claimlab.experiments.papers import treepo  # noqa: E402

from .test_lm import Tree  # noqa: E402
from .test_lm_train import team  # noqa: E402

torch.set_num_threads(1)
SEEDS = st.integers(0, 2**32 - 1)
CUTS = st.sampled_from([(), (1,), (2,), (1, 2)])


def enumerated_tree(model, seed, cuts):
    """Every answer of up to three tokens, cut, with its probability as weight."""
    said = every_answer(4, 3)
    old = torch.where(said.mask, model.token_logp(None, said.tokens).detach(), 0.0)
    rewards = torch.rand(len(old), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    edges = [0, *cuts, 3]
    place = torch.arange(3)
    of = sum((place >= cut).long() for cut in cuts) + torch.zeros(len(old), 3, dtype=torch.int64)
    names = [[tuple(row[:e]) for row in said.tokens.tolist()] for e in edges[1:]]
    nodes = torch.tensor([[sorted(set(column)).index(name) for name in column] for column in names]).T
    batch = Batch(old, rewards, torch.zeros(len(old), dtype=torch.int64), old.sum(1).exp(), said.mask)
    return said.tokens, replace(batch, steps=Steps(of, nodes))


def brute(tokens, batch, cuts):
    """Q(s, a) - V(s) of each segment of each answer, by sums over all answers with the prefix."""
    answers, p, r = tokens.tolist(), batch.weights.tolist(), batch.rewards.tolist()

    def value(prefix):
        own = [i for i, answer in enumerate(answers) if answer[: len(prefix)] == prefix]
        return sum(p[i] * r[i] for i in own) / sum(p[i] for i in own)

    edges = [0, *cuts, 3]
    return [[value(a[:stop]) - value(a[:begin]) for begin, stop in pairwise(edges)] for a in answers]


@given(seed=SEEDS, cuts=CUTS)
@settings(max_examples=8, deadline=None)
def test_segments_of_a_whole_tree_have_their_advantages_and_the_gradient_of_the_value(seed, cuts):
    model = Tree(seed % 1000)
    tokens, batch = enumerated_tree(model, seed, cuts)
    A = signals.segments(batch)
    expected = torch.tensor(brute(tokens, batch, cuts), dtype=torch.float64).gather(1, batch.steps.of)
    torch.testing.assert_close(A, expected, rtol=0, atol=1e-12)
    logp = torch.where(batch.tokens, model.token_logp(None, tokens), 0.0)
    weights = list(model.parameters())
    value = torch.autograd.grad((logp.sum(1).exp() * batch.rewards).sum(), weights, retain_graph=True)
    found = torch.autograd.grad(clipped.ppo(logp, batch, A, over="total"), weights, retain_graph=True)
    pairs = torch.autograd.grad(regressions.siblings(logp, batch, 0.3), weights)
    for exact, one, two in zip(value, found, pairs):
        torch.testing.assert_close(-one, exact, rtol=0, atol=1e-12)
        torch.testing.assert_close(-two / 0.6, exact, rtol=0, atol=1e-12)


@given(seed=SEEDS, cuts=CUTS, tau=st.floats(0.1, 3))
@settings(max_examples=8, deadline=None)
def test_refuel_rests_where_log_ratios_are_action_values(seed, cuts, tau):
    """And whole answers alone would rest at their rewards, which is the same for one segment."""
    tokens, batch = enumerated_tree(Tree(seed % 1000), seed, cuts)
    A = torch.tensor(brute(tokens, batch, cuts), dtype=torch.float64)
    first = torch.tensor([0, *cuts])
    logp = batch.old.index_add(1, first, A / tau)  # all of a segment's ratio at its first token
    open_ = batch.tokens[:, first].all()  # a segment without a token has advantage zero
    assert not open_ or float(regressions.siblings(logp, batch, tau)) == pytest.approx(0, abs=1e-20)
    assert (A[~batch.tokens[:, first]].abs() < 1e-12).all()
    assert float(regressions.siblings(logp, batch, tau)) == pytest.approx(0, abs=1e-20)
    rewards = batch.old.index_add(1, first, torch.rand(A.shape, dtype=torch.float64))
    assert float(regressions.siblings(rewards, batch, tau)) > 1e-6
    if not cuts:
        whole = surrogates.pairwise(rewards, batch, tau)
        assert float(regressions.siblings(rewards, batch, tau)) == pytest.approx(float(whole), rel=1e-9)


@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_treepo_is_the_exact_core_s(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 4, 3))
    R, N = rng.integers(0, 2, (2, *shape)).astype(float), int(np.prod(shape))
    place = torch.arange(2 * N)
    nodes = torch.stack([place // (N // int(np.prod(shape[: k + 1]))) for k in range(3)], 1)
    old = -torch.ones(2 * N, 3, dtype=torch.float64)
    steps = Steps(torch.arange(3).expand(2 * N, 3), nodes)
    batch = sampled(old, torch.tensor(R).flatten(), place // N, steps=steps)
    std = np.maximum(R.reshape(2, N).std(1, ddof=min(N - 1, 1)), 0) + 1e-4
    expected = np.stack([treepo.advantages(one) for one in R]).reshape(2, N) / std[:, None]
    assert signals.tree(batch).numpy() == pytest.approx(expected.flatten(), abs=1e-9)


def judged(worth, rewards, groups, of):
    rewards, of = torch.tensor(rewards, dtype=torch.float64), torch.tensor(of)
    N, K = len(rewards), len(worth[0]) - 1
    old = -torch.ones(N, of.shape[1], dtype=torch.float64)
    steps = Steps(of, torch.arange(N)[:, None].expand(N, K), torch.tensor(worth, dtype=torch.float64))
    return sampled(old, rewards, torch.tensor(groups), steps=steps)


def test_gains_by_hand():
    worth = [[0.5, 0.7, 1.0], [0.5, 0.1, 0.0], [0.5, 0.6, 0.0], [0.2, 0.2, 1.0], [0.2, 0.9, 1.0]]
    rewards, groups = [1.0, 0, 0, 1, 1], [0, 0, 0, 1, 1]
    batch = judged(worth, rewards, groups, [[0, 1, 1]] * 5)
    assert signals.progress(batch)[:2].numpy() == pytest.approx(np.array([[0.2, 0.3, 0.3], [-0.4, -0.1, -0.1]]))
    gains = np.array([w[1] - w[0] for w in worth])
    for joint in (False, True):
        expected = []
        for members in ([0, 1, 2], [3, 4]):
            g, r = gains[members], np.array(rewards)[members]
            both = np.concatenate([g, r])
            z = [
                (x - y.mean()) / (y.std(ddof=1) + 1e-4)
                for x, y in ((g, both if joint else g), (r, both if joint else r))
            ]
            expected += [[a + b, b, b] for a, b in zip(*z)]
        assert signals.information(batch, joint=joint).numpy() == pytest.approx(np.array(expected))
    plain = signals.information(batch, weight=0.0)
    assert torch.equal(plain, signals.standardised(batch)[:, None].expand(5, 3))


# What is drawn

TASK = replace(tasks.modes(2), reward=lambda _, answer: answer.count("1") - 0.5 * len(answer))


@pytest.fixture(scope="module")
def start():
    return imitate(TASK, width=16, steps=20, size=32)


@pytest.mark.parametrize("task", [tasks.modes(2), tasks.lookup()], ids=["one turn", "two turns"])
def test_a_tree_shares_prefixes_and_nothing_else(task):
    model = imitate(task, width=16, steps=20, size=32)
    cuts = (1, 2)
    branching = Branching((3, 2, 2, *[1] * (3 * task.turns - 3)), cuts)
    data = rollout(model, task, task.reward, (1, 2), prompts=5, group=99, branching=branching)
    batch, tokens = data.batch, data.tokens
    assert tokens.shape == (60, task.length)
    assert torch.bincount(batch.groups).tolist() == [12] * 5
    again = model.token_logp(data.prompts, tokens).detach()
    torch.testing.assert_close(again[batch.tokens], batch.old[batch.tokens], rtol=0, atol=1e-5)
    ends = (tokens == END).cumsum(1) - (tokens == END).long() > 0
    assert (tokens[:, : task.answer_length][ends[:, : task.answer_length]] == PAD).all()
    assert not (batch.tokens & (tokens == PAD))[:, : task.answer_length][ends[:, : task.answer_length]].any()
    for k, nodes in enumerate(batch.steps.nodes.T):
        seen = batch.steps.of <= k
        for node in nodes.unique():
            own = (nodes == node).nonzero()[:, 0]
            assert (tokens[own] * seen[own] == (tokens * seen)[own[0]]).all()
            assert len(own) == 60 // len(nodes.unique())
    assert len({tuple(row) for row in tokens[:12].tolist()}) > 3
    texts = decode(tokens, task)
    rng = np.random.default_rng([1, 2, 0])
    examples = [task.draw(rng) for _ in range(5)]
    assert batch.rewards.tolist() == [task.reward(examples[i // 12], text) for i, text in enumerate(texts)]


def test_without_branches_it_is_the_plain_rollout(start):
    for branching in (Branching((4,)), Branching((4,), judge=MonteCarlo(tries=2))):
        plain = rollout(start, TASK, TASK.reward, (3, 1), prompts=3, group=4)
        found = rollout(start, TASK, TASK.reward, (3, 1), prompts=3, group=1, branching=branching)
        assert torch.equal(plain.tokens, found.tokens)
        assert torch.equal(plain.batch.old, found.batch.old)


def test_a_prover_s_values_are_those_of_enumerated_continuations(start):
    """Of the prompt and of the first token, with 400 tries; a finished answer is worth its reward."""
    for best in (1, 3):
        judge = MonteCarlo(tries=400, best=best)
        branching = Branching((6, 1), cuts=(1,), judge=judge)
        data = rollout(start, TASK, TASK.reward, (5,), prompts=1, group=6, branching=branching)
        worth, said = data.batch.steps.worth, every_answer(start.shape.vocabulary, 3)
        p = start.token_logp(data.prompts, said.tokens).detach().mul(said.mask).sum(1).exp().double().numpy()
        r = np.array([TASK.reward(None, text) for text in decode(said.tokens, TASK)])
        for row in range(6):
            for k in (0, 1):
                own = (said.tokens[:, :k] == data.tokens[row, :k]).all(1).numpy()
                q = p[own] / p[own].sum()
                levels = np.unique(r[own])
                below = np.array([q[r[own] <= level].sum() for level in levels]) ** best
                law = np.diff(below, prepend=0)
                mean = law @ levels
                error = np.sqrt(max(law @ levels**2 - mean**2, 0) / 400)
                assert float(worth[row, k]) == pytest.approx(mean, abs=4.5 * error + 1e-5)
        assert torch.equal(worth[:, 2], data.batch.rewards)


def test_the_prover_may_be_the_start(start):
    other = deepcopy(start)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(-1)
    found = [
        rollout(
            start, TASK, TASK.reward, (5,), prompts=4, group=1, start=other,
            branching=Branching((4,), judge=MonteCarlo(tries=50, prover=prover)),
        ).batch.steps.worth[:, 0]
        for prover in ("behind", "start")
    ]  # fmt: skip
    mine = rollout(
        other, TASK, TASK.reward, (5,), prompts=4, group=1, branching=Branching((4,), judge=MonteCarlo(tries=50))
    )
    assert torch.equal(found[1], mine.batch.steps.worth[:, 0])
    assert not torch.equal(found[0], found[1])


def test_the_belief_is_that_in_the_right_digit(start):
    task = tasks.lookup()
    model = imitate(task, width=16, steps=20, size=32)
    rng = np.random.default_rng([7, 0])
    examples = [task.draw(rng) for _ in range(3)]
    right = encode([task.right(e) for e in examples], task, 1)
    for logarithmic in (True, False):
        branching = Branching((2, 1), judge=Belief(logarithmic))
        data = rollout(model, task, task.reward, (7,), prompts=3, group=2, branching=branching)
        for i in range(6):
            for k, heard in enumerate((0, 5)):
                context = torch.cat([data.prompts[i // 2], data.tokens[i, :heard]])[None]
                logp = float(model.token_logp(context, right[i // 2][None]).detach())
                expected = logp if logarithmic else np.exp(logp)
                assert float(data.batch.steps.worth[i, k]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="the task modes-2 has no right last turn"):
        drawn(start, Branching((2,), judge=Belief()))


STEPPED = (studies.SEGMENTS, studies.TREES, studies.PROGRESS, studies.TURNS, studies.FUTURES)


@pytest.mark.parametrize("study", STEPPED, ids=lambda study: study.name)
def test_sane_arms_take_one_step(study):
    """On what each draws; and the budget of generated tokens is kept."""
    model = imitate(study.task, width=16, steps=30, size=32)
    slopes = []
    for arm in study.alike:
        branching = study.branched.get(arm)
        paid = lambda e, text: study.task.reward(e, text) + text.count("1") / 4  # noqa: E731  # some are paid
        data = rollout(model, study.task, paid, (1,), prompts=6, group=study.settings.group, branching=branching)
        logp = data.batch.old.clone().requires_grad_()
        slopes.append(torch.autograd.grad(study.arms[arm](logp, data.batch), logp)[0])
    assert torch.equal(*slopes)
    assert float(slopes[0].abs().max()) > 1e-4
    if "equal" in study.question:
        for branching in study.branched.values():
            assert tokens_a_prompt(study.task, branching) <= study.settings.group * said(study.task)


def said(task):
    return task.turns * task.answer_length


def tokens_a_prompt(task, branching):
    edges = [*range(0, said(task), task.answer_length)]
    edges = sorted({*edges, *(e + c for e in edges for c in branching.cuts), said(task)})
    nodes = np.cumprod(branching.widths)
    total = int(sum(n * (b - a) for n, (a, b) in zip(nodes, pairwise(edges))))
    if isinstance(branching.judge, MonteCarlo):
        tries = branching.judge.tries * branching.judge.best
        total += int(sum(tries * n * (edges[-1] - a) for n, a in zip([1, *nodes], edges[:-1])))
    return total


def test_a_segment_s_credit_is_immediate_or_to_go():
    worth = [[0.5, 0.7, 1.0], [0.5, 0.1, 0.0]]
    batch = judged(worth, [1.0, 0.0], [0, 0], [[0, 1]] * 2)
    logp = batch.old.clone().requires_grad_()
    for to_go, expected in ((False, [[1.1, 1.4], [-1.7, -0.8]]), (True, [[2.0, 1.4], [-2.0, -0.8]])):
        loss = arms.outcome_and_progress(3.0, to_go=to_go)
        (slope,) = torch.autograd.grad(loss(logp, batch), logp)
        assert (-2 * slope).numpy() == pytest.approx(np.array(expected))


PLAN = Settings(steps=4, prompts=3, group=4, evaluate=2, scored=16)
DRAWN = Branching((2, 2), cuts=(1,), judge=MonteCarlo(tries=2, prover="start"))


def loss_of(logp, batch):
    return clipped.ppo(logp, batch, signals.segments(batch) + signals.progress(batch), over="total")


def test_a_killed_run_of_trees_goes_on_together_or_alone(start, tmp_path):
    calls, folders = [], [tmp_path / "0", tmp_path / "5"]

    def killed(logp, batch):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return loss_of(logp, batch)

    models = [deepcopy(start) for _ in range(2)]
    whole = reinforce_together(models, TASK, loss_of, PLAN, [0, 5], branching=DRAWN)
    other = [deepcopy(start) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        reinforce_together(other, TASK, killed, PLAN, [0, 5], branching=DRAWN, folders=folders)
    with pytest.raises(ValueError, match="of another run"):
        reinforce(deepcopy(start), TASK, loss_of, PLAN, folder=folders[0])
    single = deepcopy(start)
    table = reinforce(single, TASK, loss_of, PLAN, branching=DRAWN, folder=folders[0])
    assert table.to_numpy() == pytest.approx(whole[0].to_numpy(), abs=1e-4, nan_ok=True)
    other = [deepcopy(start) for _ in range(2)]
    again = reinforce_together(other, TASK, loss_of, PLAN, [0, 5], branching=DRAWN, folders=folders)
    assert again[1].equals(whole[1])
    assert not whole[0]["reward"].equals(whole[1]["reward"])


def test_two_processes_have_the_nodes_of_one(start):
    from concurrent.futures import ThreadPoolExecutor

    whole = [
        rollout(start, TASK, TASK.reward, (1,), prompts=6, group=4, part=(r, 2), branching=DRAWN).batch
        for r in range(2)
    ]

    def gathered(mate):
        batch = together(mate, whole[mate.process_index].old, whole[mate.process_index])[1]
        return signals.segments(batch) + signals.progress(batch)

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(gathered, team(2)))
    own = torch.cat([signals.segments(batch) + signals.progress(batch) for batch in whole])
    torch.testing.assert_close(both[0], own)
    assert torch.equal(*both)


def _plain():
    return sampled(-torch.ones(2, 3), torch.ones(2), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda start: Branching((2, 0)), r"widths\[1\]"),
        (lambda start: MonteCarlo(tries=0), "tries"),
        (lambda start: MonteCarlo(prover="me"), "prover must be one of behind, start; got 'me'"),
        (lambda start: drawn(start, Branching((2, 2), cuts=(3,))), r"cuts must ascend within a turn of 3 tokens"),
        (lambda start: drawn(start, Branching((2, 2))), r"widths must be one for each of 1 segments, got \(2, 2\)"),
        (lambda start: signals.segments(_plain()), "steps must be given"),
        (lambda start: signals.progress(drawn(start, Branching((2,)))), "steps.worth must be given"),
        (lambda start: replace(_plain(), steps=Steps(torch.ones(2, 3).long(), torch.zeros(2, 1).long())), "steps.of"),
        (lambda start: replace(_plain(), steps=Steps(torch.ones(2, 2).long(), torch.zeros(2, 1).long())), "steps.of"),
    ],
)
def test_bad_calls(start, call, match):
    with pytest.raises(ValueError, match=match):
        call(start)


def drawn(start, branching):
    return rollout(start, TASK, TASK.reward, (1,), prompts=2, group=2, branching=branching).batch
