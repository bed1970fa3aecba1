"""pywasm: from documents to a static site whose visitors search it in their own browser.

The command line is `pywasm` (cli.py). The pieces it is made of can be used alone: sources
(sources.py), chunking (chunking.py), text encoders (encoder.py), the builder (build.py).
"""

__version__ = "0.1.0"
