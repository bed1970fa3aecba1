"""The tuner on simulated devices, whose truth is known."""

from __future__ import annotations

import random

import pytest
from wasm_host import WasmHost, interpreted

from pywasm_jit.device import Device, peak, peak_dot
from pywasm_jit.ir import KernelError
from pywasm_jit.tune import Ask, Samples, drive, tune


class Machine:
    """Candidate n takes truth[n] seconds, times noise that is never below 1 and has a tail."""

    def __init__(self, truth: list[float], seed: int, noise: float = 0.1) -> None:
        self.truth, self.rng, self.noise = truth, random.Random(seed), noise
        self.asked = 0

    def __call__(self, ask: Ask) -> Samples:
        self.asked += len(ask.candidates) * ask.samples
        return [[self.sample(n) for _ in range(ask.samples)] for n in ask.candidates]

    def sample(self, n: int) -> float:
        tail = 5.0 if self.rng.random() < 0.3 * self.noise else 1.0
        return self.truth[n] * (1 + self.rng.expovariate(1 / self.noise)) * tail


def test_the_winner_is_near_the_best() -> None:
    regrets = []
    for seed in range(50):
        rng = random.Random(seed)
        truth = [1.0] + [rng.uniform(0.6, 2.0) for _ in range(40)]
        machine = Machine(truth, seed)
        result = drive(tune(len(truth)), machine)
        regrets.append(truth[result.winner] / min(truth))
        assert machine.asked < 41 * 3 * 3  # against 41 * 9 for the exhaustive search
    assert sorted(regrets)[45] < 1.10


def test_the_default_stays_where_nothing_is_faster() -> None:
    """Equal candidates: the noise alone must not choose, or every visit would change kernels."""
    changed = sum(drive(tune(20), Machine([1.0] * 20, seed)).winner != 0 for seed in range(100))
    assert changed <= 10
    worse = [drive(tune(9), Machine([1.0] + [1.3] * 8, seed)).winner for seed in range(20)]
    assert worse == [0] * 20


def test_a_candidate_that_fails_is_never_chosen() -> None:
    def measure(ask: Ask) -> Samples:
        return [[] if n == 2 else [1.0 if n == 0 else 0.5] * ask.samples for n in ask.candidates]

    assert drive(tune(3), measure).winner == 1


def test_it_stops_at_the_peak_and_goes_on_from_what_is_known() -> None:
    machine = Machine([1.0, 0.99, 0.5, 0.9, 0.8, 0.7], 1, noise=1e-6)
    whole = drive(tune(6), machine)
    assert whole.winner == 2
    resumed = Machine([1.0, 0.99, 0.5, 0.9, 0.8, 0.7], 1, noise=1e-6)
    assert drive(tune(6, known=whole.times), resumed).winner == 2
    assert resumed.asked == 4 * 9
    at_peak = Machine([1.0, 0.99, 0.5, 0.9, 0.8, 0.7], 1, noise=1e-6)
    drive(tune(6, flops=1e9, peak=2.0), at_peak)
    assert at_peak.asked == 6 * 3 + 4 * 9


def test_the_probes_do_what_they_count(wasm: WasmHost) -> None:
    values = bytes(56 * 4)
    for numeric in ("fused", "separate"):
        kernel = peak(numeric, 1)
        assert wasm.run(kernel, {"values": values}, {"n": 2}) == interpreted(
            kernel, {"values": values}, {"n": 2}
        )
    buffers = {"totals": bytes(192), "values": bytes([1, 2, 3, 4] * 8)}
    done = wasm.run(peak_dot(1), buffers, {"n": 3})
    assert done == interpreted(peak_dot(1), buffers, {"n": 3})
    assert done["totals"][:4] == (3 * 30).to_bytes(4, "little")


def test_a_description_that_cannot_be_is_refused() -> None:
    device = Device(True, True, threads=2, peak_fused=57.6)
    assert Device.parse(device.json()) == device
    with pytest.raises(KernelError, match="is no device"):
        Device.parse({"relaxed": True, "threads": 0})
