"""What calls have loaded and unloaded, which holds after the server is started anew, too."""

import logging
from collections.abc import Iterator
from typing import NamedTuple

from eyespot.server.notes import Notes

_SUBJECT = "calls"
_logger = logging.getLogger(__name__)


class LoadCall(NamedTuple):
    """The last call about a model that was carried out.

    Attributes:
        is_loaded: Whether it loaded the model, or unloaded it.
        config: The ModelConfig as JSON that stands in for config.pbtxt.
        brought_files: Whether the model is made of files that came with the call.
    """

    is_loaded: bool
    config: str | None = None
    brought_files: bool = False


class LoadCalls:
    """The last call about each model, from before the server was started anew, too.

    Args:
        notes: where the next server finds them.
    """

    def __init__(self, notes: Notes | None = None) -> None:
        self._notes = notes or Notes()
        found = self._notes.about(_SUBJECT)
        self._calls = {name: LoadCall(*call) for name, call in found.items()}

    def __contains__(self, name: object) -> bool:
        """Whether a call has loaded or unloaded a model."""
        return name in self._calls

    def loaded(self) -> Iterator[tuple[str, LoadCall]]:
        """The models that calls have loaded, by their names."""
        return ((name, call) for name, call in self._calls.items() if call.is_loaded)

    def note(self, name: str, call: LoadCall) -> None:
        """Remembers a call; a full disk is no reason to fail it."""
        self._calls[name] = call
        try:
            self._notes.tell(_SUBJECT, self._calls)
        except OSError as error:
            _logger.warning(
                "a server that is started anew will not know of the last call about %r: its notes "
                "cannot be written: %s",
                name,
                error.strerror,
            )
