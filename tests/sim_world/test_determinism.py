"""The same seed gives the same run: twice, in a fresh process, after another seed, under another hash seed."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import time
import uuid
from types import ModuleType

import pytest

from loggos.base.ports import World
from loggos.sim.trace import Draws, Trace
from loggos.sim.world import SimWorld
from tests.sim_world.program import run


def in_a_fresh_process(seed: int, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.sim_world.program", str(seed)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def test_equal_in_this_process_in_fresh_ones_and_after_another_seed() -> None:
    first, counts = run(11)
    other, _ = run(12)
    again, _ = run(11)
    assert counts["operations"] > 500
    assert counts["operations"] - counts["before"] > 100, "no progress after everything was healed"
    assert sum(first.trace.faults.values()) >= 3
    assert first.trace.first_difference(again.trace) is None
    assert first.digest() == again.digest() != other.digest()
    assert first.digest() == in_a_fresh_process(11, "0") == in_a_fresh_process(11, "1234")


@pytest.mark.parametrize("seed", range(3))
def test_every_seed_runs_equal_twice(seed: int) -> None:
    first, counts = run(seed, chaos_s=6)
    again, repeated = run(seed, chaos_s=6)
    assert first.digest() == again.digest()
    assert counts == repeated


def test_a_program_starts_itself_again_with_a_fixed_hash_seed() -> None:
    code = "import os, sys; from loggos.sim.bootstrap import ensure_hash_seed as ensure; ensure()"
    code += "; print(os.environ['PYTHONHASHSEED'], sys.argv)"
    environment = {**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, "argument"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 ['-c', 'argument']\n"


def test_an_adopted_package_sees_virtual_time_under_its_own_names() -> None:
    package, other = ModuleType("adopted_for_test.part"), ModuleType("adopted_for_test_not")
    for module in (package, other):
        module.__dict__.update(now=time.time, pause=time.sleep)
        sys.modules[module.__name__] = module
    with SimWorld(1, adopt=["adopted_for_test"]) as world:
        assert package.now() == world.clock.wall_ms() / 1000
        assert other.now() != package.now()
        package.pause(1.5)
        assert world.simulated_s == 1.5
    assert package.now is time.time and package.pause is time.sleep
    del sys.modules[package.__name__], sys.modules[other.__name__]


def test_recording_lines_changes_nothing() -> None:
    first, _ = run(4, chaos_s=5)
    recorded, _ = run(4, chaos_s=5, record=True)
    assert first.digest() == recorded.digest()
    assert not first.trace.lines
    text = "\n".join(recorded.trace.lines)
    for word in ("one started", "received", "disk write_sync", "nemesis"):
        assert word in text
    assert recorded.trace.lines == sorted(recorded.trace.lines, key=lambda line: float(line.split()[0]))


def test_the_first_second_of_divergence_is_found() -> None:
    def program(draw_at_three: bool) -> SimWorld:
        with SimWorld(1) as world:
            draws = world.draws("test")

            async def scenario() -> None:
                for second in range(6):
                    if draw_at_three and second == 3:
                        draws.random()
                    await world_sleep(world, 1.0)

            world.run(scenario())
        return world

    same, also, different = program(False), program(False), program(True)
    assert same.trace.first_difference(also.trace) is None
    assert same.trace.first_difference(different.trace) == 1004


async def world_sleep(world: SimWorld, seconds: float) -> None:
    future = world.loop.create_future()
    world.loop.call_later(seconds, future.set_result, None)
    await future


def test_streams_of_draws_are_independent_and_hashed() -> None:
    trace = Trace()
    one = Draws(trace, 1, "a")
    before = trace.digest()
    values = [one.random(), one.randrange(10**6), one.expovariate(1), one.choice("abcdef"), one.randbytes(3)]
    assert trace.digest() != before
    two = Draws(Trace(), 1, "a")
    assert values == [two.random(), two.randrange(10**6), two.expovariate(1), two.choice("abcdef"), two.randbytes(3)]
    assert Draws(Trace(), 1, "b").random() != Draws(Trace(), 1, "a").random() != Draws(Trace(), 2, "a").random()


def test_time_and_randomness_are_interposed_inside_and_put_back_after() -> None:
    originals = (time.time, time.monotonic, time.sleep, os.urandom, random.Random.seed, random.getstate(), gc.isenabled())
    seen: list[object] = []

    async def look(ports: World) -> None:
        seen.append((time.time(), time.monotonic(), random.random(), os.urandom(4)))
        seen.append((uuid.uuid4(), uuid.uuid1(), random.Random().random()))
        before = time.monotonic()
        time.sleep(2.5)  # noqa: ASYNC251
        assert time.monotonic() - before == 2.5
        assert ports.clock.wall_ms() == int(time.time() * 1000)

    for _ in range(2):
        with SimWorld(5) as world:
            host = world.host("one")

            async def scenario(host=host) -> None:  # type: ignore[no-untyped-def]
                await host.start(look)

            world.run(scenario())
            assert not world.failures
    assert seen[:2] == seen[2:]
    assert originals == (time.time, time.monotonic, time.sleep, os.urandom, random.Random.seed, random.getstate(), gc.isenabled())
