"""SimCLR on several processes (gloo, CPU): the same step as on one, the same weights everywhere, clean ends."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset

from dl.grad import rel_error
from dl.simclr.batch_augment import BatchAugmentation
from dl.simclr.contrastive_loss import simclr_loss_vectorized
from dl.simclr.distributed import SyncBatchNorm, gather_rows, global_loss, synchronise_batch_norm
from dl.simclr.model import Model
from dl.simclr.pretrain import Recipe, main, pretrain

WORLD, PAIRS, TAU = 2, 16, 1.0  # float32 rounding alone moves these gradients, at most 0.24, by 5e-7
RECIPE = Recipe(epochs=3, batch=16, feature_dim=16)
PRECISIONS = {"float32": (torch.float32, 1e-6), "float64": (torch.float64, 1e-10)}
OPTIONS = ["--device", "cpu", "--images", "32", "--batch", "16", "--feature-dim", "16"]
ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()) or sys.platform == "win32", reason="needs gloo and torchrun"
)


def views(dtype, seed=0):
    """Both views of the global batch."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, PAIRS, 3, 16, 16, generator=generator, dtype=torch.float64).to(dtype).unbind()


def make_model(dtype, distributed):
    torch.manual_seed(0)
    model = Model(16, encoder="small").to(dtype)
    if distributed:
        synchronise_batch_norm(model)
    return model


def step(model, network, x_i, x_j, loss_function):
    """Loss and gradients of one step."""
    loss = loss_function(network(x_i)[1], network(x_j)[1], TAU)
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in model.parameters()]


def pictures():
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8, generator=generator), torch.zeros(32))


