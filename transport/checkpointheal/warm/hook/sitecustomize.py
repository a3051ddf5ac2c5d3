"""Where does the start of a Python turn into a warm process?

Here, in `site`, before the interpreter looks at its command: a process that is forked from here goes on to run the
command just as every Python does, with no frame, no name and no option of ours in its way. Must not let `site` go on in
a warm process, whatever happens: it would train too.
"""

import os
import sys

if "CHECKPOINTHEAL_WARM" in os.environ:
    cold = frozenset(sys.modules)
    try:
        from checkpointheal.warm.nursery import keep

        hidden = keep(cold, os.path.dirname(__file__))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    if not hidden:  # what `site` expects where nobody customizes it
        raise ImportError("there is no sitecustomize", name="sitecustomize")
