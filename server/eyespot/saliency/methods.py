"""The registry of methods, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from eyespot.saliency.attribution import Method, suggest
from eyespot.saliency.errors import UnknownMethodError
from eyespot.saliency.saliency import SALIENCY

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in (SALIENCY,)})


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        UnknownMethodError: there is none; names the nearest.
    """
    method = METHODS.get(name)
    if method is None:
        raise UnknownMethodError(f"there is no method {name!r}; {suggest(name, list(METHODS))}")
    return method