def work(rank, folder):
    """What each of the two processes does; results go to `folder`/rank.pt."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    mine = slice(rank * PAIRS // WORLD, (rank + 1) * PAIRS // WORLD)
    results = {}
    for name, (dtype, _) in PRECISIONS.items():
        model = make_model(dtype, distributed=True)
        x_i, x_j = views(dtype)
        results[name] = step(model, DistributedDataParallel(model), x_i[mine], x_j[mine], global_loss)
        results[f"{name} buffers"] = {key: value for key, value in model.state_dict().items() if "running" in key}

    model = make_model(torch.float32, distributed=True)
    network, optimizer = DistributedDataParallel(model), torch.optim.Adam(model.parameters(), 1e-3)
    for seed in range(20):
        x_i, x_j = views(torch.float32, seed)
        optimizer.zero_grad()
        step(model, network, x_i[mine], x_j[mine], global_loss)
        optimizer.step()
    results["after 20 steps"] = model.state_dict()

    rows = torch.full((2, 1), float(rank), requires_grad=True)
    gathered = gather_rows(rows)
    (gathered.flatten() * torch.tensor([1.0, 2.0, 3.0, 4.0]) * (rank + 1)).sum().backward()
    results["gather"] = gathered.detach(), rows.grad

    augmentation, device = BatchAugmentation(), torch.device("cpu")
    whole = pretrain(pictures(), RECIPE, Path(folder, "whole.pt"), device, augmentation)
    pretrain(pictures(), RECIPE, Path(folder, "parts.pt"), device, augmentation, stop_after=1)
    parts = pretrain(pictures(), RECIPE, Path(folder, "parts.pt"), device, augmentation)
    results["whole"], results["parts"] = whole.state_dict(), parts.state_dict()
    torch.save(results, Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """The results of both ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, args=(str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def assert_equal_states(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("name", PRECISIONS)
def test_two_processes_make_the_step_of_one_with_the_whole_batch(ranks, name):
    dtype, tolerance = PRECISIONS[name]
    model = make_model(dtype, distributed=False)
    loss, gradients = step(model, model, *views(dtype), simclr_loss_vectorized)
    for results in ranks:
        assert rel_error(results[name][0], loss) < tolerance
        for got, expected in zip(results[name][1], gradients, strict=True):
            assert (got - expected).abs().max() < tolerance
        for key, value in results[f"{name} buffers"].items():
            torch.testing.assert_close(value, model.state_dict()[key], rtol=tolerance, atol=tolerance)


def test_parameters_and_buffers_are_identical_on_both_ranks_after_20_steps(ranks):
    assert_equal_states(ranks[0]["after 20 steps"], ranks[1]["after 20 steps"])
    start = make_model(torch.float32, distributed=False).state_dict()
    assert not torch.equal(ranks[0]["after 20 steps"]["f.0.weight"], start["f.0.weight"])


def test_the_gather_joins_the_rows_and_adds_the_gradients_of_all_ranks(ranks):
    for rank, expected in ((0, [3.0, 6.0]), (1, [9.0, 12.0])):
        gathered, gradient = ranks[rank]["gather"]
        assert gathered.flatten().tolist() == [0, 0, 1, 1]
        assert gradient.flatten().tolist() == expected


def test_resuming_gives_the_weights_of_no_interruption_on_both_ranks(ranks):
    for results in ranks:
        assert_equal_states(results["whole"], results["parts"])
    assert_equal_states(ranks[0]["whole"], ranks[1]["whole"])


def test_names_and_values_survive_the_change_of_batch_norm():
    model, changed = make_model(torch.float32, distributed=False), make_model(torch.float32, distributed=True)
    assert_equal_states(model.state_dict(), changed.state_dict())
    assert sum(isinstance(module, SyncBatchNorm) for module in changed.modules()) == 14
    x_i, x_j = views(torch.float32)
    for got, expected in zip(changed(x_i), model(x_i), strict=True):  # without a process group it is plain batch norm
        torch.testing.assert_close(got, expected)
    torch.testing.assert_close(
        global_loss(x_i.flatten(1), x_j.flatten(1), TAU), simclr_loss_vectorized(x_i.flatten(1), x_j.flatten(1), TAU)
    )


def agent(number, port, checkpoint, log):
    """One node of a job on two: an agent of torchrun, which starts one process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={number}", "--nproc-per-node=1"]
    command += ["--master-addr=127.0.0.1", f"--master-port={port}", "-m", "dl.simclr.pretrain", *OPTIONS]
    command += ["--epochs", "40", "--stop-after", "30", "--checkpoint", str(checkpoint)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def test_two_nodes_train_together_and_go_on_after_one_is_lost(tmp_path, capsys):
    checkpoint, logs, port = tmp_path / "run.pt", [tmp_path / "0.log", tmp_path / "1.log"], free_port()
    with open(logs[0], "w") as first, open(logs[1], "w") as second:
        agents = [agent(0, port, checkpoint, first), agent(1, port, checkpoint, second)]
        try:
            deadline = time.monotonic() + 300
            while "epoch 2/40" not in logs[0].read_text():
                assert agents[0].poll() is None and time.monotonic() < deadline, logs[0].read_text()
                time.sleep(0.1)
            worker = re.search(r"rank 1 of 2 on cpu, process (\d+)", logs[1].read_text())
            agents[1].kill()  # a node without power: its agent and its process are gone
            os.kill(int(worker[1]), signal.SIGKILL)
            assert agents[0].wait(timeout=300) != 0
        finally:
            for each in agents:
                each.terminate()  # an agent takes its process along, within half a minute
                each.wait(timeout=120)
    assert "pretrain: rank 0 cannot go on, most often because another rank has ended" in logs[0].read_text()
    assert "it goes on from the last checkpoint" in logs[0].read_text()
    reached = torch.load(checkpoint, weights_only=True)["progress"]["epoch"]
    assert 2 <= reached < 30
    # The checkpoint is whole, and goes on with any number of processes: here with this one alone.
    assert main([*OPTIONS, "--epochs", "40", "--stop-after", "1", "--checkpoint", str(checkpoint)]) == 0
    assert f"epoch {reached + 1}/40 loss" in capsys.readouterr().out
    assert torch.load(checkpoint, weights_only=True)["progress"]["epoch"] == reached + 1


def test_a_job_with_restarts_goes_on_from_the_checkpoint_after_a_worker_is_killed(tmp_path):
    checkpoint, log = tmp_path / "run.pt", tmp_path / "run.log"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", "--rdzv-backend=c10d"]
    command += [f"--rdzv-endpoint=127.0.0.1:{free_port()}", "-m", "dl.simclr.pretrain", *OPTIONS]
    command += ["--epochs", "4000", "--checkpoint", str(checkpoint)]

    def epochs():
        return list(map(int, re.findall(r"epoch (\d+)/4000 loss", log.read_text())))

    with open(log, "w") as file:
        # Else the new processes share a store with the dead ones, and may read their addresses (PyTorch 2.14).
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        job = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 300

        def wait_for(happened):
            while not happened():
                assert job.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)

        try:
            wait_for(lambda: 2 in epochs())
            (worker,) = re.findall(r"rank 1 of 2 on cpu, process (\d+)", log.read_text())
            os.kill(int(worker), signal.SIGKILL)
            wait_for(lambda: log.read_text().count("of 2 on cpu, process") == 4)
            before = len(epochs())
            wait_for(lambda: len(epochs()) > before)
        finally:
            started = psutil.Process(job.pid).children(recursive=True) if job.poll() is None else []
            job.kill()
            for process in started:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            job.wait(timeout=60)
    done = epochs()
    # In their order, none twice; of one epoch the checkpoint may have been written and the line not any more.
    assert all(1 <= after - earlier <= 2 for earlier, after in zip(done, done[1:])), done
    assert torch.load(checkpoint, weights_only=True)["progress"]["epoch"] in (done[-1], done[-1] + 1)
