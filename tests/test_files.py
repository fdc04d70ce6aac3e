import errno
import os
import stat
import subprocess
import sys
import threading
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import pytest

import minichar.files as files
from minichar.errors import MinicharError
from minichar.files import (
    cache_folder,
    check_directory,
    descriptor_of,
    is_shared,
    locking,
    read_text,
    remove_abandoned,
    replacing,
    sharing,
    writing,
)

posix = pytest.mark.skipif(files.fcntl is None, reason="requires POSIX file locks")


def put(path, content):
    with writing(path) as file:
        file.write(content)


class TestTargets:
    def test_a_regular_file_is_replaced_and_keeps_its_permissions(self, tmp_path):
        path = tmp_path / "out"
        path.write_bytes(b"old")
        path.chmod(0o640)
        put(path, b"new")
        assert path.read_bytes() == b"new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def test_a_symbolic_link_is_followed(self, tmp_path):
        (tmp_path / "there").mkdir()
        for target in (tmp_path / "there" / "old", tmp_path / "new directory" / "new"):
            link = tmp_path / f"link to {target.name}"
            link.symlink_to(target)
            put(link, b"content")
            assert link.is_symlink()
            assert target.read_bytes() == b"content"

    def test_a_pipe_is_written_to_and_remains(self, tmp_path):
        pipe, received = tmp_path / "pipe", []
        os.mkfifo(pipe)
        reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
        reader.start()
        with writing(pipe) as file:
            file.write(b"---tent")
            file.seek(0)  # a pipe is not seekable, but ZipFile seeks
            file.write(b"con")
        reader.join()
        assert received == [b"content"]
        assert stat.S_ISFIFO(pipe.stat().st_mode)

    def test_nothing_is_sent_to_a_pipe_if_the_block_fails(self, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        with suppress(ZeroDivisionError), writing(pipe) as file:
            file.write(b"half")
            raise ZeroDivisionError
        assert os.read(descriptor, 10) == b""
        os.close(descriptor)

    def test_a_descriptor_is_written_to_in_order(self, tmp_path):
        assert [descriptor_of(Path(name)) for name in ("/dev/stdout", "/dev/fd/7", "x")] == [1, 7, None]
        with open(tmp_path / "out", "w+b", buffering=0) as out:
            out.write(b"before ")
            put(Path(f"/proc/self/fd/{out.fileno()}"), b"content ")
            out.write(b"after")
        assert (tmp_path / "out").read_bytes() == b"before content after"

    @pytest.mark.parametrize("path", ["", "directory"])
    def test_a_directory_is_an_error(self, path, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "directory").mkdir()
        with pytest.raises(MinicharError, match=r"cannot write .*: it is a directory; specify a file name"):
            put(files.Path(path), b"content")
        assert os.listdir(tmp_path) == ["directory"]


class TestDurability:
    def test_the_file_is_complete_and_flushed_before_the_rename_and_the_directory_after_it(
        self, tmp_path, monkeypatch
    ):
        calls, rename, flush = [], os.replace, os.fsync

        def fsync(descriptor):
            calls.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
            flush(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

        def replace(source, target):
            calls.append((source.read_bytes(), target.read_bytes()))
            rename(source, target)

        monkeypatch.setattr(os, "replace", replace)
        (tmp_path / "out").write_bytes(b"old")
        put(tmp_path / "out", b"content")
        assert calls == ["file", (b"content", b"old"), *(["directory"] if files.fcntl else [])]

    @posix
    @pytest.mark.parametrize(
        ("call", "code"), [("open", "EACCES"), ("open", "EIO"), ("fsync", "EINVAL"), ("fsync", "EIO")]
    )
    def test_a_directory_that_cannot_be_flushed_is_an_error_only_if_the_disk_fails(
        self, tmp_path, monkeypatch, call, code
    ):
        original = getattr(os, call)

        def fail_on_directories(target, *arguments):
            if stat.S_ISDIR(os.stat(target).st_mode):
                raise OSError(getattr(errno, code), "cannot flush")
            return original(target, *arguments)

        monkeypatch.setattr(os, call, fail_on_directories)
        reported = pytest.raises(MinicharError, match="cannot flush") if code == "EIO" else nullcontext()
        with reported:
            put(tmp_path / "out", b"content")
        assert (tmp_path / "out").read_bytes() == b"content"

    def test_a_full_disk_is_found_by_reserving_the_size(self, tmp_path, monkeypatch):
        reserved = []

        def reserve(descriptor, offset, size):
            reserved.append((offset, size))
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", reserve, raising=False)
        with pytest.raises(MinicharError, match=r"cv/: No space left .* \(3\.0 MB needed\); free up space"):
            check_directory(tmp_path / "cv", 3_000_000)
        assert reserved == [(0, 3_000_000)]
        assert os.listdir(tmp_path / "cv") == []

    def test_without_fallocate_the_size_is_written(self, tmp_path, monkeypatch):
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        with open(tmp_path / "reserved", "wb") as file:
            monkeypatch.setattr(files, "TemporaryFile", lambda dir: file)
            check_directory(tmp_path, 5000)
        assert (tmp_path / "reserved").stat().st_size == 5000


@posix
class TestAbandonedFiles:
    def test_the_temporary_file_of_a_killed_process_is_deleted(self, tmp_path):
        program = (
            "import os, sys; from pathlib import Path; from minichar.files import replacing\n"
            f"with replacing(Path({str(tmp_path / 'out')!r})) as file: file.write(b'half'); os._exit(9)"
        )
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
        (left,) = os.listdir(tmp_path)
        assert left.startswith(".out.")
        remove_abandoned(tmp_path)
        assert os.listdir(tmp_path) == []

    def test_a_temporary_file_in_use_is_not_deleted(self, tmp_path):
        with replacing(tmp_path / "out") as file:
            file.write(b"content")
            remove_abandoned(tmp_path)
        assert (tmp_path / "out").read_bytes() == b"content"

    def test_a_file_that_is_deleted_before_it_is_locked_is_created_again(self, tmp_path, monkeypatch):
        flock, deleted = files.fcntl.flock, []

        def late(file, how):
            if not deleted:
                deleted.extend(path.unlink() for path in tmp_path.iterdir())
            flock(file, how)

        monkeypatch.setattr(files.fcntl, "flock", late)
        put(tmp_path / "out", b"content")
        assert deleted == [None]
        assert (tmp_path / "out").read_bytes() == b"content"

    def test_other_files_are_not_deleted(self, tmp_path):
        names = [".out.tmp", "out.12345678.tmp", ".out.1234567g.tmp", ".out.12345678.tmp.npz", "lm_x.npz"]
        for name in names:
            (tmp_path / name).touch()
        (tmp_path / ".directory.12345678.tmp").mkdir()
        os.mkfifo(tmp_path / ".pipe.12345678.tmp")  # opening a pipe would block
        (tmp_path / ".link.12345678.tmp").symlink_to(tmp_path / "lm_x.npz")
        before = sorted(os.listdir(tmp_path))
        remove_abandoned(tmp_path)
        assert sorted(os.listdir(tmp_path)) == before


@posix
class TestSharing:
    def test_two_runs_in_a_directory_detect_each_other(self, tmp_path):
        with sharing(tmp_path) as first:
            assert not first()
            with sharing(tmp_path) as second:
                assert second()
                assert first()
                assert second()  # the first check must not have removed the mark
            assert not first()

    def test_a_process_in_is_shared_is_not_mistaken_for_a_run(self, tmp_path, monkeypatch):
        """It can lock the directory while the run replaces its shared lock by an exclusive one."""
        flock = files.fcntl.flock
        other = os.open(tmp_path, os.O_RDONLY)

        def replace(descriptor, operation):
            if operation == files.fcntl.LOCK_SH:
                flock(other, files.fcntl.LOCK_UN)
                monkeypatch.undo()
            else:
                flock(descriptor, files.fcntl.LOCK_UN)
                flock(other, files.fcntl.LOCK_EX)
            flock(descriptor, operation)

        with sharing(tmp_path) as shared:
            monkeypatch.setattr(files.fcntl, "flock", replace)
            assert not shared()
            assert is_shared(tmp_path)
        os.close(other)


@posix
class TestLocking:
    def test_the_lock_is_held_until_the_end_of_the_block(self, tmp_path):
        path = tmp_path / "new" / "lock"
        with locking(path) as first, locking(path, wait=False) as second:
            assert first
            assert not second
        with locking(path, wait=False) as third:
            assert third

    def test_a_file_that_cannot_be_locked(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        with (
            pytest.raises(MinicharError, match="choose another directory"),
            locking(tmp_path / "file" / "x"),
        ):
            pass

        def flock(*arguments):
            raise OSError(37, "No locks available")

        monkeypatch.setattr(files.fcntl, "flock", flock)
        with pytest.raises(MinicharError, match="No locks available"), locking(tmp_path / "lock"):
            pass


class TestCacheFolder:
    @pytest.fixture(autouse=True)
    def home(self, monkeypatch, tmp_path):
        monkeypatch.setattr(Path, "home", lambda: tmp_path)
        for name in ("MINICHAR_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        return tmp_path

    @pytest.mark.parametrize("given", ["relative", ""])
    def test_the_variable_overrides_all_others(self, monkeypatch, tmp_path, given):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
        assert cache_folder() == tmp_path / "caches" / "minichar"
        monkeypatch.setenv("MINICHAR_CACHE", given)
        assert cache_folder() == (Path(given) if given else None)

    @pytest.mark.parametrize(
        ("system", "folder"), [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "Local")]
    )
    def test_platforms(self, monkeypatch, home, system, folder):
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setenv("LOCALAPPDATA", str(home / "Local"))
        monkeypatch.setattr(sys, "platform", system)
        assert cache_folder() == home / folder / "minichar"

    def test_no_home_directory(self, monkeypatch):
        monkeypatch.setattr(Path, "home", partial(Path("~no such user").expanduser))
        assert cache_folder() is None


def test_read_text(tmp_path):
    path = tmp_path / "keys"
    path.write_bytes("é\n".encode())
    assert read_text(path) == "é\n"
    path.write_bytes(b"ab\xff")
    for bad, words in (
        (path, "it is not UTF-8 (invalid byte at offset 2)"),
        (tmp_path / "none", "No such file or directory"),
    ):
        with pytest.raises(MinicharError) as raised:
            read_text(bad)
        assert str(raised.value) == f"cannot read {bad}: {words}"
