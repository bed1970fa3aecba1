"""Where pywasm keeps what it can make again: models, embeddings, work in progress."""

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """$PYWASM_CACHE, or the user's cache folder of this system."""
    chosen = os.environ.get("PYWASM_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("pywasm")
