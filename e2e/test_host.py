"""The tests' own host."""

from __future__ import annotations

from collections.abc import Callable
from http.server import HTTPServer, ThreadingHTTPServer
from pathlib import Path

import pytest
from host import Host


def test_every_host_is_an_origin_of_its_own(
    serve: Callable[[Path], Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that the kernel gives a second time is not used: a browser would open the site that it
    stored from there.
    """
    ended = serve(tmp_path)
    ended.stop()
    given = [int(ended.url.rpartition(":")[2])]

    def bind_to_the_same(server: ThreadingHTTPServer) -> None:
        if given:
            server.server_address = ("127.0.0.1", given.pop())
        HTTPServer.server_bind(server)

    monkeypatch.setattr(ThreadingHTTPServer, "server_bind", bind_to_the_same)
    assert serve(tmp_path).url != ended.url
    assert given == []


def test_a_host_that_comes_back_is_where_it_was(
    serve: Callable[[Path], Host], tmp_path: Path
) -> None:
    host = serve(tmp_path)
    address = host.url
    host.stop()
    host.start()
    assert host.url == address
