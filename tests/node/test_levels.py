"""Feature levels (rule 15): a cell whose nodes run different releases, in simulation. The newer one applies by other rules."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import ConfigError
from loggos.base.ids import Index, NodeId, Slot, Stamps
from loggos.node.batch import encode_batch, encode_run
from loggos.node.levels import NEWEST_LEVEL, OLDEST_LEVEL, CellLevels, refuse_unknown_level
from loggos.node.registry import Registry
from tests.node.kit import LEDGER, Cell, CellNode, Ledger, Outcome, connect, in_simulation, until

NEXT = NEWEST_LEVEL + 1


class NextRegistry(Registry):
    """Of the release after this one."""

    levels = range(OLDEST_LEVEL, NEXT + 1)


class LastRegistry(Registry):
    """Of one that has forgotten today's rules."""

    levels = range(NEXT, NEXT + 1)


class NextLedger(Ledger):
    """From level NEXT on every amount counts double."""

    level = 0

    def apply(self, first_index: Index, stamps: Any, command: bytes, answer: bool) -> Outcome:
        self.level = stamps.level
        return super().apply(first_index, stamps, command, answer)

    def change_of(self, amount: int) -> int:
        return 2 * amount if self.level >= NEXT else amount


LEDGERS = {Registry: Ledger, NextRegistry: NextLedger, LastRegistry: NextLedger}


def run_release(cell: Cell, registry: type[Registry], *numbers: int) -> None:
    """These nodes are of that release when they start next."""
    for number in numbers:
        cell.parts_of[number] = replace(cell.parts, registry=registry)
    cell.machines = lambda number: [LEDGERS[cell.parts_of.get(number, cell.parts).registry]()]


async def restart(cell: Cell, *numbers: int) -> None:
    await cell.stop(*numbers)
    cell.start(*numbers)
    await until(lambda: all(cell.nodes[number].runs for number in numbers))
    await cell.until_led()


async def write(cell: Cell, key: str) -> None:
    leader = await cell.until_led()
    await cell.propose(leader.number, f"{key}=1".encode())
    await until(lambda: all(key in totals(node) for node in cell.running()))
    await cell.until_equal()


def totals(node: CellNode) -> dict[str, int]:
    found: dict[str, int] = node.machines[0].totals
    return found


def level(node: CellNode) -> int:
    return node.replica.registry.stamps.level


def test_a_cell_passes_to_new_rules_when_the_last_node_knows_them() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        await write(cell, "a")
        for number in (1, 2, 3):
            run_release(cell, NextRegistry, number)
            await restart(cell, number)
            assert all(level(node) == NEWEST_LEVEL for node in cell.running()), number
            if number < 3:
                await write(cell, f"b{number}")
        await until(lambda: all(node.replica.levels.common == NEXT for node in cell.running()))
        await write(cell, "c")
        for node in cell.running():
            assert totals(node) == {"a": 1, "b1": 1, "b2": 1, "c": 2} and level(node) == NEXT
            assert node.logged("feature level")[-1]["level"] == NEXT
        await restart(cell, 1)  # applies it all again, each entry by the rules of its time
        await cell.until_equal()
        assert totals(cell.nodes[1]) == totals(cell.nodes[2])

    in_simulation(scenario)


def test_who_is_away_is_not_taken_for_one_that_knows() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        await write(cell, "a")
        await cell.stop()
        run_release(cell, NextRegistry, 1, 2, 3)
        cell.start(1, 2)
        await write(cell, "b")
        assert all(totals(cell.nodes[number]) == {"a": 1, "b": 1} for number in (1, 2))
        cell.start(3)
        await until(lambda: all(node.runs and node.replica.levels.common == NEXT for node in cell.nodes.values()))
        await write(cell, "c")
        assert all(totals(node) == {"a": 1, "b": 1, "c": 2} for node in cell.nodes.values())

    in_simulation(scenario)


def test_a_learner_counts_as_well() -> None:
    async def scenario(cell: Cell) -> None:
        run_release(cell, NextRegistry, 1, 2, 3)
        cell.start()
        await write(cell, "a")
        assert all(level(node) == NEWEST_LEVEL for node in cell.running())

    in_simulation(scenario, learners=1)


def test_an_older_release_stops_where_the_new_rules_begin_and_loses_nothing() -> None:
    async def scenario(cell: Cell) -> None:
        run_release(cell, NextRegistry, 1, 2, 3)
        cell.start()
        await write(cell, "a")
        await cell.stop(3)
        run_release(cell, Registry, 3)
        cell.start(3)
        await until(lambda: cell.nodes[3].fatal)
        error = cell.nodes[3].fatal[0]
        assert isinstance(error, ConfigError) and f"of feature level {NEXT}, this release knows {NEWEST_LEVEL}: " in str(error)
        assert totals(cell.nodes[3]) == {}
        cell.nodes[3].fatal.clear()
        await cell.stop(3)
        run_release(cell, NextRegistry, 3)
        cell.start(3)
        await write(cell, "b")
        assert all(totals(node) == {"a": 2, "b": 2} for node in cell.nodes.values())

    in_simulation(scenario)


def test_the_level_never_falls() -> None:
    """An older release comes back to a cell that has passed on; whoever leads goes on by the new rules."""

    async def scenario(cell: Cell) -> None:
        run_release(cell, NextRegistry, 1, 2, 3)
        cell.start()
        await write(cell, "a")
        leader = await cell.until_led()
        leader.replica.levels.heard(NodeId(leader.number % 3 + 1), NEWEST_LEVEL)
        assert leader.replica.levels.common == NEWEST_LEVEL
        await write(cell, "b")
        assert all(totals(node) == {"a": 2, "b": 2} and level(node) == NEXT for node in cell.nodes.values())

    in_simulation(scenario)


