"""Compiled code is never older than what it was compiled from."""

import gc
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numba
import numba.extending
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from claimlab.bandits import UCB1, Algorithm, Environment, play
from claimlab.fingerprint import fingerprint
from claimlab.native import part

SRC = str(Path(__file__).parent.parent / "src")

HELPERS = """
    import numpy as np
    from claimlab.native import kernel

    STEP = 1
    TABLE = np.array([1.0, 2.0])

    @kernel
    def turn(t):
        return t % 2

    def unused(t):
        return 5
"""

ALGORITHM = """
    from dataclasses import dataclass
    import numpy as np
    import helpers
    from claimlab.bandits import Algorithm, Bernoulli, play
    from helpers import STEP, TABLE, turn

    @dataclass(frozen=True)
    class Mine(Algorithm):
        eps: float = 0.1

        def init(self, n_arms, horizon):
            return np.zeros(n_arms)

        def act(self, state, t, rng):
            return (turn(t) + helpers.turn(t) + STEP + int(TABLE[0])) % 2

        def learn(self, state, t, arm, reward):
            state[arm] += reward
"""

USE = """
    import algorithm
    from claimlab.bandits import Bernoulli, play
    from claimlab.fingerprint import fingerprint

    record = play(algorithm.Mine(), Bernoulli([0.2, 0.8]), horizon=10, runs=1, seed=0)
    print(fingerprint(algorithm.Mine), record.pulls[0, -1].tolist())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("user")


@pytest.fixture(scope="module")
def run(folder):
    """What a fresh process prints that plays the user's algorithm, with the cache of the last one.

    The cache holds the code of the unedited algorithm, which pulls the first arm ten times.
    """

    def start(helpers=HELPERS, algorithm=ALGORITHM):
        for name, text in (("helpers", helpers), ("algorithm", algorithm), ("use", USE)):
            (folder / f"{name}.py").write_text(textwrap.dedent(text))
        environment = os.environ | {"PYTHONPATH": SRC, "NUMBA_CACHE_DIR": str(folder / "cache")}
        command = [sys.executable, "-B", "use.py"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split(maxsplit=1)

    assert start()[1] == "[10, 0]\n"
    return start


def test_an_edited_method_is_compiled_anew(run):
    assert run(algorithm=ALGORITHM.replace("return (turn(t)", "return (1 + turn(t)"))[1] == "[0, 10]\n"


def test_an_edited_function_that_a_method_calls_is_compiled_anew(run):
    assert run(helpers=HELPERS.replace("STEP = 1", "STEP = 2"))[1] == "[0, 10]\n"


@pytest.mark.usefixtures("run")
def test_a_process_without_the_users_module_reads_the_same_cache(folder):
    for name in ("helpers", "algorithm"):
        (folder / f"{name}.py").unlink()
    code = (
        "from claimlab.bandits import *; print(play(UCB1(), Bernoulli([1]), horizon=9, runs=1, seed=0).reward[0, -1])"
    )
    environment = os.environ | {"PYTHONPATH": SRC, "NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) == 9


def test_the_hash_follows_what_methods_reach_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def printed(helpers=HELPERS, algorithm=ALGORITHM):
        for name, text in (("helpers", helpers), ("algorithm", algorithm)):
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
            monkeypatch.delitem(sys.modules, name, raising=False)
        import algorithm as module

        return fingerprint(module.Mine)

    first = printed()
    assert printed() == first
    assert printed(helpers=HELPERS.replace("return 5", "return 6")) == first
    edits = (("t % 2", "t % 3"), ("STEP = 1", "STEP = 3"), ("[1.0, 2.0]", "[1.0, 3.0]"))
    others = [printed(helpers=HELPERS.replace(*edit)) for edit in edits]
    others.append(printed(algorithm=ALGORITHM.replace("+= reward", "-= reward")))
    assert len({first, *others}) == 5


def test_a_class_redefined_in_a_notebook_has_another_hash():
    def define(arm):
        class Mine(UCB1):
            def act(self, state, t, rng):
                return arm

        return Mine

    assert fingerprint(define(0)) != fingerprint(define(1))


class Notes(NamedTuple):
    seen: np.ndarray


@dataclass(frozen=True)
class Jotting(Algorithm):
    """Makes arrays in its methods, as code of users may."""

    def init(self, n_arms, horizon):
        return Notes(np.zeros(n_arms))

    def act(self, state, t, rng):
        return int(np.argmin(state.seen + np.zeros(state.seen.size)))

    def learn(self, state, t, arm, reward):
        fresh = np.zeros(state.seen.size)
        fresh[arm] = 1.0
        state.seen[:] = state.seen + fresh


@dataclass(frozen=True)
class Mingling(Algorithm):
    """Does with lent arrays and generators what numba types by their kind: unites, slices, views, draws many."""

    def init(self, n_arms, horizon):
        return Notes(np.zeros(n_arms))

    def act(self, state, t, rng):
        either = state.seen if t % 2 == 0 else np.ones(state.seen.size)
        tail, flat = state.seen[1:], state.seen.reshape((1, -1)).ravel()
        several = rng.integers(0, 2, size=3)
        return int((either.sum() + tail.sum() + flat.sum() + several.sum()) % state.seen.size)

    def learn(self, state, t, arm, reward):
        view = state.seen[arm:]
        view[0] += 1.0


@dataclass(frozen=True)
class Walk(Environment):
    """Whose state is made for the run, and mentioned nowhere but in its methods."""

    n_arms: int

    def begin(self, horizon, rng):
        return Notes(rng.random(horizon))

    def gap(self, state, t, arm):
        return 0.0

    def pull(self, state, t, arm, rng):
        return state.seen[t]


def test_what_is_lent_lives_as_long_as_it_is_used():
    record = play(Jotting(), Walk(3), horizon=3000, runs=40, seed=3, keep_states=True)
    expected = [np.random.default_rng(child).random(3000).sum() for child in np.random.SeedSequence(3).spawn(40)]
    np.testing.assert_allclose(record.reward[:, -1], expected)
    np.testing.assert_array_equal([state.seen for state in record.states], np.full((40, 3), 1000.0))


def test_what_is_lent_is_an_array_as_any_other():
    compiled, oracle = (
        play(Mingling(), Walk(3), horizon=50, runs=2, seed=3, keep_states=True, compiled=how) for how in (True, False)
    )
    np.testing.assert_array_equal(compiled.reward, oracle.reward)
    for one, two in zip(compiled.states, oracle.states):
        np.testing.assert_array_equal(one.seen, two.seen)


def test_lending_leaks_nothing():
    def allocated():
        stats = rtsys.get_allocation_stats()
        return stats.alloc - stats.free

    _nrt_python.memsys_enable_stats()
    play(Jotting(), Walk(3), horizon=100, runs=2, seed=3)
    before = allocated()
    play(Jotting(), Walk(3), horizon=100, runs=20, seed=3)
    assert allocated() == before


class Bare(Algorithm):
    def init(self, n_arms, horizon):
        return np.zeros(n_arms)

    def act(self, state, t, rng):
        return 0

    def learn(self, state, t, arm, reward):
        state[arm] += reward


class Undecorated(UCB1):
    eps: float = 0.1


@pytest.mark.parametrize("cls", [Bare, Undecorated])
def test_a_class_without_its_decorator_is_told_so(cls):
    with pytest.raises(TypeError, match=f"decorate {cls.__name__} with @dataclass"):
        play(cls(), Walk(2), horizon=2, runs=1, seed=0)


def test_other_packages_keep_their_own_cache(tmp_path):
    (tmp_path / "theirs.py").write_text("import numba\n\n@numba.njit(cache=True)\ndef one():\n    return 1\n")
    code = "import claimlab.bandits, theirs; print(theirs.one(), theirs.one.stats.cache_path)"
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"PYTHONPATH": SRC, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", str(tmp_path / "__pycache__")]


OWN = """
    from dataclasses import dataclass
    import numpy as np
    from claimlab.bandits import Algorithm, Bernoulli, play

    @dataclass(frozen=True)
    class First(Algorithm):
        def init(self, n_arms, horizon):
            return np.zeros(n_arms)

        def act(self, state, t, rng):
            return 0

        def learn(self, state, t, arm, reward):
            state[arm] += reward

    print(play(First(), Bernoulli([1]), horizon=9, runs=1, seed=0).reward[0, -1])
"""


def test_code_of_a_class_without_a_module_is_read_again(tmp_path):
    code = f"exec({textwrap.dedent(OWN)!r}, {{'__name__': 'cell'}})"
    environment = os.environ | {"PYTHONPATH": SRC, "NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert float(done.stdout) == 9


@pytest.mark.parametrize("collected", [True, False])
def test_compiling_leaves_garbage_collection_as_it_was(collected):
    """Also where it fails; meanwhile none is collected, and what is a part is the function itself to Python."""
    during = []

    def plus_one(x):
        return x + 1

    next_of = part(plus_one)
    assert next_of is plus_one

    def noted(x):
        return x

    @numba.extending.overload(noted)
    def overload_noted(x):
        during.append(gc.isenabled())
        return lambda x: x

    if not collected:
        gc.disable()
    try:
        assert numba.njit(lambda x: next_of(noted(x)))(1) == 2  # kept nowhere, so compiled each time
        assert during
        assert not any(during)
        assert gc.isenabled() == collected
        with pytest.raises(numba.TypingError):
            numba.njit(lambda x: x.no_such_attribute)(1)
        assert gc.isenabled() == collected
    finally:
        gc.enable()
