"""Two real processes under accelerate end where two threads with the same parts do (needs the extra [lm])."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("accelerate")

from claimlab.experiments.lm.train import reinforce  # noqa: E402

from .test_lm_train import SURROGATES, TASK, TINY, team  # noqa: E402
from .test_lm_train import start as start  # noqa: E402

PROGRAM = """
import sys

import torch
from accelerate import Accelerator
from claimlab.experiments.lm import clipped, signals
from claimlab.experiments.lm.tasks import modes
from claimlab.experiments.lm.train import Settings, reinforce
from claimlab.experiments.lm.transformer import Shape, Transformer
from dataclasses import replace

torch.set_num_threads(1)
team = Accelerator(cpu=True)
assert team.num_processes == 2
task = replace(modes(2), reward=lambda _, answer: answer.count("1") - 0.5 * len(answer))
model = Transformer(Shape(*map(int, sys.argv[2:7])))
model.load_state_dict(torch.load(f"{sys.argv[1]}/start.pt"))
loss = lambda x, b: clipped.ppo(x, b, signals.standardised(b), over="token")
reinforce(model, task, loss, Settings(steps=4, prompts=4, group=4, evaluate=2, scored=64), team=team)
torch.save(model.state_dict(), f"{sys.argv[1]}/end{team.process_index}.pt")
"""


def test_two_processes(start, tmp_path):
    torch.save(start.state_dict(), tmp_path / "start.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    s = start.shape
    words = [str(tmp_path), *map(str, (s.vocabulary, s.context, s.width, s.layers, s.heads))]
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, *words], env=common | {"RANK": str(r), "LOCAL_RANK": str(r)})
        for r in range(2)
    ]
    assert [process.wait(240) for process in processes] == [0, 0]
    ends = [torch.load(tmp_path / f"end{r}.pt") for r in range(2)]

    def loop(mate):
        model = deepcopy(start)
        reinforce(model, TASK, SURROGATES["a mean over all tokens"], TINY, team=mate)
        return model.state_dict()

    with ThreadPoolExecutor(2) as pool:
        expected, _ = pool.map(loop, team(2))
    for name, weight in expected.items():
        assert torch.equal(ends[0][name], ends[1][name])
        torch.testing.assert_close(ends[0][name], weight, rtol=0, atol=1e-5)
    assert not torch.equal(expected["embedding.weight"], start.state_dict()["embedding.weight"])
