"""Each tidy rule finds what it is for, and lets the good neighbour of it pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.tidy import rules
from tests.tidy.rules import Source

Rule = Callable[[Source], Iterator[str]]

LONG_BODY = "def f():\n" + "    x = 1\n" * rules.FUNCTION_LINES_MAX
FITTING_BODY = "def f():\n" + "    x = 1\n" * (rules.FUNCTION_LINES_MAX - 1)

# rule, what it must find, what it must let pass
CASES: list[tuple[Rule, str, str]] = [
    (rules.long_files, "x = 1\n" * (rules.FILE_LINES_MAX + 1), "x = 1\n" * rules.FILE_LINES_MAX),
    (rules.long_functions, LONG_BODY, FITTING_BODY),
    (rules.long_functions, "class C:\n    async " + LONG_BODY.replace("\n", "\n    ").rstrip() + "\n", FITTING_BODY),
    (rules.missing_docstring, "import sys\n'''late'''\n", "'''What it is.'''\n"),
    (rules.missing_docstring, "''\n", "'''What it is.'''\n"),
    (rules.broad_excepts, "try:\n    f()\nexcept Exception:\n    pass\n", "try:\n    f()\nexcept OSError:\n    pass\n"),
    (rules.broad_excepts, "try:\n    f()\nexcept:\n    pass\n", "try:\n    f()\nfinally:\n    pass\n"),
    (rules.broad_excepts, "try:\n    f()\nexcept (OSError, BaseException) as e:\n    pass\n", "except_exception = Exception\n"),
    (rules.broad_excepts, "with contextlib.suppress(Exception):\n    f()\n", "with contextlib.suppress(OSError):\n    f()\n"),
    (
        rules.broad_excepts,
        "try:\n    f()\nexcept BaseException as e:\n    raise ValueError from e\n",
        "try:\n    f()\nexcept BaseException:\n    clean()\n    raise\n",
    ),
    (rules.prints, "def f():\n    print(1)\n", "def f():\n    console.print(1)\n"),
    (rules.bare_tasks, "asyncio.create_task(f())\n", "spawner.spawn(f(), 'name')\n"),
    (rules.bare_tasks, "loop.create_task(f())\n", "create_task = 1\n"),
    (
        rules.bare_tasks,
        "async def f():\n    async with other() as group:\n        group.create_task(g())\n",
        "async def f():\n    async with asyncio.TaskGroup() as group:\n        group.create_task(g())\n",
    ),
    (rules.bare_tasks, "ensure_future(f())\n", "await f()\n"),
    (rules.hollow_functions, "def f():\n    '''Doc.'''\n    raise NotImplementedError\n", "def f():\n    raise ValueError\n"),
    (rules.hollow_functions, "class C:\n    async def f(self):\n        raise NotImplementedError('later')\n", "def f(): ...\n"),
    (
        rules.hollow_functions,
        "class C:\n    def hook(self):\n        raise NotImplementedError\n",
        "class C(ABC):\n    @abstractmethod\n    def hook(self):\n        raise NotImplementedError\n",
    ),
    (rules.monkeypatches, "def test(monkeypatch):\n    pass\n", "def test(tmp_path):\n    pass\n"),
    (rules.monkeypatches, "from unittest.mock import patch\n", "import unittest\n"),
    (rules.monkeypatches, "from unittest import mock\n", "from unittest import TestCase\n"),
    (rules.monkeypatches, "import unittest.mock\n", "'''We never monkeypatch.'''\n"),
    (rules.monkeypatches, "m = pytest.MonkeyPatch()\n", "m = pytest.raises(OSError)\n"),
    (rules.constant_asserts, "assert True\n", "assert x\n"),
    (rules.constant_asserts, "assert (x, 'why')\n", "assert x, 'why'\n"),
]


@pytest.mark.parametrize(("rule", "bad", "good"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_rule(rule: Rule, bad: str, good: str) -> None:
    assert list(rule(rules.source("src/loggos/x.py", bad)))
    assert not list(rule(rules.source("src/loggos/x.py", good)))


def test_an_allowance_names_the_function() -> None:
    text = "class Supervisor:\n    def run(self):\n        try:\n            f()\n        except Exception:\n            pass\n"
    file = rules.source("src/loggos/x.py", text)
    assert not list(rules.broad_excepts(file, {("src/loggos/x.py", "Supervisor.run")}))
    assert list(rules.broad_excepts(file, {("src/loggos/x.py", "Supervisor.other")}))
    assert list(rules.broad_excepts(file, {("src/loggos/y.py", "Supervisor.run")}))


def module(path: str, text: str) -> tuple[str, Source]:
    name = path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name, rules.source(path, text)


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from os import path",
        "import os.path",
        "def f():\n    import random",
        "try:\n    import socket\nfinally:\n    pass",
    ],
)
def test_a_pure_module_may_not_see_the_world(line: str) -> None:
    assert list(rules.impure(dict([module("src/loggos/consensus/engine.py", line)])))
    assert list(rules.impure(dict([module("src/loggos/coordination/machine.py", line)])))
    assert not list(rules.impure(dict([module("src/loggos/coordination/service.py", line)])))


def test_purity_holds_for_what_a_pure_module_uses() -> None:
    files = dict(
        [
            module("src/loggos/coordination/machine.py", "from loggos.coordination import tree\n"),
            module("src/loggos/coordination/tree.py", "from .acl import check\n"),
            module("src/loggos/coordination/acl.py", "import time\n"),
        ]
    )
    found = list(rules.impure(files))
    assert len(found) == 1 and found[0].startswith("src/loggos/coordination/acl.py:1:") and "used by" in found[0]


def test_purity_ends_at_the_ports_and_at_type_checking() -> None:
    files = dict(
        [
            module("src/loggos/check/witness.py", "from loggos.base.ports import Buffer\n"),
            module("src/loggos/base/ports.py", "import asyncio\n"),
            module("src/loggos/check/history.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import asyncio\n"),
        ]
    )
    assert not list(rules.impure(files))


@pytest.mark.parametrize("path", ["/home/" + "ada/x", "/Users/" + "ada/x", "/ro" + "ot/.x"])
def test_paths_of_a_machine_are_found(path: str) -> None:
    assert list(rules.machine_paths("README.md", f"see {path}"))


def test_znode_paths_are_no_machine_paths() -> None:
    assert not list(rules.machine_paths("x.py", "tree.create(b'/r/child'); b'/home'; '/workers/1'; '/jobs/item'"))


def test_addresses_are_found() -> None:
    assert list(rules.addresses("constraints.txt", "kazoo @ HTTPS" + "://example.org/kazoo.whl"))
    assert list(rules.addresses("constraints.txt", "-e git+ssh" + "://example.org/kazoo"))
    assert not list(rules.addresses("constraints.txt", "kazoo==2.11.0"))
