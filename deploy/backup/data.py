"""data.py save|restore|count FOLDER: Label Studio's data folder as a tar stream, for backup.sh.

save writes the stream to standard output, also while Label Studio works. restore reads it from standard input, into a
folder that is emptied first. count prints how many files and folders are directly in the folder. Python's own library
alone: it runs in Label Studio's image, where the folder is a volume.
"""

import contextlib
import os
import shutil
import sqlite3
import sys
import tarfile
import tempfile

DATABASE = "label_studio.sqlite3"
# What SQLite keeps beside it belongs to the moment, and the copy has it already.
MOMENTARY = ("-journal", "-wal", "-shm")


def save(folder, stream):
    """The database comes first. A file that is uploaded after it is too much, and none that it names is missing."""
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        original = os.path.join(folder, DATABASE)
        if os.path.exists(original):
            _add_database(archive, original)
        for name in _list_files(folder):
            # A file that goes meanwhile is one that nothing names any more.
            with contextlib.suppress(FileNotFoundError):
                archive.add(os.path.join(folder, name), name, recursive=False)


def restore(folder, stream):
    """Owners and modes are those of the original where this runs as root."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        # It names nothing outside the folder, and Python before 3.12 does not check that unasked.
        if hasattr(tarfile, "tar_filter"):
            archive.extraction_filter = staticmethod(tarfile.tar_filter)
        archive.extractall(folder, numeric_owner=True)


def _add_database(archive, original):
    """As it was at one moment, whatever is written to it meanwhile."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = os.path.join(scratch, DATABASE)
        source, target = sqlite3.connect(f"file:{original}?mode=ro", uri=True), sqlite3.connect(copy)
        with contextlib.closing(source), contextlib.closing(target):
            source.backup(target)
        entry = archive.gettarinfo(original, DATABASE)
        entry.size = os.path.getsize(copy)
        with open(copy, "rb") as opened:
            archive.addfile(entry, opened)


def _list_files(folder):
    """Names below the folder, each folder before what is in it, without the database."""
    skipped = {DATABASE, *(DATABASE + ending for ending in MOMENTARY)}
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*folders, *files]):
            inside = os.path.relpath(os.path.join(place, name), folder)
            if inside not in skipped:
                yield inside


def main():
    verb, folder = sys.argv[1:]
    if verb == "save":
        save(folder, sys.stdout.buffer)
    elif verb == "restore":
        restore(folder, sys.stdin.buffer)
    elif verb == "count":
        sys.stdout.write(f"{len(os.listdir(folder))}\n")
    else:
        sys.exit(f"data.py: {verb} is none of save, restore, count")


if __name__ == "__main__":
    main()
