"""The data folder: private, with one secret, held by one supervisor."""

import os
import stat
import subprocess
import sys

import pytest

from controller.cli import files
from controller.errors import StartupError


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_its_owners_alone(tmp_path):
    folder = tmp_path / "a" / "b"
    files.make_data_dir(folder)
    files.make_data_dir(folder)
    assert mode(folder) == 0o700


def test_an_existing_folder_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o750)
    files.make_data_dir(tmp_path)
    assert mode(tmp_path) == 0o750


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot be"):
        files.make_data_dir(tmp_path / "file" / "x")
    with pytest.raises(StartupError, match="cannot be"):
        files.make_data_dir(tmp_path / "file")


def test_the_secret_is_made_once_and_private(tmp_path):
    token = files.control_token(tmp_path)
    assert len(token) >= 40
    assert files.control_token(tmp_path) == token
    assert mode(tmp_path / files.CONTROL_TOKEN_FILE) == 0o600


def test_a_secret_that_a_crash_left_empty_is_made_anew(tmp_path):
    (tmp_path / files.CONTROL_TOKEN_FILE).touch()
    assert len(files.control_token(tmp_path)) >= 40


def test_two_folders_have_two_secrets(tmp_path):
    for name in "ab":
        files.make_data_dir(tmp_path / name)
    assert files.control_token(tmp_path / "a") != files.control_token(tmp_path / "b")


def test_a_folder_is_held_by_one_process_and_let_go_when_it_dies(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from controller.cli import files\n"
        "with files.locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=dict(os.environ))
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StartupError, match="another `penstock serve`"), files.locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with files.locked(tmp_path):
        pass
