"""Files that are whole or not there, and outputs that can be written."""

import os
from contextlib import suppress

import pytest

from music.errors import InvalidInputError
from music.files import require_output_file, require_output_folder, set_ordinary_modes, sync_folder, whole_file


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with whole_file(path) as file:
        file.write(b"first")
        assert not path.exists()
    with suppress(StopIteration), whole_file(path) as file:
        file.write(b"second")
        raise StopIteration
    assert path.read_bytes() == b"first"
    assert [each.name for each in path.parent.iterdir()] == ["a.bin"]


def test_the_content_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append((tmp_path / "a").exists()), fsync(descriptor)))
    with whole_file(tmp_path / "a") as file:
        file.write(b"content")
    assert synced[0] is False
    assert synced[-1] is (len(synced) > 1)


def test_what_others_wrote_is_synced_before_its_folder(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    sync_folder(tmp_path)
    folder = [tmp_path.stat().st_ino] if hasattr(os, "O_DIRECTORY") else []
    assert synced == [(tmp_path / "a").stat().st_ino, (tmp_path / "b").stat().st_ino, *folder]


def test_weights_get_the_mode_of_any_new_file(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.touch(mode=0o600)
    before = os.umask(0o022)
    try:
        set_ordinary_modes(tmp_path)
    finally:
        os.umask(before)
    assert weights.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["model.safetensors"]


def test_an_output_that_could_not_be_written_is_refused_and_nothing_is_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    require_output_folder(tmp_path / "new" / "folder")
    require_output_file(tmp_path / "new" / "file")
    assert not (tmp_path / "new").exists()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInputError, match="file is a file"):
            require_output_folder(path)
    with pytest.raises(InvalidInputError, match="it is a folder"):
        require_output_file(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write anywhere
    with pytest.raises(InvalidInputError, match="is not writable"):
        require_output_folder(tmp_path / "new")
