"""The static server: ranges, compression, caching, isolation."""

import gzip
import hashlib
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pywasm.serve import cache_control, create_app, parse_range

BODY = bytes(range(256)) * 40


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    site = tmp_path / "site"
    (site / "data").mkdir(parents=True)
    (site / "pywasm").mkdir()
    (site / "data" / "0123456789abcdef0123.bin").write_bytes(BODY)
    (site / "index.html").write_text("<!doctype html><p>Hello</p>" * 50)
    (site / "pywasm" / "engine.wasm").write_bytes(b"\0asm" + bytes(2000))
    (site / "pywasm" / "pywasm.js").write_text("export const x = 1;\n" * 100)
    (tmp_path / "secret.txt").write_text("no")
    return TestClient(create_app(site))


SHARD = "/data/0123456789abcdef0123.bin"


def test_isolation_headers_and_types(client: TestClient) -> None:
    for path, kind in (
        ("/", "text/html; charset=utf-8"),
        ("/pywasm/engine.wasm", "application/wasm"),
        ("/pywasm/pywasm.js", "text/javascript; charset=utf-8"),
        (SHARD, "application/octet-stream"),
    ):
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"] == kind
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert response.headers["cross-origin-embedder-policy"] == "require-corp"
        assert response.headers["cross-origin-resource-policy"] == "cross-origin"
        assert response.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("header", "first", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(BODY)),
        ("bytes=-7", len(BODY) - 7, len(BODY)),
        ("bytes=5-99999999", 5, len(BODY)),
        ("bytes=-99999999", 0, len(BODY)),
    ],
)
def test_ranges(client: TestClient, header: str, first: int, end: int) -> None:
    response = client.get(SHARD, headers={"Range": header})
    assert response.status_code == 206
    assert response.content == BODY[first:end]
    assert response.headers["content-range"] == f"bytes {first}-{end - 1}/{len(BODY)}"
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("header", [f"bytes={len(BODY)}-", "bytes=-0"])
def test_a_range_that_can_not_be_satisfied(client: TestClient, header: str) -> None:
    response = client.get(SHARD, headers={"Range": header})
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{len(BODY)}"


@pytest.mark.parametrize("header", ["bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-"])
def test_a_range_that_is_to_be_ignored(client: TestClient, header: str) -> None:
    response = client.get(SHARD, headers={"Range": header})
    assert response.status_code == 200 and response.content == BODY


def test_if_range_of_another_version_gives_the_whole(client: TestClient) -> None:
    etag = client.get(SHARD).headers["etag"]
    for given, status in ((etag, 206), ('"other"', 200)):
        response = client.get(SHARD, headers={"Range": "bytes=0-3", "If-Range": given})
        assert response.status_code == status


def test_gzip_of_text_and_code_but_never_of_a_range(client: TestClient) -> None:
    for path in ("/", "/pywasm/pywasm.js", "/pywasm/engine.wasm"):
        response = client.get(path, headers={"Accept-Encoding": "gzip"})
        assert response.headers["content-encoding"] == "gzip"
        assert response.headers["vary"] == "Accept-Encoding"
        plain = client.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == response.content
        assert plain.headers["etag"] != response.headers["etag"]
        assert int(response.headers["content-length"]) < len(gzip.compress(plain.content)) + 100
        part = client.get(path, headers={"Accept-Encoding": "gzip", "Range": "bytes=0-9"})
        assert part.content == plain.content[:10] and "content-encoding" not in part.headers
    assert "content-encoding" not in client.get(SHARD).headers


def test_revalidation(client: TestClient) -> None:
    first = client.get("/")
    again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b""


def test_head_has_headers_only(client: TestClient) -> None:
    response = client.head(SHARD)
    assert response.status_code == 200 and response.content == b""
    assert response.headers["content-length"] == str(len(BODY))


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/nowhere", "/data", "/a%00"]
)
def test_nothing_outside_and_nothing_missing(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "forever"),
    [
        ("data/0123456789abcdef0123.bin", True),
        ("pywasm/chunk-0a1b2c3d.js", True),
        ("encoder/weights-0123456789abcdef0123.bin", True),
        ("tune/pywasm_jit-0123456789abcdef0123.whl", True),
        ("manifest.json", False),
        ("encoder/plan.json", False),
        ("tune/pyodide/pyodide.mjs", False),
        ("index.html", False),
        ("pywasm/engine.wasm", False),
    ],
)
def test_only_what_is_named_by_its_content_is_kept_for_ever(path: str, forever: bool) -> None:
    assert ("immutable" in cache_control(path)) == forever


def test_an_address_with_the_hash_of_its_content_is_kept_for_ever(client: TestClient) -> None:
    digest = hashlib.sha256(b"\0asm" + bytes(2000)).hexdigest()

    def control(version: str) -> str:
        return client.get(f"/pywasm/engine.wasm?v={version}").headers["cache-control"]

    assert "immutable" in control(digest[:16])
    assert "immutable" in control(digest)
    # Of another build, or too short to mean anything.
    assert control("0" * 16) == "no-cache"
    assert control(digest[:4]) == control("") == "no-cache"


def test_parse_range_of_an_empty_file() -> None:
    assert parse_range("bytes=0-", 0) == range(0)
