"""Feature levels (rule 15): a cell whose nodes run different releases, in simulation. The newer one applies by other rules."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loggos.base.errors import ConfigError
from loggos.base.ids import Index, NodeId, Slot, Stamps
from loggos.consensus.types import Entry
from loggos.node.batch import decode_stamps, encode_batch, encode_run
from loggos.node.levels import NEWEST_LEVEL, NO_LEVEL, NO_LEVELS, OLDEST_LEVEL, CellLevels, refuse_unknown_level
from loggos.node.registry import Registry
from loggos.node.replica import Replica
from loggos.sim.world import SimWorld
from tests.node.kit import LEDGER, Cell, CellNode, Ledger, Outcome, SimSite, connect, in_simulation, until
from tests.node.test_member import host_of

NEXT = NEWEST_LEVEL + 1
ALL = (1, 2, 3)


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


class BrokenLedger(NextLedger):
    """Of a release that cannot apply what is there."""

    def change_of(self, amount: int) -> int:
        raise RuntimeError("a bug of the new release")


LEDGERS = {Registry: Ledger, NextRegistry: NextLedger, LastRegistry: NextLedger}


def run_release(cell: Cell, registry: type[Registry], *numbers: int) -> None:
    """These nodes are of that release when they start next."""
    for number in numbers:
        cell.parts_of[number] = replace(cell.parts, registry=registry)
    cell.machines = lambda number: [LEDGERS[cell.parts_of.get(number, cell.parts).registry]()]


async def start_all(cell: Cell) -> None:
    """All three run, and are of a release that would pass on."""
    cell.start()
    await until(lambda: len(cell.running()) == 3)
    await until_all_would_pass_on(cell)


async def restart(cell: Cell, *numbers: int) -> None:
    await cell.stop(*numbers)
    for number in numbers:
        cell.nodes[number].fatal.clear()
    cell.start(*numbers)
    await until(lambda: all(cell.nodes[number].runs for number in numbers))
    await cell.until_led()


async def write(cell: Cell, *keys: str) -> None:
    for key in keys:
        leader = await cell.until_led()
        await cell.propose(leader.number, f"{key}=1".encode())
        await until(lambda key=key: all(key in totals(node) for node in cell.running()))  # type: ignore[misc]
        await cell.until_equal(*(node.number for node in cell.running()))


def totals(node: CellNode) -> dict[str, int]:
    found: dict[str, int] = node.machines[0].totals
    return found


def level(node: CellNode) -> int:
    return node.replica.level


def would_stamp(node: CellNode) -> int:
    return node.replica.levels.next(level(node))


async def until_all_would_pass_on(cell: Cell) -> None:
    await until(lambda: all(would_stamp(node) == NEXT for node in cell.running()))


# --- cells of several releases -------------------------------------------------------------------------------------------------


def test_a_cell_passes_to_new_rules_when_the_last_node_knows_them() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        await write(cell, "a")
        for number in ALL:
            run_release(cell, NextRegistry, number)
            await restart(cell, number)
            assert all(level(node) == NEWEST_LEVEL for node in cell.running()), number
            if number < 3:
                await asyncio.sleep(1)
                await write(cell, f"b{number}")
        await until_all_would_pass_on(cell)
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
        run_release(cell, NextRegistry, *ALL)
        cell.start(1, 2)
        await write(cell, "b")
        assert all(totals(cell.nodes[number]) == {"a": 1, "b": 1} for number in (1, 2))
        cell.start(3)
        await until(lambda: len(cell.running()) == 3)
        await until_all_would_pass_on(cell)
        await write(cell, "c")
        assert all(totals(node) == {"a": 1, "b": 1, "c": 2} for node in cell.nodes.values())

    in_simulation(scenario)


def test_who_goes_back_while_the_last_one_comes_is_not_lost() -> None:
    """All have run the new release, but never all at once."""

    async def scenario(cell: Cell) -> None:
        cell.start()
        await write(cell, "a")
        for number in (1, 2):
            run_release(cell, NextRegistry, number)
            await restart(cell, number)
        await cell.stop(2)
        run_release(cell, NextRegistry, 3)
        await restart(cell, 3)
        await asyncio.sleep(1)
        await write(cell, "b")
        run_release(cell, Registry, 2)
        await restart(cell, 2)
        await write(cell, "c")
        assert all(totals(node) == {"a": 1, "b": 1, "c": 1} and not node.fatal for node in cell.nodes.values())

    in_simulation(scenario)


@pytest.mark.parametrize("how", ["refused", "broken"])
def test_a_release_that_does_not_come_up_is_not_counted_and_the_way_back_stays_open(how: str) -> None:
    async def scenario(cell: Cell) -> None:
        run_release(cell, NextRegistry, 1, 2)
        cell.start()
        await write(cell, "a", "b", "c")
        run_release(cell, LastRegistry if how == "refused" else NextRegistry, 3)
        if how == "broken":
            well = cell.machines
            cell.machines = lambda number: [BrokenLedger()] if number == 3 else well(number)
        await cell.stop(3)
        cell.start(3)
        await until(lambda: cell.nodes[3].fatal)
        if how == "refused":
            assert "come to this one by those in between" in str(cell.nodes[3].fatal[0])
        await cell.stop(3)
        await write(cell, "d")
        run_release(cell, Registry, 3)
        await restart(cell, 3)
        await write(cell, "e")
        assert all(totals(node) == dict.fromkeys("abcde", 1) and not node.fatal for node in cell.nodes.values())

    in_simulation(scenario)


class Held(Replica):
    """Applies nothing for a while."""

    is_held = True
    held: tuple[Entry, ...] = ()

    def _apply(self, committed: tuple[Entry, ...]) -> None:
        if self.is_held:
            self.held += committed
        else:
            super()._apply(committed)


def test_a_node_that_has_not_applied_what_was_there_does_not_tell_its_levels() -> None:
    async def scenario(cell: Cell) -> None:
        run_release(cell, NextRegistry, 1, 2)
        cell.start()
        await write(cell, "a", "b", "c")
        await cell.stop(3)
        run_release(cell, NextRegistry, 3)
        cell.parts_of[3] = replace(cell.parts_of[3], replica=Held)
        cell.start(3)
        await until(lambda: len(cell.running()) == 3)
        await asyncio.sleep(1)
        assert all(would_stamp(cell.nodes[number]) == NEWEST_LEVEL for number in (1, 2))
        replica = cell.nodes[3].replica
        assert isinstance(replica, Held) and replica.held
        replica.is_held = False
        await cell.site.on(3, lambda: replica._apply(replica.held))
        await until_all_would_pass_on(cell)

    in_simulation(scenario)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_learner_counts_as_well(is_there: bool) -> None:
    async def scenario(cell: Cell) -> None:
        run_release(cell, NextRegistry, *ALL)
        cell.start(*ALL, *([4] if is_there else []))
        await until(lambda: len(cell.running()) == 3 + is_there)
        await asyncio.sleep(1)
        await write(cell, "a")
        assert all(level(node) == NEWEST_LEVEL for node in cell.running())
        run_release(cell, NextRegistry, 4)
        await cell.stop(4)
        cell.start(4)
        await until(lambda: len(cell.running()) == 4)
        await until_all_would_pass_on(cell)
        await write(cell, "b")
        assert all(totals(node) == {"a": 1, "b": 2} for node in cell.nodes.values())

    in_simulation(scenario, learners=1)


def test_an_older_release_stops_where_the_new_rules_begin_and_loses_nothing() -> None:
    async def scenario(cell: Cell) -> None:
        run_release(cell, NextRegistry, *ALL)
        await start_all(cell)
        await cell.stop(3)
        await write(cell, "a")
        assert level(cell.nodes[1]) == NEWEST_LEVEL, "one is away"
        cell.start(3)
        await until(lambda: len(cell.running()) == 3)
        await until_all_would_pass_on(cell)
        await write(cell, "b")
        await cell.stop(3)
        run_release(cell, Registry, 3)
        cell.start(3)
        await until(lambda: cell.nodes[3].fatal)
        error = cell.nodes[3].fatal[0]
        assert isinstance(error, ConfigError) and f"of feature level {NEXT}, this release knows {NEWEST_LEVEL}: " in str(error)
        assert "b" not in totals(cell.nodes[3])
        run_release(cell, NextRegistry, 3)
        await restart(cell, 3)
        await write(cell, "c")
        assert all(totals(node) == {"a": 1, "b": 2, "c": 2} for node in cell.nodes.values())

    in_simulation(scenario)


def test_an_older_release_does_not_install_a_newer_snapshot() -> None:
    async def scenario(cell: Cell) -> None:
        run_release(cell, NextRegistry, *ALL)
        await start_all(cell)
        await write(cell, "a")
        await cell.stop(3)
        for _ in range(60):
            leader = await cell.until_led()
            await cell.propose(leader.number, *(b"k%d=%s1" % (key, b"0" * 900) for key in range(3)))
            await asyncio.sleep(0.05)
        host = host_of(cell, 3)
        host.wipe()
        run_release(cell, Registry, 3)
        cell.start(3)
        await until(lambda: host.world.failures)
        error = host.world.failures[0].error
        assert isinstance(error, ConfigError) and "the snapshot of slot" in str(error) and totals(cell.nodes[3]) == {}
        host.world.failures.clear()
        run_release(cell, NextRegistry, 3)
        cell.nodes[3].log.clear()
        await cell.stop(3)
        host.wipe()
        await restart(cell, 3)
        await until(lambda: cell.nodes[3].logged("snapshot installed"))
        await asyncio.sleep(1)
        assert cell.nodes[3].logged("feature level")[0]["level"] == NEXT and not cell.nodes[3].logged("snapshot")
        await write(cell, "end")
        assert all(totals(node) == totals(cell.nodes[1]) for node in cell.nodes.values())

    with SimWorld(1) as world:
        world.on_failure = lambda task, error: None
        world.run(scenario(Cell(SimSite(world, 3))), 300)


def test_the_level_never_falls() -> None:
    """A node is away again after the cell has passed on; whoever leads goes on by the new rules, and stamps them."""
    stamped: list[int] = []

    class Recording(NextRegistry):
        def apply(self, slot: Slot, payload: bytes) -> None:
            if payload:
                stamped.append(decode_stamps(payload).level)
            super().apply(slot, payload)

    LEDGERS[Recording] = NextLedger

    async def scenario(cell: Cell) -> None:
        run_release(cell, Recording, *ALL)
        await start_all(cell)
        await write(cell, "a")
        await cell.stop(1)
        await write(cell, "b")
        assert all(totals(node) == {"a": 2, "b": 2} and level(node) == NEXT for node in cell.running())

    in_simulation(scenario)
    assert set(stamped) == {NEXT}


def test_a_release_that_has_forgotten_the_old_rules_starts_once_the_cell_has_passed_on() -> None:
    """Every node makes a snapshot then, so that it needs none of the entries before."""

    async def scenario(cell: Cell) -> None:
        cell.start()
        await write(cell, "a")
        await cell.stop()
        run_release(cell, NextRegistry, *ALL)
        await start_all(cell)
        await write(cell, "b")
        await until(lambda: all(node.logged("snapshot") for node in cell.running()))
        for number in ALL:
            cell.nodes[number].log.clear()
            run_release(cell, LastRegistry, number)
            await restart(cell, number)
            await asyncio.sleep(1)
            assert cell.nodes[number].logged("feature level")[0]["level"] == NEXT and not cell.nodes[number].logged("snapshot")
        await write(cell, "c")
        assert all(totals(node) == {"a": 1, "b": 2, "c": 2} and not node.fatal for node in cell.nodes.values())

    in_simulation(scenario)


@pytest.mark.parametrize("seed", range(1, 9))
def test_nodes_whose_releases_share_no_level_do_not_stop_each_other(seed: int) -> None:
    async def scenario(cell: Cell) -> None:
        run_release(cell, Registry, 1, 2)
        run_release(cell, LastRegistry, 3)
        cell.start()
        await until(lambda: any(cell.nodes[number].replica.leader == number for number in (1, 2) if cell.nodes[number].runs))
        await cell.propose(1, b"a=1")
        await until(lambda: all(totals(cell.nodes[number]) == {"a": 1} for number in (1, 2)))
        assert not cell.nodes[1].fatal and not cell.nodes[2].fatal
        why = f"node 3 knows the feature levels {NEXT}, this node {NEWEST_LEVEL}: run releases that share one"
        await until(lambda: any(fields["why"] == why for fields in cell.nodes[1].logged("peer refused")))

    in_simulation(scenario, seed=seed)


@pytest.mark.parametrize("seed", range(1, 13))
def test_nodes_that_change_their_release_again_and_again_agree_at_last(seed: int) -> None:
    """Upgrades, ways back and crashes in any order, while others write. Whoever stops for rules that it does not know is
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
                    run_release(cell, NextRegistry, node.number)
                    await cell.stop(node.number)
                    node.fatal.clear()
                    cell.start(node.number)
        run_release(cell, NextRegistry, *ALL)
        for number in ALL:
            await restart(cell, number)
        await until_all_would_pass_on(cell)
        await write(cell, "end")
        assert all(totals(node)["end"] == 2 and level(node) == NEXT and not node.fatal for node in cell.nodes.values())
        assert len({frozenset(totals(node).items()) for node in cell.nodes.values()}) == 1

    in_simulation(scenario, seed=seed)


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
        older, older_copy = None, Ledger()
        if not is_late:
            older, _, _ = await connect(node, older_copy, name="older")
            assert older.synced and older.level == NO_LEVEL and not node.fatal
        await cell.site.on(1, lambda: newer.propose(LEDGER, b"a=1"))
        await until(lambda: newer_copy.totals == {"a": 2} and newer.level == NEXT)
        if is_late:
            with pytest.raises(ConfigError, match="does not take this process: what the cell applies is of feature level"):
                await connect(node, older_copy, name="older")
        await until(lambda: node.fatal)
        assert f"what the cell applies is of feature level {NEXT}" in str(node.fatal[0]) and older_copy.totals == {}

    in_simulation(scenario, voters=1)


