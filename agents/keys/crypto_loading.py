"""Called before pycryptodome is imported, so that it calls its C code through ctypes and not through cffi.

cffi parses the declarations of every C function when the library is imported: 45 ms of each start of an agent. Both
ways call the same code, and no operation that is used here is slower; where cffi is missing the library does the same.
"""

from __future__ import annotations

import importlib
import sys


def load_through_ctypes() -> None:
    """Make pycryptodome choose ctypes, unless somebody has loaded it, or needs cffi, already."""
    if "Crypto.Util._raw_api" in sys.modules or "cffi" in sys.modules:
        return
    sys.modules["cffi"] = None  # type: ignore[assignment]  # how an import is made to fail
    try:
        importlib.import_module("Crypto.Util._raw_api")
    finally:
        del sys.modules["cffi"]
