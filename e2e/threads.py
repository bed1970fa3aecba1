"""How many threads a test starts where it wants several."""

from pywasm.bench.browsers import Browser


def several(browser: Browser) -> int:
    """Three; two in Firefox, whose worker hangs, once in some 20 times, when it starts two others:
    its scripts are fetched, then nothing, not even a timer. One other was started 27 times without.
    """
    return 2 if browser.name == "firefox" else 3
