"""Members of zip files: zstd in one frame and in several, and what is no whole zip file or takes all memory."""

import struct
import zipfile
import zlib

import pytest

from bayescascade.errors import CascadeError
from bayescascade.logs.importers import archive
from bayescascade.logs.importers.archive import opened_archive

zstd = archive._zstd()
TEXT = b'{"eval": {"model": "m"}}' * 100


def write(path, name, stored, content, *, method=93, flags=0, size=None, crc=None):
    """A zip file of one member, byte for byte as the format has it, so that anything can be wrong in it."""
    size = len(content) if size is None else size
    crc = zlib.crc32(content) if crc is None else crc
    head = struct.pack("<HHHHHIIIH", 63, flags, method, 0, 0, crc, len(stored), size, len(name))
    local = b"PK\x03\x04" + head + struct.pack("<H", 0) + name + stored
    central = b"PK\x01\x02" + struct.pack("<H", 63) + head + struct.pack("<HHHHII", 0, 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)
    return path


def read(path):
    with opened_archive(path) as opened:
        return opened.read(opened.names[0])


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_frames_of_zstd(tmp_path, frames):
    parts = [TEXT[i::frames] for i in range(frames)]
    stored = b"".join(zstd.compress(part) for part in parts)
    assert read(write(tmp_path / "log.eval", b"header.json", stored, b"".join(parts))) == b"".join(parts)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_methods_of_the_standard_library(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "log.eval", "w", method) as made:
        made.writestr("header.json", TEXT)
    assert read(tmp_path / "log.eval") == TEXT


def test_the_last_of_one_name_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as made:
        made.writestr("header.json", b"old")
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("header.json", b"new")
    assert read(tmp_path / "log.eval") == b"new"


STORED = zstd.compress(TEXT)
REFUSED = {
    "encrypted": ((STORED, TEXT), {"flags": 1}, "encrypted"),
    "an unknown method": ((STORED, TEXT), {"method": 14}, "method 14"),
    "no zstd": ((b"nothing of the kind", TEXT), {}, "damaged"),
    "cut off": ((STORED[:-5], TEXT), {}, "damaged"),
    "another checksum": ((STORED, TEXT), {"crc": 1}, "checksum"),
    "fewer bytes than it says": ((STORED, TEXT), {"size": len(TEXT) + 1}, "checksum"),
    "more bytes than it says": ((STORED, TEXT), {"size": 10}, "checksum"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(tmp_path, what):
    given, options, sentence = REFUSED[what]
    path = write(tmp_path / "log.eval", b"header.json", *given, **options)
    with pytest.raises(CascadeError, match=sentence) as error:
        read(path)
    assert str(error.value).startswith(f"{path}, member header.json: ")


class TestBombs:
    def test_a_member_that_says_how_long_it_is(self, tmp_path):
        path = write(tmp_path / "log.eval", b"header.json", STORED, TEXT, size=archive.MAX_MEMBER + 1)
        with pytest.raises(CascadeError, match=r"member header\.json: longer than 256 MB"):
            read(path)

    def test_a_member_that_lies(self, tmp_path, monkeypatch):
        monkeypatch.setattr(archive, "MAX_MEMBER", 1 << 20)
        content = bytes(1 << 24)
        path = write(tmp_path / "log.eval", b"header.json", zstd.compress(content), content, size=100)
        assert path.stat().st_size < 2000
        with pytest.raises(CascadeError, match="longer than 1 MB"):
            read(path)

    def test_many_members(self, tmp_path, monkeypatch):
        monkeypatch.setattr(archive, "MAX_TOTAL", len(TEXT) - 1)
        with pytest.raises(CascadeError, match="unpacked, so it is not read"):
            read(write(tmp_path / "log.eval", b"header.json", STORED, TEXT))


def test_no_zip_file(tmp_path):
    path = tmp_path / "log.eval"
    for content in (b"", b"PK\x03\x04", b"text", write(path, b"header.json", STORED, TEXT).read_bytes()[:-3]):
        path.write_bytes(content)
        with pytest.raises(CascadeError, match="cannot be opened as a zip file"):
            read(path)
    with pytest.raises(CascadeError, match="there is no file"):
        read(tmp_path / "nothing.eval")
