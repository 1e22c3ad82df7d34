"""Errors that the user can correct. The command prints them without a traceback."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass

from stages.printable import printable


class UserError(Exception):
    """Something in a spec, a data file or a result is wrong; the command prints it and exits with 1."""

    exit_code = 1
    resumable = False  # True where nothing is wrong: what was stopped on request goes on where it stopped
    repeats = False  # True where a rerun of the same spec meets the same end
    step: int | None = None  # of the stage, where the error is one of training

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class UsageError(UserError):
    """The command line is wrong; the command prints it and exits with 2."""

    exit_code = 2


def page(name: str) -> str:
    """A page of the documentation as messages name it: a project of its own has none of them."""
    return f"docs/{name}.md of Stages' repository"


@dataclass(frozen=True, order=True)
class Where:
    """A place in a file: path relative to the project, and the line, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class InvalidSpecs(UserError):  # noqa: N818 - one error, or several
    """What is wrong with specs."""

    @property
    def errors(self) -> list[SpecError]:
        """Each mistake."""
        raise NotImplementedError


class SpecError(InvalidSpecs):
    """One mistake in a spec file: where it is, what was found, what is allowed, what to do.

    `invariant` is the one of docs/invariants.md that the refusal enforces, if any.
    """

    def __init__(self, where: Where, key: str, found: str, allowed: str, repair: str, invariant: str = "") -> None:
        self.where, self.key, self.found, self.allowed, self.repair = where, key, found, allowed, repair
        self.invariant = invariant
        named = f" ({invariant})" if invariant else ""
        super().__init__(f"{where}: {key}: found {found}; allowed: {allowed}. {repair}{named}")

    @property
    def errors(self) -> list[SpecError]:
        """This one alone."""
        return [self]


class SpecErrors(InvalidSpecs):
    """Several mistakes found in one reading."""

    def __init__(self, errors: Sequence[SpecError]) -> None:
        self._errors = sorted(errors, key=lambda error: error.where)
        super().__init__("\n".join(str(error) for error in self._errors))

    @property
    def errors(self) -> list[SpecError]:
        """Each of them, in file order."""
        return self._errors


_PLACE = "See that this user may read and write there, and give the same command again."
_LATER = "Give the same command again once that is corrected; a stage goes on from its last checkpoint."
_RESUMED = "The same command goes on from the last checkpoint."
_MEMORY = (
    "Give it more, or see what it takes: `stages plan`. `execution: {activations: recomputed}` takes less and changes "
    f"no bit. {_RESUMED}"
)
_OF_CUDA = ("CUDA error: ", "CUDA driver error: ", "cuDNN error: ", "NCCL error")  # how errors of a GPU begin
# What a GPU refuses, and no program is the cause of -> what to do. Memory is of CUDA's own and of its libraries.
_GPU = {
    **dict.fromkeys(("out of memory", "STATUS_ALLOC_FAILED"), _MEMORY),
    "busy or unavailable": f"Another process has the GPU for itself (`nvidia-smi` names it): take another. {_RESUMED}",
    "uncorrectable ECC error": f"The GPU's memory is at fault: take another GPU, and have this one reset. {_RESUMED}",
    "uncorrectable NVLink error": "A link between GPUs is at fault: take another machine, and have this one looked "
    f"after (`nvidia-smi nvlink --errorcounters`). {_RESUMED}",
    "OS call failed": "The system refuses what CUDA wants of it, such as memory that is locked in place: raise "
    f"`ulimit -l`, of the container or the job too. {_RESUMED}",
    "no kernel image is available": "Install a PyTorch that is built for this GPU.",
    "system not yet initialized": f"NVIDIA's fabric manager does not run on this machine: start it. {_RESUMED}",
}
_TEMPORARY = f"such as temporary files, in {os.environ.get('TMPDIR') or '/tmp'}"
_NO_FOLDER = "No usable temporary directory found in "  # Python's tempfile
# What a machine refuses, and no program is the cause of -> what to do.
REFUSALS = {
    errno.EACCES: _PLACE, errno.EPERM: _PLACE, errno.EROFS: _PLACE,
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.ETIMEDOUT), _LATER),
    **dict.fromkeys((errno.ENOTCONN, errno.ESHUTDOWN, errno.EREMOTEIO, errno.EHOSTDOWN, errno.EUCLEAN), _LATER),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.EAGAIN), _LATER),
}  # fmt: skip


def for_user(error: BaseException) -> UserError | None:
    """What is printed of an error in place of a traceback: a user's mistake itself, or what the machine refused."""
    return error if isinstance(error, UserError) else of_machine(error)


def in_words(error: UserError | OSError) -> str:
    """The same as text, for one of several files that is left out; raises the error where it may be a defect."""
    if (reported := for_user(error)) is None:
        raise error
    return str(reported)


def of_machine(error: BaseException) -> UserError | None:
    """What the machine refused, in a line; None for any other error, which may be a defect and keeps its traceback."""
    if isinstance(error, OSError) and error.errno in REFUSALS:
        where = error.filename or f"what is read or written, which the system does not name ({_TEMPORARY})"
        where = where.decode(errors="replace") if isinstance(where, bytes) else where
        return UserError(f"{where}: refused ({error.strerror}). {REFUSALS[error.errno]}")
    if isinstance(error, FileNotFoundError) and str(error.strerror).startswith(_NO_FOLDER):
        return UserError(f"{error.strerror}: all are full, or closed to this user. {_LATER}")
    out_of_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if out_of_memory or _is_torchs(error) or _is_loaders(error):
        detail = f" ({str(error).strip().splitlines()[0][:300]})" if str(error).strip() else ""
        return UserError(f"memory ran out{detail}. {_MEMORY}")
    return _of_gpu(error)


def _of_gpu(error: BaseException) -> UserError | None:
    """What a GPU refuses, besides the memory that PyTorch's allocator asks for."""
    text = str(error)
    if not isinstance(error, RuntimeError) or not (text.startswith(_OF_CUDA) or type(error).__name__ == "CudaError"):
        return None
    for line in text.splitlines():
        for words, repair in _GPU.items():
            if words in line:
                what = "memory ran out" if repair == _MEMORY else "a GPU cannot be used"
                return UserError(f"{what} ({line.strip()[:300]}). {repair}")
    return None


def _is_loaders(error: BaseException) -> bool:
    """Whether a library found no memory for its code and data, as below `ulimit -v`: the C library's words for it."""
    return isinstance(error, ImportError) and "failed to map segment from shared object" in str(error)


def _is_torchs(error: BaseException) -> bool:
    """Whether an error is PyTorch's word for no memory: of a GPU, or of the host. PyTorch need not be loaded."""
    on_host = "DefaultCPUAllocator: " in str(error) and "memory" in str(error)
    return isinstance(error, RuntimeError) and (type(error).__name__ == "OutOfMemoryError" or on_host)
