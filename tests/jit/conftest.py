from __future__ import annotations

import pytest
from wasm_host import WasmHost


@pytest.fixture(scope="session")
def wasm() -> WasmHost:
    return WasmHost()
