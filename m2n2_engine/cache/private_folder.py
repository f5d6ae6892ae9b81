"""A folder that nobody else may write to, and the key that signs what is kept there."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from m2n2_engine.errors import M2N2Error

KEY_NAME = "attention.key"
_KEY_BYTES = 32
"""As many as SHA-256 gives. Here."""

_WRITABLE_BY_OTHERS = 0o022
_OPEN_TO_OTHERS = 0o077
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Neither follows a link nor waits for the other end of a pipe."""


class NotPrivate(M2N2Error, PermissionError):
    """Others may change the folder or know its key; the message says how to correct that."""


class NoRegularFile(OSError):
    """Something else is in a file's place: a pipe, a device, a link or a folder."""


class PrivateFolder:
    """Reads and writes files of one folder. Owner and mode of the folder are looked at before every use.

    Its owner must be this process's user or root, and nobody else may write there. The folder itself may be reached
    through a link. Nothing in it may be one.
    """

    def __init__(self, path: Path) -> None:
        """path: made by the first write, with mode 700."""
        self.path = path

    def check(self) -> None:
        """Raise NotPrivate where others may write to the folder; FileNotFoundError or NotADirectoryError where there is
        none."""
        os.close(self._open())

    def read(self, name: str) -> bytes:
        """All of a regular file. Raises NoRegularFile, FileNotFoundError, and as ``check``."""
        return self._read(name)[1]

    def read_key(self) -> bytes | None:
        """The key of this folder; None where there is none, or only a damaged one.

        Raises NotPrivate where others may know it, and as ``check``.
        """
        try:
            status, key = self._read(KEY_NAME)
        except NotPrivate:
            raise
        except PermissionError:
            raise NotPrivate(
                f"{self.path / KEY_NAME} cannot be read by this user: run the server as its owner"
            ) from None
        except FileNotFoundError:
            self.check()
            return None
        except NoRegularFile:
            return None
        self._check_owner(self.path / KEY_NAME, status)
        if status.st_mode & _OPEN_TO_OTHERS:
            raise self._describe_mode(self.path / KEY_NAME, status)
        return key if len(key) == _KEY_BYTES else None

    def make_key(self) -> bytes:
        """The key of this folder, made where there is none. The caller sees to it that no other process is at it.

        Raises OSError.
        """
        key = self.read_key()
        if key is None:
            key = secrets.token_bytes(_KEY_BYTES)
            self.write(KEY_NAME, f"{KEY_NAME}.partial", key)
        return key

    def write(self, name: str, partial: str, content: bytes) -> None:
        """All of it under its name, or nothing. partial: its name until then. Raises OSError."""
        self.check()
        temporary = self.path / partial
        temporary.unlink(missing_ok=True)
        try:
            with open(temporary, "xb", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o600)) as file:
                file.write(content)
                if name == KEY_NAME:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, self.path / name)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _read(self, name: str) -> tuple[os.stat_result, bytes]:
        folder = self._open()
        try:
            # By the folder that was checked, whatever has its name meanwhile.
            with open(name, "rb", opener=lambda name, _: os.open(name, _READ, dir_fd=folder)) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise NoRegularFile("it is no regular file")
                return status, file.read()
        except (FileNotFoundError, PermissionError, NoRegularFile):
            raise
        except OSError as error:
            raise NoRegularFile(f"it cannot be opened: {error.strerror}") from None
        finally:
            os.close(folder)

    def _open(self) -> int:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            status = os.fstat(descriptor)
            self._check_owner(self.path, status)
            if status.st_mode & _WRITABLE_BY_OTHERS:
                raise self._describe_mode(self.path, status)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_owner(self, path: Path, status: os.stat_result) -> None:
        if status.st_uid not in (os.geteuid(), 0):
            raise NotPrivate(
                f"{path} belongs to user {status.st_uid}, not to this process's user {os.geteuid()}: "
                "use a folder of its own"
            )

    def _describe_mode(self, path: Path, status: os.stat_result) -> NotPrivate:
        mode = stat.S_IMODE(status.st_mode)
        return NotPrivate(f"{path} is open to other users (mode {mode:o}): run chmod -R go-rwx {self.path}")
