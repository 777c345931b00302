"""Keeps Twisted from loading OpenSSL for TLS, which is not used here and takes a fifth of the time to the prompt.

To be imported before Twisted, by the program only: a module that is None cannot be imported.
"""

import sys

sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type] # as documented for sys.modules