# --- one registry --------------------------------------------------------------------------------------------------------------


def batch(level: int, *commands: bytes) -> bytes:
    return encode_batch(Stamps(1, 1, level), [encode_run(LEDGER, NodeId(1), 0, command) for command in commands])


def made(registry: type[Registry], ledger: Ledger | None = None) -> Registry:
    return registry([ledger or LEDGERS[registry]()], lambda origin, epoch: False)


def test_a_snapshot_carries_the_level() -> None:
    source, other = made(NextRegistry), made(NextRegistry)
    source.apply(Slot(1), batch(NEXT, b"a=1"))
    other.restore(source.snapshot())
    assert other.stamps == Stamps(1, 1, NEXT) and other.full_digest() == source.full_digest()
    other.stamps = Stamps(1, 1, NEWEST_LEVEL)
    assert other.full_digest() != source.full_digest()
    other.restore(other.snapshot())
    assert other.stamps.level == NEWEST_LEVEL
    with pytest.raises(ConfigError, match=f"the snapshot of slot 1 is of feature level {NEXT}"):
        made(Registry).restore(source.snapshot())


@pytest.mark.parametrize("registry", [NextRegistry, LastRegistry])
def test_what_was_stamped_lower_comes_under_the_rules_in_force(registry: type[Registry]) -> None:
    it = made(registry)
    for slot, stamped in ((1, NEXT), (2, NEWEST_LEVEL), (3, NEXT)):
        it.apply(Slot(slot), batch(stamped, b"a=1"))
    assert it.machines[LEDGER].totals == {"a": 6} and it.stamps.level == NEXT  # type: ignore[attr-defined]


