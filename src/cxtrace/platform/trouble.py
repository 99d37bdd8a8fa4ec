"""Why a file cannot be read or written, in words that say what to do."""

from typing import Final

_WORDS: Final = (
    (FileNotFoundError, "there is no such file or folder"),
    (PermissionError, "permission denied; change its rights, or name another"),
    (IsADirectoryError, "it is a folder; name a file"),
    (NotADirectoryError, "a file stands where a folder should be; name another"),
    (FileExistsError, "a file stands where a folder should be; name another"),
)


def why(error: OSError) -> str:
    """What the operating system has against it, without its numbers."""
    words = next((words for kind, words in _WORDS if isinstance(error, kind)), None)
    return words or error.strerror or type(error).__name__
