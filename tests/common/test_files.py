"""Whole files: a target is replaced whole or not at all, and what is no regular file is written to."""

import errno
import os
import signal
import stat
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from bayescascade._common import files
from bayescascade._common.files import read_whole, whole_file
from bayescascade.errors import CascadeError


def write(path, content=b"new"):
    with whole_file(path, "the note") as part:
        part.write_bytes(content)


def refuse(path, message):
    with pytest.raises(CascadeError, match=message):
        write(path)


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path):
    path = tmp_path / "note.txt"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write(path)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.txt").write_bytes(b"old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write(tmp_path / "link.txt")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_bytes() == b"new"


def test_a_circle_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    refuse(tmp_path / "a", "the note cannot be written to .*a: Too many levels of symbolic links")
    assert (tmp_path / "a").is_symlink()


def test_a_write_protected_file_is_left_alone(tmp_path):
    path = tmp_path / "note.txt"
    path.write_bytes(b"old")
    path.chmod(0o444)
    refuse(path, "it is write-protected; name another file")
    assert path.read_bytes() == b"old"


def test_a_pipe_is_written_through(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write(pipe)
    reader.join(10)
    assert got == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_device_stays_a_device(tmp_path):
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        write(device)
    except (PermissionError, CascadeError):
        pytest.skip("no devices can be made here")
    assert stat.S_ISCHR(device.stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_device_that_is_full():
    refuse("/dev/full", "the note cannot be written to /dev/full: No space left on device")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_folder_is_refused(tmp_path):
    refuse(tmp_path, "it is a folder; name a file in it")


@pytest.mark.parametrize("name", ["x" * 250 + ".txt", "ü" * 120 + ".json", "x." + "y" * 250])
def test_long_names_that_a_disk_takes(tmp_path, name):
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_names_that_no_disk_takes(tmp_path):
    refuse(tmp_path / ("x" * 300), "File name too long")
    refuse("a\0b", r"the note cannot have the path 'a\\x00b': it holds a NUL")


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "note.txt").write_bytes(b"old")
    part = None

    def fail():
        nonlocal part
        with whole_file(tmp_path / "note.txt", "the note") as part:
            part.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CascadeError, match="No space left"):
        fail()
    assert os.listdir(tmp_path) == ["note.txt"]
    assert (tmp_path / "note.txt").read_bytes() == b"old"


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    for _ in range(2):
        child = os.fork()
        if not child:
            with whole_file(tmp_path / "note.txt", "the note") as part:
                part.write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert os.listdir(tmp_path) == [".note.0.part.txt"]
    write(tmp_path / "note.txt")
    assert os.listdir(tmp_path) == ["note.txt"]
    assert (tmp_path / "note.txt").read_bytes() == b"new"


def interrupted(path, at):
    """Write, and be terminated at the step of this number in the module of whole files; False beyond the last."""
    steps = 0

    def trace(frame, event, argument):
        nonlocal steps
        if frame.f_code.co_filename != files.__file__:
            return None
        frame.f_trace_opcodes = True
        steps += 1
        if steps == at:
            sys.settrace(None)
            raise SystemExit(143)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        write(path)
    except SystemExit:
        return True
    finally:
        sys.settrace(before)
    return False


# a termination between opening a file and closing it leaves that to the end of the process
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_termination_at_any_step_leaves_nothing(tmp_path):
    path, at = tmp_path / "note.txt", 0
    going = True
    while going:
        path.write_bytes(b"old")
        at += 1
        going = interrupted(path, at)
        assert os.listdir(tmp_path) == ["note.txt"], at
        assert path.read_bytes() in (b"old", b"new")
    assert at > 200
    assert path.read_bytes() == b"new"


def test_several_writers_have_a_part_each(tmp_path):
    path, n = tmp_path / "note.txt", 10  # more than there are names for
    with ExitStack() as writers:
        parts = [writers.enter_context(whole_file(path, "the note")) for _ in range(n)]
        for number, part in enumerate(parts):
            part.write_bytes(b"%d" % number)
        assert len(set(parts)) == n
        assert [part.read_bytes() for part in parts] == [b"%d" % number for number in range(n)]
    assert os.listdir(tmp_path) == ["note.txt"]
    assert path.read_bytes() == b"0"  # the first to begin is the last to end


@pytest.mark.parametrize("make", [Path.mkdir, lambda part: part.symlink_to("other.txt"), os.mkfifo])
def test_what_is_no_part_is_left_alone(tmp_path, make):
    make(tmp_path / ".note.0.part.txt")
    write(tmp_path / "note.txt")
    assert sorted(os.listdir(tmp_path)) == [".note.0.part.txt", "note.txt"]
    assert (tmp_path / "note.txt").read_bytes() == b"new"


def test_a_disk_without_locks_takes_files_too(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    write(tmp_path / "note.txt")
    assert os.listdir(tmp_path) == ["note.txt"]
    assert (tmp_path / "note.txt").read_bytes() == b"new"


def test_what_is_read_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(
            CascadeError, match=r"the note cannot be read from .*: it is not a regular file; name one"
        ):
            read_whole(path, "the note")
