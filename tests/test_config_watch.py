"""A change of configuration is noticed once it is whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias

from adapter.config.load import LoadResult
from adapter.config.watch import Watch
from tests.test_config_load import document

POLL_S = 0.01
DEADLINE_S = 20.0


Changes: TypeAlias = AsyncGenerator[LoadResult, None]


def names(result: LoadResult) -> list[str]:
    return [metric.rule.metric_name for metric in result.metrics]


def run(path: Path, check: Callable[[Watch, Changes], Awaitable[None]], poll_s: float = POLL_S) -> None:
    """Load a path, then run a check on its changes."""

    async def main() -> None:
        watch = Watch([path], poll_s, POLL_S)
        await watch.load()
        async with asyncio.timeout(DEADLINE_S), aclosing(watch.changes()) as changes:
            await check(watch, changes)

    asyncio.run(main())


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A file that is written anew, and one that is added, are noticed."""
    (tmp_path / "a.yaml").write_text(document("a"))

    async def check(_: Watch, changes: Changes) -> None:
        (tmp_path / "a.yaml").write_text(document("b"))
        assert names(await anext(changes)) == ["b"]
        (tmp_path / "c.yaml").write_text(document("c"))
        assert names(await anext(changes)) == ["b", "c"]

    run(tmp_path, check)


def test_a_swapped_config_map_is_read_again(tmp_path: Path) -> None:
    """The kubelet's swap of the ..data link is noticed."""
    for version in "ab":
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "m.yaml").write_text(document(version))
    (tmp_path / "..data").symlink_to("..a")
    (tmp_path / "m.yaml").symlink_to("..data/m.yaml")

    async def check(_: Watch, changes: Changes) -> None:
        (tmp_path / "..tmp").symlink_to("..b")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        assert names(await anext(changes)) == ["b"]

    run(tmp_path, check)


def test_errors_are_changes_too(tmp_path: Path) -> None:
    """A file that became bad is yielded with its errors, and again when it has been mended."""
    path = tmp_path / "a.yaml"
    path.write_text(document("a"))

    async def check(_: Watch, changes: Changes) -> None:
        path.write_text("spec: [")
        assert (await anext(changes)).errors
        path.unlink()
        assert (await anext(changes)).errors == (f"{path}: cannot be read: No such file or directory",)
        path.write_text(document("a"))
        assert names(await anext(changes)) == ["a"]

    run(path, check)


def test_the_same_content_is_no_change(tmp_path: Path) -> None:
    """A file that was only touched is not yielded; the next real change is."""
    path = tmp_path / "a.yaml"
    path.write_text(document("a"))

    async def check(watch: Watch, changes: Changes) -> None:
        os.utime(path, ns=(1, 1))
        following = asyncio.ensure_future(anext(changes))
        while watch.polls < 3:  # noqa: ASYNC110 - nothing happens that an event could tell
            await asyncio.sleep(POLL_S)
        assert not following.done()
        path.write_text(document("b"))
        assert names(await following) == ["b"]

    run(path, check)


def test_a_reload_that_is_asked_for(tmp_path: Path) -> None:
    """reload() yields at once what the files hold, changed or not, however long the poll."""
    (tmp_path / "a.yaml").write_text(document("a"))

    async def check(watch: Watch, changes: Changes) -> None:
        for _ in range(2):
            watch.reload()
            assert names(await anext(changes)) == ["a"]

    run(tmp_path, check, poll_s=3_600)
