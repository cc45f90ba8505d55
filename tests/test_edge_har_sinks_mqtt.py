"""MQTT with a real broker: acknowledged or not delivered, retained state, last will, Home Assistant,
TLS, outages.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_har.errors import MisuseError
from edge_har.pipeline.events import Event
from edge_har.pipeline.status import RunStatus, SinkState
from edge_har.sinks.base import RetryLater, line_of
from edge_har.sinks.mqtt import DROPS, MqttDestination, MqttOptions, MqttSink, PublishedStates
from edge_har.sinks.queued import RetryPolicy
from edge_har.sinks.spool import Spool
from tests.helpers.broker import PASSWORD, USER, Broker, Listener
from tests.helpers.certificates import self_signed
from tests.helpers.command import environment
from tests.helpers.sinks import LABELS, QUICK, made_event, made_events, setting, wait_until


def options(broker: Broker, **more: object) -> MqttOptions:
    return MqttOptions(**{"host": "127.0.0.1", "port": broker.port, "node": "pi", "spool": "off", **more})


def opened(
    how: MqttOptions, run_status: RunStatus | None = None, *, spool: Path | None = None, **more: object
) -> MqttSink:
    """The sink that these options mean, but quick to try again."""
    run_status = run_status or setting("door", "yard").run_status
    shown = PublishedStates(source.name for source in run_status.sources)
    return MqttSink(
        MqttDestination(how, run_status, shown, how.tls_context()),
        SinkState("mqtt"),
        shown=shown,
        spool=None if spool is None else Spool(spool),
        **{"retries": QUICK, **more},
    )


def statuses(listener: Listener, node: str) -> list[str]:
    """What was heard of the one connection of a node."""
    topics = {topic for topic, _, _ in list(listener.heard) if topic.startswith(f"edge-har/{node}/status/")}
    assert len(topics) <= 1, topics
    return [text for topic in topics for text in listener.at(topic)]


def lines(events: list[Event]) -> list[str]:
    return [line_of(event).decode() for event in events]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of edge_har for this test alone."""
    monkeypatch.setenv("EDGE_HAR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for the tests that do no harm to it; each with a node of its own."""
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


def test_every_event_arrives_in_order_and_is_counted_once_acknowledged(broker: Broker) -> None:
    listener, events = Listener(broker), made_events(100)
    run = setting("door")
    sink = options(broker, node="order").open(run).events
    for event in events:
        sink.write(event)
    wait_until(lambda: sink.state.delivered == 100, "acknowledgements")
    assert run.run_status.sinks == (sink.state,)
    sink.close()
    wait_until(lambda: "offline" in statuses(listener, "order"), "the goodbye")
    assert listener.at("edge-har/order/door/event") == lines(events)
    assert statuses(listener, "order") == ["online", "offline"]
    listener.close()


def shown(state: str) -> object:
    """The activity of a topic's text; None of one that is no state."""
    return json.loads(state)["activity"] if state.startswith('{"activity"') else None


def test_what_goes_on_now_is_retained(broker: Broker) -> None:
    run_status = setting("door", "yard").run_status
    sink = opened(options(broker, node="state"), run_status)
    sink.write(made_event(1, label="Walk"))
    sink.write(made_event(2, label="Run", source="yard"))
    sink.write(made_event(2, "end", label="Run", source="yard"))
    run_status.source("yard").turn("lost", "gone")
    sink.write(Event("x-9", "source_lost", "yard", None, None, 3.0, None, "2026-11-21T00:00:09.000Z", "m@1"))
    at = "edge-har/state"
    # What goes on is published after the events that changed it.
    wait_until(lambda: sink.state.delivered == 4, "the events")
    watcher = Listener(broker, "watcher")
    wait_until(lambda: watcher.at(f"{at}/yard/availability")[-1:] == ["offline"], "the lost source")
    goes_on = {f"{at}/door/state": "Walk", f"{at}/yard/state": "none"}
    wait_until(
        lambda: goes_on.items() <= {t: shown(text) for t, text in watcher.latest().items()}.items(),
        "what goes on",
    )
    watcher.close()

    late = Listener(broker, "late")  # comes when all is over, and yet knows it
    wait_until(lambda: len([t for t in late.retained() if t.startswith(f"{at}/")]) == 6, "what is retained")
    found = {topic.removeprefix(f"{at}/"): text for topic, text in late.retained().items()}
    status = options(broker, node="state").status_topic.removeprefix(f"{at}/")
    assert (found[status], found["name"]) == ("online", "state")
    assert (found["door/availability"], found["yard/availability"]) == ("online", "offline")
    assert json.loads(found["door/state"]) == {
        "activity": "Walk",
        "score": 0.51,
        "id": "0a1b2c3d-1",
        "since": "2026-11-21T00:00:01.000Z",
        "model": "test@0123456789ab",
    }
    assert json.loads(found["yard/state"])["activity"] == "none"
    late.close()
    sink.close()


def test_home_assistant_finds_each_source_as_one_device(broker: Broker) -> None:
    run_status = RunStatus("test@0123456789ab", LABELS, ["door", "rtsp://u:***@10.0.0.5/stream"])
    how = options(broker, node="home")
    sink = opened(how, run_status)
    listener = Listener(broker, "assistant")
    wait_until(lambda: len([t for t in listener.latest() if "edge_har_home" in t]) == 2, "two devices")
    found = {t: json.loads(text) for t, text in listener.latest().items() if "edge_har_home" in t}
    topic = "homeassistant/device/edge_har_home_door/config"
    door = found[topic]
    assert door["dev"]["name"] == "door (home)" and door["availability"][0] == {"t": how.status_topic}
    unique = [entity["unique_id"] for one in found.values() for entity in one["cmps"].values()]
    assert len(set(unique)) == len(unique) == 10
    topics = [part for topic in found for part in topic.split("/")]
    assert all(part.replace("_", "").replace("-", "").isalnum() for part in topics)

    run_status.swap("other@1", ("Sit", "Walk"))
    wait_until(lambda: "Sit" in listener.at(topic)[-1], "the labels of another model")
    late = Listener(broker, "restarted")
    wait_until(lambda: "Sit" in late.retained().get(topic, ""), "the same, retained")
    entities = json.loads(late.retained()[topic])["cmps"]
    assert entities["label_Run"] == {"p": "binary_sensor"} and "name" in entities["label_Walk"]
    sink.close()

    # So does a run that was started with another model.
    other = opened(how, RunStatus("third@1", ("Walk",), ["door"]))
    wait_until(lambda: "third@1" in listener.at(topic)[-1], "the message of the next run")
    entities = json.loads(listener.at(topic)[-1])["cmps"]
    assert entities["label_Sit"] == {"p": "binary_sensor"} and "label_Run" not in entities
    late.close()
    listener.close()
    other.close()


def test_entities_of_older_versions_are_taken_over(broker: Broker) -> None:
    old = [
        "homeassistant/sensor/edge_har_old/door_activity/config",
        "homeassistant/binary_sensor/edge_har_old/door_camera/config",
    ]
    writer = Client(CallbackAPIVersion.VERSION2, client_id="older")
    writer.connect("127.0.0.1", broker.port)
    writer.loop_start()
    for topic in (*old, "edge-har/old/status"):
        writer.publish(topic, '{"name": "Activity"}', qos=1, retain=True).wait_for_publish(30)
    writer.disconnect()
    writer.loop_stop()

    device = "homeassistant/device/edge_har_old_door/config"
    listener = Listener(broker, "migrates")
    sink = opened(options(broker, node="old"), setting("door").run_status)
    wait_until(lambda: listener.at("edge-har/old/status")[-1:] == [""], "the end of the old status")
    came = [(topic, text.decode()) for topic, text, retain in listener.heard if not retain]
    steps = [(topic, text) for topic, text in came if topic in (*old, device)]
    migrate, made, emptied = steps[:2], steps[2], steps[3:5]
    assert sorted(migrate) == sorted((topic, '{"migrate_discovery": true}') for topic in old)
    assert made[0] == device and {"activity", "camera"} <= json.loads(made[1])["cmps"].keys()
    assert sorted(emptied) == sorted((topic, "") for topic in old)
    # The same unique ids as before: names, rooms and history stay.
    assert json.loads(made[1])["cmps"]["activity"]["unique_id"] == "edge_har_old_door_activity"
    assert json.loads(made[1])["cmps"]["camera"]["unique_id"] == "edge_har_old_door_camera"
    sink.close()
    late = Listener(broker, "after")
    wait_until(lambda: device in late.retained(), "what is retained")
    assert not {*old, "edge-har/old/status"} & late.retained().keys()
    late.close()
    listener.close()


def is_available(listener: Listener, source: str) -> bool:
    """Whether Home Assistant would show the entities of a source."""
    latest = listener.latest()
    found = [text for t, text in latest.items() if "/device/" in t and t.endswith(f"_{source}/config")]
    if not found or len(found) > 1:
        return False
    topics = [each["t"] for each in json.loads(found[0])["availability"]]
    return all(latest.get(topic) == "online" for topic in topics)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_one_process_of_two_ends_and_the_entities_of_the_other_stay(
    tmp_path: Path, how: signal.Signals
) -> None:
    """Two cameras of one node, each followed by a process with a home of its own, as in two containers."""
    with Broker(tmp_path / "broker") as broker:
        listener = Listener(broker)
        to_broker = ["--sink", f"mqtt://127.0.0.1:{broker.port}?node=house"]
        command = [sys.executable, "-m", "edge_har", "run", *to_broker, "--source"]
        runs = [
            subprocess.Popen(
                [*command, f"{name}=synthetic:Walk"],
                env=environment() | {"EDGE_HAR_HOME": str(tmp_path / name)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for name in ("door", "yard")
        ]
        try:
            for name in ("door", "yard"):
                wait_until(lambda name=name: is_available(listener, name), name)
            heard = len(listener.heard)
            runs[0].send_signal(how)
            runs[0].wait(30)
            wait_until(lambda: not is_available(listener, "door"), "the end of the first")
            assert is_available(listener, "yard")
            after = [(t, text) for t, text, _ in listener.heard[heard:] if text == b"offline"]
            yard = json.loads(listener.latest()["homeassistant/device/edge_har_house_yard/config"])
            assert not {topic for topic, _ in after} & {each["t"] for each in yard["availability"]}
        finally:
            for run in runs:
                run.kill()
                run.wait(30)
        listener.close()


def test_home_assistant_may_be_told_nothing(broker: Broker) -> None:
    listener = Listener(broker, "none")
    sink = opened(options(broker, node="quiet", discovery="off"))
    sink.write(made_event(0))
    wait_until(lambda: sink.state.delivered == 1, "the event")
    sink.close()
    wait_until(lambda: "offline" in statuses(listener, "quiet"), "the goodbye")
    assert not [topic for topic, _, _ in listener.heard if "quiet" in topic and "homeassistant" in topic]
    listener.close()


def test_the_last_will_says_that_a_killed_process_is_gone(broker: Broker) -> None:
    code = (
        "import sys, time; from tests.test_edge_har_sinks_mqtt import *; "
        "sink = MqttOptions(host='127.0.0.1', port=int(sys.argv[1]), node='will', "
        "spool='off').open(setting()).events; "
        "time.sleep(600)"
    )
    listener = Listener(broker, "mourner")
    child = subprocess.Popen([sys.executable, "-c", code, str(broker.port)], env=environment())
    wait_until(lambda: statuses(listener, "will") == ["online"], "the birth")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    wait_until(lambda: statuses(listener, "will") == ["online", "offline"], "the last will")
    listener.close()


DEVICE = """
import socket, sys
from edge_har.errors import EdgeHarError
from tests.test_edge_har_sinks_mqtt import *

socket.gethostname = lambda: "raspberrypi"
try:
    sink = MqttOptions(host="127.0.0.1", port=int(sys.argv[1]), spool="off").open(setting("door")).events
except EdgeHarError as error:
    sys.exit(str(error))
for event in made_events(int(input())):
    sink.write(event)
wait_until(lambda: sink.state.queued == 0, "deliveries")
print(sink.state.delivered, flush=True)
input()
sink.close()
"""


def device(broker: Broker, folder: Path) -> subprocess.Popen[str]:
    """A process that stands for a device called raspberrypi, with its home in `folder`.

    It connects; for a number on stdin it delivers so many events and prints how many arrived; for
    another line it ends.
    """
    return subprocess.Popen(
        [sys.executable, "-c", DEVICE, str(broker.port)],
        env=environment() | {"EDGE_HAR_HOME": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_devices_of_one_host_name_do_not_end_each_others_connections(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        listener = Listener(broker)
        devices = [device(broker, tmp_path / name) for name in ("one", "other")]

        def at(kind: str) -> dict[str, str]:
            return {t: text for t, text in listener.latest().items() if t.split("/")[2:3] == [kind]}

        wait_until(lambda: list(at("status").values()) == ["online"] * 2, "both devices")
        wait_until(lambda: len(at("name")) == 2, "both names")
        assert set(at("name").values()) == {"raspberrypi"}
        identities = {(tmp_path / name / "identity").read_text().strip() for name in ("one", "other")}
        assert {topic.split("/")[1] for topic in at("status")} == identities and len(identities) == 2
        for one in devices:
            assert one.stdin is not None and one.stdout is not None
            one.stdin.write("20\n")
            one.stdin.flush()
        assert [one.stdout.readline() for one in devices if one.stdout] == ["20\n"] * 2
        for one in devices:
            one.communicate("\n")
        wait_until(lambda: set(at("status").values()) == {"offline"}, "both goodbyes")
        found = [json.loads(text) for topic, text in listener.latest().items() if topic.endswith("/config")]
        unique = [entity["unique_id"] for one in found for entity in one["cmps"].values()]
        assert len(found) == 2 and len(set(unique)) == len(unique)
        assert {one["dev"]["name"] for one in found} == {"door (raspberrypi)"}
        assert "already connected" not in (tmp_path / "broker" / "log").read_text()
        for identity in identities:
            assert statuses(listener, identity) == ["online", "offline"]
            assert len(listener.at(f"edge-har/{identity}/door/event")) == 20
        listener.close()


def test_a_second_run_in_the_same_home_gets_a_line_that_names_the_options(
    broker: Broker, tmp_path: Path
) -> None:
    listener = Listener(broker, "second")
    first = device(broker, tmp_path / "home")
    identity = tmp_path / "home" / "identity"
    wait_until(lambda: identity.exists() and identity.read_text(), "the identity")
    base = f"edge-har/{identity.read_text().strip()}"
    wait_until(lambda: statuses(listener, identity.read_text().strip()) == ["online"], "the first run")
    second = device(broker, tmp_path / "home")
    _, message = second.communicate("1\n\n")
    assert second.returncode == 1 and message == (
        f"mqtt: {base} at 127.0.0.1 is in use by another run or sink; give this one another `node`, and "
        "another `name`\n"
    )
    sink = options(broker, node="beside").open(setting("door")).events
    wait_until(lambda: statuses(listener, "beside") == ["online"], "a run with a node of its own")
    sink.close()
    first.communicate("1\n\n")
    assert statuses(listener, identity.read_text().strip())[0] == "online"
    third = device(broker, tmp_path / "home")
    assert third.communicate("1\n\n")[0] == "1\n"
    listener.close()


def test_a_copied_identity_is_named_where_connections_end_again_and_again(broker: Broker, home: Path) -> None:
    listener, how = Listener(broker, "copies"), options(broker, node="copy")
    sink = opened(how)
    for number in range(1, DROPS + 1):
        wait_until(lambda n=number: statuses(listener, "copy").count("online") == n, "a connection")
        twin = Client(CallbackAPIVersion.VERSION2, client_id=how.client_id)
        twin.connect("127.0.0.1", broker.port)
    wait_until(lambda: "again and again" in str(sink.state.last_error), "the reason")
    # What mosquitto writes where a client ends the connection of another; held to be absent above.
    assert f"{how.client_id} already connected" in (broker.folder / "log").read_text()
    assert f"remove {home / 'identity'} and restart" in str(sink.state.last_error)
    sink.close()
    listener.close()


def test_an_outage_of_the_broker_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    events = made_events(300)
    with Broker(tmp_path / "broker") as broker:
        listener = Listener(broker)
        sink = opened(options(broker), spool=tmp_path / "spool")
        for event in events[:100]:
            sink.write(event)
        wait_until(lambda: sink.state.delivered >= 30, "some events")
        broker.stop()
        for event in events[100:]:
            sink.write(event)
        wait_until(lambda: sink.state.failed > 2, "tries in vain")
        assert sink.state.delivered < 300
        broker.start()
        wait_until(lambda: sink.state.delivered == 300, "all events")
        sink.close()
        wait_until(lambda: len(set(listener.at("edge-har/pi/door/event"))) == 300, "all events heard")
        heard = listener.at("edge-har/pi/door/event")
        assert list(dict.fromkeys(heard)) == lines(events)
        assert len(heard) < 400  # only what was not acknowledged came twice, from either side of the broker
        wait_until(lambda: statuses(listener, "pi")[-1] == "offline", "the goodbye")
        listener.close()
    told = [r.getMessage() for r in caplog.records if r.name == "edge_har"]
    assert len(told) == 2 and told[1] == "mqtt: works again", told


def test_a_frozen_broker_holds_up_neither_write_nor_close_and_the_next_run_delivers(tmp_path: Path) -> None:
    events = made_events(50)
    with Broker(tmp_path / "broker") as broker:
        listener = Listener(broker)
        sink = opened(options(broker), spool=tmp_path / "spool", retries=RetryPolicy(close_s=0.3))
        sink.write(events[0])
        wait_until(lambda: sink.state.delivered == 1, "the first event")
        broker.freeze()
        for event in events[1:]:
            sink.write(event)
        wait_until(lambda: sink.state.queued == 49, "all others in the queue")
        sink.close()
        assert sink.state.delivered == 1
        broker.thaw()
        sink = opened(options(broker), spool=tmp_path / "spool")
        wait_until(lambda: sink.state.queued == 0, "the others")
        sink.close()
        wait_until(lambda: len(set(listener.at("edge-har/pi/door/event"))) == 50, "all events heard")
        assert list(dict.fromkeys(listener.at("edge-har/pi/door/event"))) == lines(events)
        listener.close()


def test_nothing_is_delivered_that_the_broker_did_not_acknowledge() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard: list[bytes] = []

        def deaf_broker() -> None:
            line, _ = server.accept()
            heard.append(line.recv(4096))
            line.sendall(b"\x20\x02\x00\x00")  # CONNACK, and never a PUBACK
            while chunk := line.recv(4096):
                heard.append(chunk)

        threading.Thread(target=deaf_broker, daemon=True).start()
        how = MqttOptions(host="127.0.0.1", port=server.getsockname()[1], spool="off", discovery="off")
        sink = opened(how, retries=RetryPolicy(close_s=0.1))
        for event in made_events(3):
            sink.write(event)
        wait_until(lambda: b"/status" in b"".join(heard[1:]), "what is published")
        assert (sink.state.delivered, sink.state.queued) == (0, 3)
        sink.close()


# A handshake that fails leaves its socket to the collector of garbage, inside paho.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_password_and_tls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    certificate, key = self_signed(tmp_path)
    with Broker(tmp_path / "broker", password=True, certificate=certificate, key=key) as broker:
        listener = Listener(broker)
        how = options(broker, user=USER, password=PASSWORD, tls=True, ca_file=str(certificate))
        sink = opened(how)
        sink.write(made_event(0))
        wait_until(lambda: sink.state.delivered == 1, "the event")
        sink.close()
        wait_until(lambda: listener.at("edge-har/pi/door/event") == lines(made_events(1)), "the event")
        listener.close()

        for wrong, reason in (
            ({"password": "hunter3"}, "Not authorized"),
            ({"ca_file": None}, "certificate is not trusted"),
            ({"tls": False, "ca_file": None}, "127.0.0.1"),
        ):
            caplog.clear()
            sink = opened(
                options(
                    broker,
                    **{"user": USER, "password": PASSWORD, "tls": True, "ca_file": str(certificate), **wrong},
                )
            )
            wait_until(lambda sink=sink: sink.state.failed > 1, "two failures")
            assert reason in str(sink.state.last_error)
            sink.close()
            assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
        assert "hunter" not in caplog.text and "hunter" not in repr(how)


def test_a_broker_that_is_not_there_is_named() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        how = MqttOptions(host="127.0.0.1", port=nobody.getsockname()[1])
        run_status = setting().run_status
        target = MqttDestination(how, run_status, PublishedStates(()))
        with pytest.raises(RetryLater, match=r"127\.0\.0\.1 cannot be reached: Connection refused"):
            target.deliver(made_events(1))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"host": ""}, "host"),
        ({"host": "user@host"}, "host"),
        ({"host": "h", "port": 0}, "port"),
        ({"host": "h", "password": "hunter2"}, "needs a user"),
        ({"host": "h", "ca_file": "x"}, "tls"),
        ({"host": "h", "topic": "a/#"}, "topic"),
        ({"host": "h", "tls": True, "key_file": "x"}, "cert_file"),
        ({"host": "h", "page_url": "http://u:hunter2@pi:8080"}, "page_url"),
        ({"host": "h", "page_url": "http://pi/{{ 1 }}"}, "page_url"),
        ({"host": "h", "keepalive_s": 1}, "keepalive_s"),
        ({"host": "h", "spool_bytes": 1}, "spool_bytes"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(MisuseError, match=reason) as caught:
        MqttOptions(**wrong)
    assert "hunter2" not in str(caught.value)


def test_certificates_that_cannot_be_used_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("no certificate")
    for path in (tmp_path / "ca", tmp_path / "none"):
        with pytest.raises(MisuseError, match=f"mqtt: {path} cannot be used"):
            MqttOptions(host="h", tls=True, ca_file=str(path)).open(setting())


def test_a_missing_library_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "paho").mkdir()
    (tmp_path / "paho" / "__init__.py").write_text("raise ImportError('no paho here')")
    code = (
        "from edge_har.errors import RuntimeMissingError\n"
        "from edge_har.pipeline.status import RunStatus\n"
        "from edge_har.sinks.mqtt import MqttOptions\n"
        "from edge_har.sinks.options import SinkContext\n"
        "try:\n"
        "    MqttOptions(host='h', spool='off').open(SinkContext(RunStatus('m', ('a',), ('s',))))\n"
        "except RuntimeMissingError as error:\n"
        "    print(error)\n"
    )
    env = environment()
    env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{env['PYTHONPATH']}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "MQTT needs a library: pip install 'edge-har[mqtt]'\n"
