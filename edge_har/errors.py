"""Every error edge_har raises on purpose; imports nothing of ours.

EdgeHarError                 exit code 1
├── MisuseError              also ValueError; what the caller requested is impossible; exit code 2
├── DataError                also ValueError; clips, indexes and splits
├── SourceError              also OSError; cameras, streams and files
├── BundleError              also ValueError; a bundle that is damaged, unknown or does not fit
├── RuntimeMissingError      also ImportError; a library that is not installed
├── ConversionError          a graph that could not be made
│   └── ParityError          a graph that was made but does not compute what the float model computes
└── DeployError              also OSError; putting bundles on devices
"""


class EdgeHarError(Exception):
    """Root of all errors raised on purpose; its text is one line that says what to do."""

    exit_code = 1

    def __str__(self) -> str:
        # It may quote a file or a server that nobody trusts, and goes to a terminal.
        return printable(super().__str__(), keep="\n")


class MisuseError(EdgeHarError, ValueError):
    """An option, argument or value that cannot be used as given."""

    exit_code = 2


class DataError(EdgeHarError, ValueError):
    """Clips, an index or a split that cannot be used."""


class SourceError(EdgeHarError, OSError):
    """A camera, stream or file that cannot be opened or read."""


class BundleError(EdgeHarError, ValueError):
    """A bundle that is damaged, of an unknown schema, or does not fit."""


class RuntimeMissingError(EdgeHarError, ImportError):
    """A library is needed that is not installed."""


class ConversionError(EdgeHarError):
    """A graph could not be made."""


class ParityError(ConversionError):
    """A graph was made but does not compute what the float model computes."""


class DeployError(EdgeHarError, OSError):
    """A bundle could not be installed on a device, or rolled back."""


def printable(text: str, *, keep: str = "") -> str:
    """`text` with its control characters, and others that do not show, as escapes; those of `keep` stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)
