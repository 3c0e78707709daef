"""Tasks with verifiable rewards for small models: prompts, demonstrations of mixed quality, and a reward in [0, 1]."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from typing import Any, NamedTuple

from numpy.random import Generator

from claimlab.checks import integer, interval

DIGITS = "0123456789"


class Example(NamedTuple):
    """A prompt; what a demonstrator says in every turn; and what only reward and replies may see."""

    prompt: str
    turns: tuple[str, ...]
    secret: str = ""


@dataclass(frozen=True)
class Task:
    """What a model is to learn.

    Args:
        name: for records.
        alphabet: every character of prompts, answers and replies.
        prompt_length, answer_length: the longest prompt, and the longest turn with its end token, in characters.
        draw: a random example.
        reward: float of the example and the answer (turns and replies, concatenated).
        turns: how often the model speaks.
        reply: what the model hears between turns, from the example and the turn; `reply_length` characters.
        right: the right last turn, where there is only one, for those who ask how far the model believes in it.
    """

    name: str
    alphabet: str
    prompt_length: int
    answer_length: int
    draw: Callable[[Generator], Example]
    reward: Callable[[Example, str], float]
    turns: int = 1
    reply: Callable[[Example, str], str] | None = None
    reply_length: int = 0
    right: Callable[[Example], str] | None = None

    def __post_init__(self) -> None:
        if len(set(self.alphabet)) != len(self.alphabet) or not self.alphabet:
            raise ValueError(f"alphabet must hold different characters, got {self.alphabet!r}.")
        for name, least in (("prompt_length", 1), ("answer_length", 1), ("turns", 1), ("reply_length", 0)):
            integer(name, getattr(self, name), least)
        if (self.turns > 1) != (self.reply is not None):
            raise ValueError("reply must be given where there are several turns, and only there.")

    @property
    def length(self) -> int:
        """Tokens after the prompt, of all turns and replies."""
        return self.turns * self.answer_length + (self.turns - 1) * self.reply_length


def addition(digits: int = 2, wrong: float = 0.5) -> Task:
    """Sums, units first; a share `wrong` of the demonstrations has one digit replaced."""
    n, wrong = integer("digits", digits, 1), interval("wrong", wrong, 0, 1)

    def draw(rng: Generator) -> Example:
        a, b = rng.integers(0, 10**n, 2)
        said = [*f"{a + b:0{n + 1}d}"[::-1]]
        if rng.random() < wrong:
            said[rng.integers(n + 1)] = DIGITS[rng.integers(10)]
        return Example(f"{a:0{n}d}+{b:0{n}d}=", ("".join(said),), f"{a + b:0{n + 1}d}"[::-1])

    return Task(f"addition-{n}", DIGITS + "+=", 2 * n + 2, n + 2, draw, _exactly)


def product() -> Task:
    """Products of two digits from 1 to 9; all demonstrations are right.  For models that can read already."""

    def draw(rng: Generator) -> Example:
        a, b = (int(x) for x in rng.integers(1, 10, 2))
        return Example(f"{a}*{b}=", (str(a * b),), str(a * b))

    return Task("product", DIGITS + "*=", 4, 3, draw, _exactly)


def modes(digits: int = 3) -> Task:
    """Demonstrations copy (.4), reverse (.25), sort (.15) or raise each digit by one (.2); only sorting is paid."""
    n = integer("digits", digits, 1)

    def draw(rng: Generator) -> Example:
        text = "".join(DIGITS[i] for i in rng.integers(0, 10, n))
        ordered = "".join(sorted(text))
        raised = "".join(DIGITS[(int(c) + 1) % 10] for c in text)
        said = (text, text[::-1], ordered, raised)[rng.choice(4, p=(0.4, 0.25, 0.15, 0.2))]
        return Example(f"{text}=", (said,), ordered)

    return Task(f"modes-{n}", DIGITS + "=", n + 1, n + 1, draw, _exactly)


def countdown(numbers: int = 3, wrong: float = 0.5) -> Task:
    """An expression of every given digit, once each, that makes the target; any right one is paid."""
    n, wrong = integer("numbers", numbers, 2), interval("wrong", wrong, 0, 1)

    def draw(rng: Generator) -> Example:
        while True:
            given = [int(x) for x in rng.integers(1, 10, n)]
            text = str(given[0]) + "".join("+-*"[rng.integers(3)] + str(x) for x in rng.permutation(given[1:]))
            target = evaluate(text)
            if target is not None and 0 <= target < 100:
                break
        asked = "".join(map(str, sorted(given)))
        if rng.random() < wrong:
            text = "+-*"[rng.integers(3)].join(map(str, given))
        return Example(f"{asked}:{int(target):02d}=", (text,), f"{asked}:{int(target)}")

    def reward(example: Example, answer: str) -> float:
        asked, target = example.secret.split(":")
        used = "".join(sorted(c for c in answer if c in DIGITS))
        alternate = len(answer) == 2 * n - 1 and all(c in DIGITS for c in answer[::2])
        return float(alternate and used == asked and evaluate(answer) == int(target))

    return Task(f"countdown-{n}", DIGITS + "+-*:=", n + 4, 2 * n, draw, reward)


OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


def evaluate(text: str) -> int | None:
    """The value of an expression of whole numbers, ``+ - *``; None where it is none.  Nothing is executed."""
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("neither a whole number nor + - * of two.")


def lookup(keys: int = 4, wrong: float = 0.6) -> Task:
    """Two turns: ask a hidden table for two keys, hear their digits, say the last digit of their sum."""
    names = "abcdefgh"[: integer("keys", keys, 2, 8)]
    wrong = interval("wrong", wrong, 0, 1)

    def draw(rng: Generator) -> Example:
        table = "".join(DIGITS[i] for i in rng.integers(0, 10, len(names)))
        two = "".join(names[i] for i in rng.choice(len(names), 2, replace=False))
        asked = two if rng.random() >= wrong else "".join(names[i] for i in rng.integers(0, len(names), 2))
        heard = [int(table[names.index(c)]) for c in asked]
        return Example(f"{two}=", (asked, DIGITS[sum(heard) % 10]), table)

    def reply(example: Example, turn: str) -> str:
        return "".join(example.secret[names.index(c)] if c in names else "?" for c in turn[:2].ljust(2))

    def right(example: Example) -> str:
        return DIGITS[sum(int(example.secret[names.index(c)]) for c in example.prompt[:2]) % 10]

    def reward(example: Example, answer: str) -> float:
        return float(answer[-1:] == right(example))

    return Task("lookup", DIGITS + names + "=?", 3, 3, draw, reward, turns=2, reply=reply, reply_length=2, right=right)


def style(length: int = 4) -> Task:
    """Words of a, b, c and d after a topic; gold pays the share of c and d, less a fourth for each repetition."""
    n = integer("length", length, 1)

    def draw(rng: Generator) -> Example:
        said = "".join("abcd"[i] for i in rng.choice(4, n, p=(0.4, 0.3, 0.2, 0.1)))
        return Example(f"{DIGITS[rng.integers(10)]}:", (said,))

    def reward(example: Example, answer: str) -> float:
        twice = sum(x == y for x, y in pairwise(answer))
        return max(0.0, sum(c in "cd" for c in answer) / n - twice / 4) if len(answer) == n else 0.0

    return Task(f"style-{n}", DIGITS + "abcd:", 2, n + 1, draw, reward)


def ranking(items: int = 4, wrong: float = 0.9) -> Task:
    """Order the places of digits from the largest down; the reward is the NDCG of a permutation."""
    n, wrong = integer("items", items, 2, 9), interval("wrong", wrong, 0, 1)

    def draw(rng: Generator) -> Example:
        gains = [int(g) for g in rng.integers(0, 10, n)]
        order = sorted(range(n), key=lambda i: -gains[i]) if rng.random() >= wrong else rng.permutation(n)
        return Example("".join(map(str, gains)) + "=", ("".join(DIGITS[i] for i in order),))

    def reward(example: Example, answer: str) -> float:
        if sorted(answer) != [*DIGITS[:n]]:
            return 0.0
        gains = [int(c) for c in example.prompt[:n]]
        best = _discounted(sorted(gains, reverse=True))
        return _discounted([gains[int(c)] for c in answer]) / best if best else 1.0

    return Task(f"ranking-{n}", DIGITS + "=", n + 1, n + 1, draw, reward)


def _discounted(gains: list[int]) -> float:
    return sum(gain / log2(place + 2) for place, gain in enumerate(gains))


def reasoning_gym(dataset: str, *, prompt_length: int, answer_length: int, **settings: Any) -> Task:
    """A data set of the package reasoning-gym, scored by its own verifier.

    Raises:
        ModuleNotFoundError: the package is missing.
    """
    try:
        import reasoning_gym as gym  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise ModuleNotFoundError("this task needs the package reasoning-gym: pip install reasoning-gym.") from None
    made = gym.create_dataset(dataset, size=100_000, seed=0, **settings)

    def draw(rng: Generator) -> Example:
        index = int(rng.integers(100_000))
        entry = made[index]
        return Example(entry["question"], (str(entry["answer"]),), str(index))

    def reward(example: Example, answer: str) -> float:
        return float(made.score_answer(answer, made[int(example.secret)]))

    printable = "".join(map(chr, range(32, 127))) + "\n"
    return Task(f"reasoning-gym-{dataset}", printable, prompt_length, answer_length, draw, reward)


def _exactly(example: Example, answer: str) -> float:
    return float(answer == example.secret)
