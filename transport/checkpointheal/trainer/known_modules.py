"""Which modules does this process hold?

Torch keeps no list of them, and `attach` was given what others wrap. A look at every object finds them, but takes long
in a trainer that holds millions, while its job waits: so there is one such look, and from then on torch tells of each
module that is given to another. Must not know what is asked of them.
"""

import gc
from functools import cache
from weakref import WeakValueDictionary

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook


class KnownModules:
    """All that were there when this was made, and each that was given to another one since, or was given one.

    Held weakly: nobody's module may stay for this.
    """

    def __init__(self) -> None:
        self._known: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()  # by id: not every module has a hash
        register_module_module_registration_hook(self._is_given)  # first, or one made meanwhile would never be known
        for each in gc.get_objects():
            # By type, not by isinstance: somebody's lazy object would answer for its `__class__` by running code.
            if issubclass(type(each), nn.Module):
                self._known[id(each)] = each

    def living(self) -> list[nn.Module]:
        """Those that are there still. One that nobody holds any more may be, until the collector comes."""
        return list(self._known.values())

    def _is_given(self, holder: nn.Module, _name: str, given: nn.Module | None) -> None:
        self._known[id(holder)] = holder
        if given is not None:
            self._known[id(given)] = given


@cache
def known_modules() -> KnownModules:
    """Those of this process."""
    return KnownModules()
