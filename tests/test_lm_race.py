"""The arithmetic of the race: operations, peak and shares, and a record without the peer."""

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from claimlab.experiments.lm import race  # noqa: E402
from claimlab.experiments.lm.rollouts import rollout  # noqa: E402
from claimlab.experiments.lm.tasks import modes  # noqa: E402
from claimlab.experiments.lm.transformer import Shape, Transformer  # noqa: E402

SHAPE = Shape(13, 6, width=8, layers=2, heads=2)
SMALL = replace(
    race.RACES["tiny"], task=modes(2), start=lambda _: Transformer(SHAPE), prompts=3, group=4, rounds=2, steps=2, warm=1
)


def passed(rows, tokens, seen):
    """Of a pass over `tokens` of each row that look at `seen` places: linear layers and head, and attention."""
    d, layers = SHAPE.width, SHAPE.layers
    linear = rows * tokens * (layers * 2 * (3 + 1 + 4 + 2) * d * d + 2 * SHAPE.vocabulary * d)
    return linear, rows * layers * 4 * d * tokens * seen


@pytest.mark.parametrize("kl", [False, True])
def test_operations_are_those_of_the_layers(kl):
    """Counted by hand: a product of (n, m) and (m, k) takes 2 n m k, its derivative twice that."""
    model = Transformer(SHAPE)
    data = rollout(model, SMALL.task, SMALL.task.reward, (0, 0), prompts=3, group=4)
    Q, P, N, T = 3, 3, 12, 3
    steps = int(data.batch.tokens.any(0).sum())
    expected = sum(passed(Q, P, P))
    expected += sum(sum(passed(N, 1, P + t)) for t in range(1, steps))
    parts = [passed(Q, P, P), passed(N, T - 1, P + T - 1)]
    expected += 3 * sum(linear + attention for linear, attention in parts)
    expected += kl * sum(linear + attention for linear, attention in parts)
    assert race.operations(SMALL, model, kl) == expected
    assert all(weight.grad is None for weight in model.parameters())


def test_the_peak_is_that_of_the_fastest_product(monkeypatch):
    times = iter([t for k in range(10) for t in (10.0 * k, 10.0 * k + (0.25 if k == 3 else 0.5))])
    monkeypatch.setattr(race, "clock", lambda _: next(times))
    assert race.peak(torch.device("cpu"), 8) == 2 * 8**3 / 0.25


def test_shares_are_of_the_median_step():
    rounds = [{"ours": [1.0, 2.0], "trl": [9.0]}, {"ours": [4.0, 2.0], "trl": [9.0]}]
    assert race.shares(rounds, {"ours": 60}, 120.0) == {"ours": 0.25}


def test_a_record_without_the_peer(tmp_path, monkeypatch):
    """Seeds at once are timed as single ones are, each with its share; nothing is said of a peer that is not there."""
    monkeypatch.setattr(race, "find_spec", lambda name: name == "torch")
    monkeypatch.setitem(race.RACES, "tiny", SMALL)
    monkeypatch.setitem(race.SIDE, "cpu", 16)
    ticks = iter(range(100_000))
    monkeypatch.setattr(race, "clock", lambda _: float(next(ticks)))
    race.main(["tiny", str(tmp_path / "race.json"), "--seeds", "4"])
    record = json.loads((tmp_path / "race.json").read_text())
    names = ["ours", "ours, KL", "ours, 4 seeds", "ours, KL, 4 seeds"]
    assert [name for name in record["rounds"][0] if name != "lengths"] == [names[0], names[1], names[2], names[3]]
    assert record["rounds"][1]["ours"] == [1.0, 1.0]
    assert record["rounds"][1]["ours, 4 seeds"] == [0.25, 0.25]
    assert record["ratios"] == {}
    assert record["peak"] == 2 * 16**3
    work = record["operations"]
    assert record["shares"]["ours, KL, 4 seeds"] == pytest.approx(4 * work["ours, KL"] / record["peak"])
    assert record["environment"]["packages"]["torch"]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["tiny", "x", "--device", "cuda:77"], "no device 'cuda:77'"), (["tiny", "x", "--seeds", "0"], "seeds must be")],
)
def test_wrong_usage_is_one_line(words, message, monkeypatch, capsys):
    monkeypatch.setattr(race, "find_spec", lambda name: name == "torch")
    monkeypatch.setitem(race.RACES, "tiny", SMALL)
    with pytest.raises(SystemExit) as found:
        race.main(words)
    assert found.value.code == 2
    assert message in capsys.readouterr().err
