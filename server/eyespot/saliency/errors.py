"""What can go wrong while explaining, and whose fault it is.

SaliencyError
├── ArgumentError            the caller asked for something impossible
│   ├── UnknownMethodError   no such method
│   ├── ParameterError       no such parameter, or not such a value
│   ├── UnknownScoreError    no such score, or none that the network or the method has
│   ├── TargetError          no such class, step, region or embedding
│   ├── LayerError           no such layer, or none with a spatial map
│   └── ReductionError       no such way to reduce channels, or no channels
├── UnavailableMethodError   the network's graph does not allow the method
├── MemoryBoundError         one row of the input needs more memory than is allowed
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
    """There is no such score, or it does not exist for this network or method."""


class TargetError(ArgumentError):
    """The network's output has no such class, step, region or embedding."""


class LayerError(ArgumentError):
    """The graph has no such layer, or the layer has no spatial map."""


class ReductionError(ArgumentError):
    """Channels cannot be reduced that way."""


class UnavailableMethodError(SaliencyError):
    """The network's graph does not allow the method; names the operator that is in the way."""


class MemoryBoundError(SaliencyError):
    """One row of the input needs more memory than is allowed."""


class OriginalError(SaliencyError):
    """The captured program cannot be read, or not be differentiated."""


class UnsafeOriginalError(OriginalError):
    """The file holds more than numbers and a graph; it was not read."""
