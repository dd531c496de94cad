"""What can go wrong while explaining, and whose fault it is.

SaliencyError
├── ArgumentError            the caller asked for something impossible
│   ├── UnknownMethodError   no such method
│   ├── ParameterError       no such parameter, or not such a value
│   ├── UnknownScoreError    no such score, or none that the network has
│   ├── TargetError          no such class
│   └── ReductionError       no such way to reduce channels, or no channels
└── OriginalError            the captured program cannot be used
    └── UnsafeOriginalError  reading it could run code that somebody put into it
"""


class SaliencyError(Exception):
    """Everything that this room raises on purpose."""


class ArgumentError(SaliencyError):
    """The caller asked for something impossible; the message says what is possible."""


class UnknownMethodError(ArgumentError):
    """There is no method of that name."""


class ParameterError(ArgumentError):
    """A method has no such parameter, or does not take that value."""


class UnknownScoreError(ArgumentError):
    """There is no such score, or it does not exist for this network."""


class TargetError(ArgumentError):
    """The network has no such class."""


class ReductionError(ArgumentError):
    """Channels cannot be reduced that way."""


class OriginalError(SaliencyError):
    """The captured program cannot be read, or not be differentiated."""


class UnsafeOriginalError(OriginalError):
    """The file holds more than numbers and a graph; it was not read."""