@pytest.mark.parametrize("seed", range(1, 13))
def test_nodes_that_change_their_release_again_and_again_agree_at_last(seed: int) -> None:
    """Upgrades, ways back and power cuts in any order, while others write. Whoever stops for rules that it does not know is
    upgraded."""

    async def scenario(cell: Cell) -> None:
        random = Random(seed)
        cell.start()
        await cell.until_led()
        for step in range(30):
            number = random.randrange(1, 4)
            if random.random() < 0.5:
                run_release(cell, NextRegistry if random.random() < 0.7 else Registry, number)
                await cell.stop(number)
                cell.start(number)
            for node in cell.running():
                if random.random() < 0.6:
                    await cell.propose(node.number, b"k%d=1" % step)
            await asyncio.sleep(random.choice((0.0, 0.05, 1.0)))
            for node in cell.nodes.values():
                if node.fatal:
                    assert isinstance(node.fatal[0], ConfigError), node.fatal
                    node.fatal.clear()
                    run_release(cell, NextRegistry, node.number)
                    await cell.stop(node.number)
                    cell.start(node.number)
        run_release(cell, NextRegistry, 1, 2, 3)
        for number in (1, 2, 3):
            await restart(cell, number)
            cell.nodes[number].fatal.clear()  # of its last life, if it had come back to the old release just before
        await until(lambda: all(node.replica.levels.common == NEXT for node in cell.running()))
        await write(cell, "end")
        assert all(totals(node)["end"] == 2 and level(node) == NEXT and not node.fatal for node in cell.nodes.values())
        assert len({frozenset(totals(node).items()) for node in cell.nodes.values()}) == 1

    in_simulation(scenario, seed=seed)


def test_a_snapshot_carries_the_level() -> None:
    made = NextRegistry([NextLedger()], lambda origin, epoch: False)
    made.apply(Slot(1), encode_batch(Stamps(1, 1, NEXT), [encode_run(LEDGER, NodeId(1), 0, b"a=1")]))
    other = NextRegistry([NextLedger()], lambda origin, epoch: False)
    other.restore(made.snapshot())
    assert other.stamps == Stamps(1, 1, NEXT) and other.full_digest() == made.full_digest()
    with pytest.raises(ConfigError, match=f"the snapshot of slot 1 is of feature level {NEXT}"):
        Registry([Ledger()], lambda origin, epoch: False).restore(made.snapshot())
    for slot, older in ((2, NEWEST_LEVEL), (3, NEXT)):
        made.apply(Slot(slot), encode_batch(Stamps(1, 1, older), [encode_run(LEDGER, NodeId(1), 0, b"a=1")]))
    assert made.machines[LEDGER].totals == {"a": 6}, "an entry stamped lower comes under the rules that are in force"  # type: ignore[attr-defined]


def test_a_release_that_has_forgotten_the_rules_of_a_directory_refuses_it() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        await write(cell, "a")
        await cell.stop(1)
        run_release(cell, LastRegistry, 1)
        cell.start(1)
        await asyncio.sleep(1)
        await until(lambda: cell.nodes[1].fatal)
        assert "come to this one by those in between" in str(cell.nodes[1].fatal[0])

    in_simulation(scenario)


@pytest.mark.parametrize("is_late", [False, True])
def test_a_process_that_follows_the_log_stops_where_it_does_not_know_the_rules(is_late: bool) -> None:
    async def scenario(cell: Cell) -> None:
        cell.serves = [LEDGER]
        run_release(cell, NextRegistry, 1)
        cell.start()
        node = cell.nodes[1]
        await until(lambda: node.runs and node.replica.leader == 1)
        newer, newer_copy, _ = await connect(node, NextLedger(), name="newer")
        newer.levels = NextRegistry.levels
        older_copy = None if is_late else (await connect(node, name="older"))[1]
        await cell.site.on(1, lambda: newer.propose(LEDGER, b"a=1"))
        await until(lambda: newer_copy.totals == {"a": 2})
        if is_late:
            older_copy = (await connect(node, name="older"))[1]
        await until(lambda: node.fatal)
        assert f"what the cell applies is of feature level {NEXT}" in str(node.fatal[0]) and older_copy.totals == {}

    in_simulation(scenario, voters=1)


@given(st.integers(1, 5), st.integers(0, 3), st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9))))
def test_common_is_what_all_know(oldest: int, more: int, heard: list[tuple[int, int]]) -> None:
    known, others = range(oldest, oldest + more + 1), [NodeId(1), NodeId(2), NodeId(3)]
    levels, newest = CellLevels(known, others), dict.fromkeys(others, 0)
    for node, level in heard:
        levels.heard(NodeId(node), level)
        newest[NodeId(node)] = level
    assert levels.common in known
    if min(newest.values()) >= oldest:
        assert levels.common == min(known[-1], *newest.values())
    else:
        assert levels.common == oldest


def test_a_cell_of_one_knows_what_it_knows() -> None:
    assert CellLevels(range(3, 6), []).common == 5


@pytest.mark.parametrize(("level", "knows"), [(4, "1 to 3"), (0, "1 to 3")])
def test_the_refusal_names_what_it_is_about(level: int, knows: str) -> None:
    with pytest.raises(ConfigError, match=f"the entry in slot 7 is of feature level {level}, this release knows {knows}: run"):
        refuse_unknown_level(level, range(1, 4), "the entry in slot 7")