@pytest.mark.parametrize("level", [NO_LEVEL, OLDEST_LEVEL - 1, NEXT])
def test_what_is_refused_leaves_no_trace(level: int) -> None:
    it = made(Registry)
    before = it.full_digest()
    with pytest.raises(ConfigError, match=f"the entry in slot 1 is of feature level {level}"):
        it.apply(Slot(1), batch(level, b"a=1"))
    assert (it.slot, it.index, it.full_digest()) == (0, 0, before)


class PlainLedger(NextLedger):
    """With a short way for a command of one operation."""

    def apply_plain(self, payload: bytes, at: int, end: int, index: Index, stamps: Stamps) -> tuple[int] | None:
        if b";" in payload[at:end]:
            return None
        return (self.apply(index, stamps, payload[at:end], False).totals[-1],)


def test_the_short_way_is_told_the_level() -> None:
    source, other = made(NextRegistry, PlainLedger()), made(NextRegistry, PlainLedger())
    source.apply(Slot(1), batch(NEXT, b"a=1;b=1"))
    other.restore(source.snapshot())
    for it in (source, other):
        it.apply(Slot(2), batch(NEXT, b"c=1"))
        assert it.machines[LEDGER].totals == {"a": 2, "b": 2, "c": 2}  # type: ignore[attr-defined]


