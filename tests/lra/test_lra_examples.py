"""Examples of every task: made or read, their ids, labels and digests; files that are missing or wrong say so."""

import tarfile

import numpy as np
import pytest

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.lra import examples as examples_module
from longboard_tasks.suites.lra import files, listops, pathfinder
from longboard_tasks.suites.lra.examples import open_examples
from longboard_tasks.suites.lra.stand_ins import MAKERS, MARKERS, make_image
from longboard_tasks.suites.lra.tasks import TASKS, find_task


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    folders = {task: tmp_path_factory.mktemp(task) for task in MAKERS}
    for task, make in MAKERS.items():
        make(folders[task], 40)
    return folders


@pytest.mark.parametrize("task", MAKERS)
def test_a_stand_in_is_read_as_the_real_files_are_and_is_labelled(stand_ins, task):
    for split in ("train", "validation", "test"):
        examples = open_examples(task, split, files_at=stand_ins[task])
        assert examples.stand_in
        assert set(examples.labels) == set(range(TASKS[task].classes))
        ids, labels = examples.batch(np.arange(len(examples)), TASKS[task].length)
        assert ids.shape == (len(examples), *((2,) if TASKS[task].pair else ()), TASKS[task].length)
        assert ids.min() >= 0
        assert ids.max() < TASKS[task].vocabulary
        assert (labels == examples.labels).all()
        counts = np.bincount(labels)
        assert counts.max() - counts.min() <= 4


def test_reviews_are_their_bytes_one_up_and_come_in_mixed_order(tmp_path):
    for number in range(20):
        for kind in ("pos", "neg"):
            folder = tmp_path / "aclImdb" / "train" / kind
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}_7.txt").write_bytes(f"{kind} é <br />".encode())
    (tmp_path / "aclImdb" / "train" / "unsup").mkdir()
    (tmp_path / "aclImdb" / "train" / "unsup" / "0_0.txt").write_text("not labelled")
    whole = open_examples("text", "train", files_at=tmp_path)
    inner = open_examples("text", "train", files_at=tmp_path / "aclImdb")
    assert len(whole) == 40
    assert whole.sha256 == inner.sha256
    assert not whole.stand_in
    assert 4 <= open_examples("text", "train", files_at=tmp_path, count=20).labels.sum() <= 16
    for row, label in zip(whole.rows, whole.labels, strict=True):
        assert bytes((row - 1).astype(np.uint8)).decode() == f"{'pos' if label else 'neg'} é <br />"


def test_an_archive_is_read_like_its_folder(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    make_image(folder, 20)
    (folder / files.STAND_IN).unlink()
    packed = tmp_path / "own.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    for split, size in (("train", 90), ("validation", 10), ("test", 20)):
        one, two = (open_examples("image", split, files_at=path) for path in (folder, packed))
        assert len(one) == size
        assert one.sha256 == two.sha256
        assert not one.stand_in


def test_grey_is_rounded_as_tensorflow_does():
    """255.5 times the level, cut; white stays white, and a pure channel is its weight."""
    pixels = np.array(
        [[[0], [0], [0]], [[255], [255], [255]], [[255], [0], [0]], [[0], [255], [0]], [[10], [20], [30]]]
    )
    levels = [0, 255, int(0.2989 * 255.5), int(0.587 * 255.5), int((2.989 + 11.74 + 3.42) / 255 * 255.5)]
    assert files.to_grey(pixels.astype(np.uint8))[:, 0].tolist() == levels


def test_paper_pairs_are_cut_by_characters_and_then_by_bytes(tmp_path):
    long = "é" * 12_000
    (tmp_path / "new_aan_pairs.eval.tsv").write_text(f'1.0\tA\tB\t{long}\t"with a ""quote"" and\ttab"\n0\tA\tC\tx\ty\n')
    examples = open_examples("retrieval", "validation", files_at=tmp_path)
    assert examples.labels.tolist() == [1, 0]
    first, second = examples.rows[0]
    assert len(first) == 4_000
    assert bytes((second - 1).astype(np.uint8)) == b'with a "quote" and\ttab'


@pytest.mark.parametrize(
    ("task", "content", "says"),
    [
        ("text", {}, "holds no train examples"),
        ("retrieval", {}, "new_aan_pairs.train.tsv is missing"),
        ("retrieval", {"new_aan_pairs.train.tsv": b"1\tA\tB\n"}, "record 1.*got 3 columns"),
        ("image", {"data_batch_1.bin": b""}, "lacks data_batch_2.bin"),
        ("image", {f"data_batch_{n}.bin": b"\0" * 100 for n in range(1, 6)}, "500 bytes of images"),
    ],
)
def test_files_that_are_not_as_expected_say_what_was_wanted(tmp_path, task, content, says):
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SuiteError, match=says):
        open_examples(task, "train", files_at=tmp_path)


def test_missing_files_and_wrong_archives_are_refused(tmp_path):
    with pytest.raises(SuiteError, match=r"may not ship, and .* does not exist.*stand_ins text DIR"):
        open_examples("text", "train", files_at=tmp_path / "nothing")
    with pytest.raises(SuiteError, match="say where they are"):
        open_examples("image", "train")
    wrong = tmp_path / "cifar-10-binary.tar.gz"
    wrong.write_bytes(b"broken")
    with pytest.raises(SuiteError, match="the published archive has c32a1d4a"):
        open_examples("image", "train", files_at=wrong)
    wrong.rename(tmp_path / "other.tar.gz")
    with pytest.raises(SuiteError, match="neither a folder nor a tar archive"):
        open_examples("image", "train", files_at=tmp_path / "other.tar.gz")
    with pytest.raises(KeyError, match="has no task"):
        find_task("mnist")


def test_made_examples_are_those_of_their_generators(tmp_path, monkeypatch):
    monkeypatch.setattr(pathfinder, "BLOCK", 6)
    monkeypatch.setattr(examples_module, "CHUNK", 2)
    examples = open_examples("listops", "validation", count=3, seed=5, cache=tmp_path)
    for index, row in enumerate(examples.rows):
        made = listops.make_expression(split="validation", seed=5, index=index)
        assert row.tolist() == listops.encode(made.tokens)
        assert examples.labels[index] == made.value
    again = open_examples("listops", "validation", count=3, seed=5, cache=tmp_path)
    assert again.sha256 == examples.sha256
    images = open_examples("pathfinder32", "test", count=5)
    scenes = pathfinder.make_block("pathfinder32", split="test", seed=0, block=0, count=6)
    assert (np.stack(images.rows) == scenes.images[:5].reshape(5, -1).astype(int) + 1).all()
    assert (images.labels == scenes.labels[:5]).all()


def test_two_processes_make_the_same_examples_as_one(monkeypatch):
    monkeypatch.setattr(examples_module, "CHUNK", 2)
    one, two = (open_examples("listops", "test", count=6, processes=n) for n in (1, 2))
    assert one.sha256 == two.sha256


def test_a_stand_in_text_is_decided_by_two_words_far_apart(stand_ins):
    examples = open_examples("text", "train", files_at=stand_ins["text"])
    for row, label in zip(examples.rows, examples.labels, strict=True):
        words = bytes((row - 1).astype(np.uint8)).decode().split()
        found = [word for word in words if word in MARKERS]
        if len(row) < 4_000:
            assert len(found) == 2
            assert (found[0] == found[1]) == label
