"""The recorder hears of what a machine's short way applies as of everything else."""

from __future__ import annotations

from loggos.app.simulation.recorder import LogRecorder, recording_registry
from loggos.base.ids import Index, NodeId, Slot
from loggos.check.history import Request
from loggos.coordination.commands import ReapItem, encode_reap
from loggos.node.registry import Registry
from tests.coordination.kit import Driver, create, create_container, delete
from tests.node.test_plain_way import ME, OTHER, GeneralRegistry, Told, registry_with, sets

WITNESS = 3


def recorded(kind: type[Registry], origins: tuple[NodeId, ...]) -> tuple[LogRecorder, list[int], Registry]:
    recorder = LogRecorder(lambda: 1.0)
    owing: list[int] = []
    recorder.on_answer = owing.append
    registry, session = registry_with(Told(), recording_registry(kind, WITNESS, recorder))
    owing.clear()
    registry.apply(Slot(3), sets(session, *origins))
    return recorder, owing, registry


def test_the_log_and_who_owes_an_answer_are_those_of_the_general_way() -> None:
    origins = (OTHER, ME, OTHER, ME, ME)
    plain, owes, registry = recorded(Registry, origins)
    general, expected, twin = recorded(GeneralRegistry, origins)
    assert plain.log == general.log and plain.last == general.last == registry.index == twin.index == 7
    assert plain.recent == general.recent and not plain.differences
    assert owes == expected == [WITNESS] * 3


def test_only_the_node_that_applies_first_owes_an_answer() -> None:
    recorder = LogRecorder(lambda: 1.0)
    owing: list[int] = []
    recorder.on_answer = owing.append
    (first, session), (second, _) = [registry_with(Told(), recording_registry(Registry, node, recorder)) for node in (1, 2)]
    owing.clear()
    for registry in (first, second):
        registry.apply(Slot(3), sets(session, ME))
    assert owing == [1] and not recorder.differences and len(recorder.log) == 3


def test_a_node_that_applied_something_else_is_noticed() -> None:
    recorder = LogRecorder(lambda: 1.0)
    (first, session), (second, _) = [registry_with(Told(), recording_registry(Registry, node, recorder)) for node in (1, 2)]
    first.apply(Slot(3), sets(session, ME))
    batch = sets(session, ME)
    second.apply(Slot(3), batch[:-5] + b"9" + batch[-4:])  # another value
    assert [violation.rule for violation in recorder.differences] == ["agreement"]


def test_each_container_that_the_cell_deletes_is_an_entry() -> None:
    driver, recorder = Driver(), LogRecorder(lambda: 1.0)
    client = driver.client()
    recorder.last = driver.index
    made = client.command(
        *[make(path) for path in (b"/a", b"/b", b"/c") for make in (create_container, create_below, delete_below)]
    )
    recorder.applied(1, Index(driver.index + 1), made, driver.apply(made))
    seen = {path: driver.stat_of(path).pzxid for path in (b"/a", b"/b", b"/c")}
    seen[b"/b"] -= 1  # that one stays
    first = Index(driver.index + 1)
    recorder.applied(1, first, encode_reap([ReapItem(*item) for item in seen.items()]), driver.reap(*seen.items()))
    assert recorder.log[0].request == Request("create", "/a", container=True)
    reaped = [(entry.index, entry.session, entry.request) for entry in recorder.log[-2:]]
    assert reaped == [
        (first, 0, Request("reap", "/a", version=seen[b"/a"])),
        (first + 1, 0, Request("reap", "/c", version=seen[b"/c"])),
    ]
    assert not recorder.differences


def create_below(path: bytes) -> tuple[int, bytes]:
    return create(path + b"/x")


def delete_below(path: bytes) -> tuple[int, bytes]:
    return delete(path + b"/x")
