"""The embedded broker: a message can be seen only when it is whole."""

import threading

import pytest
from kombu import Connection
from kombu.exceptions import ChannelError

from longboard import file_broker
from longboard.celery_app import transport_options


@pytest.fixture
def connection(tmp_path):
    file_broker.install()
    with Connection("filesystem://", transport_options=transport_options("filesystem://", tmp_path)) as found:
        yield found


def test_no_reader_ever_sees_a_part_of_a_message(connection, tmp_path):
    over, empty, seen = threading.Event(), [], set()

    def look():
        while not over.is_set():
            for path in (tmp_path / "messages").glob("*.msg"):
                seen.add(path.name)
                if not path.read_text().endswith("}"):
                    empty.append(path.name)

    reader = threading.Thread(target=look)
    reader.start()
    channel = connection.channel()
    for number in range(300):
        channel._put("pool.a", {"body": "x" * 10_000, "number": number})
    over.set()
    reader.join()
    assert seen
    assert empty == []


def test_what_is_sent_arrives_once(connection, tmp_path):
    queue = connection.SimpleQueue("platform")
    for number in range(20):
        queue.put({"number": number})
    # Within a millisecond the order is open.
    assert sorted(queue.get(timeout=5).payload["number"] for _ in range(20)) == list(range(20))
    with pytest.raises(queue.Empty):
        queue.get(block=False)
    assert not list((tmp_path / "messages").iterdir())


def test_a_folder_that_is_gone_is_an_error_that_names_it(connection, tmp_path):
    channel = connection.channel()
    (tmp_path / "messages").rmdir()
    with pytest.raises(ChannelError, match="messages: No such file"):
        channel._put("platform", {})