# --- what all know -------------------------------------------------------------------------------------------------------------

ranges = st.tuples(st.integers(1, 6), st.integers(1, 3)).map(lambda pair: range(pair[0], sum(pair)))
words = st.lists(st.tuples(st.integers(1, 3), st.none() | ranges))


@given(ranges, words, st.integers(0, 9))
@example(range(3, 5), [(1, range(3, 8)), (2, range(3, 8)), (3, range(3, 8))], 3)
def test_the_next_level_is_one_that_all_know_or_the_one_in_force(
    known: range, heard: list[tuple[int, range | None]], asked: int
) -> None:
    others: dict[NodeId, range] = {NodeId(node): NO_LEVELS for node in ALL}
    levels = CellLevels(known, others)
    in_force = asked if asked in known else NO_LEVEL
    for number, levels_of in heard:
        node = NodeId(number)
        others[node] = levels_of or NO_LEVELS
        if levels_of is None:
            levels.lost(node)
        else:
            levels.heard(node, levels_of)
    found, oldest = levels.next(in_force), in_force or known[0]
    everybody = (known, *others.values())
    assert found >= oldest and levels.next(in_force) == found
    if all(oldest in some for some in everybody):
        assert all(found in some for some in everybody) and not all(found + 1 in some for some in everybody)
    else:
        assert found == oldest


def test_a_cell_of_one_knows_what_it_knows() -> None:
    assert CellLevels(range(3, 6), []).next(NO_LEVEL) == CellLevels(range(3, 6), []).next(3) == 5


@pytest.mark.parametrize(("level", "knows"), [(4, "1 to 3"), (0, "1 to 3")])
def test_the_refusal_names_what_it_is_about(level: int, knows: str) -> None:
    with pytest.raises(ConfigError, match=f"the entry in slot 7 is of feature level {level}, this release knows {knows}: run"):
        refuse_unknown_level(level, range(1, 4), "the entry in slot 7")
