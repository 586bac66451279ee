#!/usr/bin/env python3
"""Drives a broker through Kafka's protocol with confluent-kafka and prints a table of what passed.

    pip install confluent-kafka
    scripts/conformance.py [--bootstrap HOST:PORT | --broker PATH/TO/embedded-broker]

With --broker it starts the program with a data directory of its own and restarts it for the durability checks.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition, libversion
from confluent_kafka import admin as kafka_admin
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

CHECKS = []


def check(name):
    def register(function):
        CHECKS.append((name, function))
        return function
    return register


class Broker:
    """A broker process with its own directory, or an address somebody else serves."""

    def __init__(self, program, bootstrap):
        self.program, self.bootstrap, self.process = program, bootstrap, None
        self.directory = tempfile.mkdtemp(prefix="conformance-")
        if program:
            self.start()

    def start(self, faults=""):
        """Starts it; `faults` are lines as in docs/embedded-log.md."""
        address = os.path.join(self.directory, "address")
        if os.path.exists(address):
            os.remove(address)
        arguments = [self.program, "--data", os.path.join(self.directory, "data"), "--address-file", address,
                     "--exit-with-parent"]
        if self.bootstrap:
            arguments += ["--listen", self.bootstrap]
        if faults:
            path = os.path.join(self.directory, "faults")
            with open(path, "w") as file:
                file.write(faults)
            arguments += ["--faults", path]
        self.process = subprocess.Popen(arguments, stderr=open(os.path.join(self.directory, "log"), "ab"))
        deadline = time.time() + 60
        while not os.path.exists(address):
            if self.process.poll() is not None or time.time() > deadline:
                raise RuntimeError(f"the broker did not start: see {self.directory}/log")
            time.sleep(0.05)
        self.bootstrap = open(address).read().strip()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self, faults=""):
        """Stops and starts it at the same address."""
        if not self.process:
            raise NotImplementedError("needs --broker")
        self.process.terminate()
        self.process.wait(30)
        self.start(faults)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)


def name(base):
    return f"{base}-{uuid.uuid4().hex[:8]}"


ADMINS = {}


def admin(b):
    """One client for each address, kept alive: a client that goes away takes its futures with it."""
    if b.bootstrap not in ADMINS:
        ADMINS[b.bootstrap] = AdminClient({"bootstrap.servers": b.bootstrap})
    return ADMINS[b.bootstrap]


def topic(b, partitions=1, **config):
    t = name("topic")
    admin(b).create_topics([NewTopic(t, partitions, 1, config=config)])[t].result(20)
    return t


def producer(b, **settings):
    return Producer({"bootstrap.servers": b.bootstrap, "linger.ms": 5, **settings})


def produce(b, t, values, partition=0, keys=None, **settings):
    p = producer(b, **settings)
    errors = []
    for i, v in enumerate(values):
        p.produce(t, v, key=keys[i] if keys else None, partition=partition,
                  on_delivery=lambda e, m: errors.append(e) if e else None)
    assert p.flush(30) == 0 and not errors, errors


def consumer(b, group=None, **settings):
    return Consumer({"bootstrap.servers": b.bootstrap, "group.id": group or name("group"),
                     "auto.offset.reset": "earliest", "enable.auto.commit": False, "session.timeout.ms": 6000,
                     "heartbeat.interval.ms": 300, **settings})


def read(b, t, count, partition=0, offset=0, seconds=20, extra=1.0, **settings):
    """The values read from a partition: waits for `count`, then a little longer for what must not come."""
    c = consumer(b, **settings)
    c.assign([TopicPartition(t, partition, offset)])
    values, deadline = [], time.time() + seconds
    while len(values) < count and time.time() < deadline:
        m = c.poll(0.2)
        if m and not m.error():
            values.append(m.value())
    deadline = time.time() + extra
    while time.time() < deadline:
        m = c.poll(0.1)
        if m and not m.error():
            values.append(m.value())
    c.close()
    return values


for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    @check(f"produce and fetch, {codec}")
    def _(b, codec=codec):
        t = topic(b)
        sent = [f"value {i} {'x' * (i % 300)}".encode() for i in range(2000)]
        produce(b, t, sent, **{"compression.type": codec})
        assert read(b, t, 2000, extra=0) == sent

for acks in ("0", "1", "all"):
    @check(f"produce with acks={acks}")
    def _(b, acks=acks):
        t = topic(b)
        produce(b, t, [b"a"] * 100, acks=acks)
        assert len(read(b, t, 100, extra=0)) == 100


@check("a message over max.message.bytes is refused")
def _(b):
    t = topic(b, **{"max.message.bytes": "2000"})
    p, errors = producer(b), []
    p.produce(t, os.urandom(5000), on_delivery=lambda e, m: errors.append(e))
    p.flush(20)
    assert errors[0].name() == "MSG_SIZE_TOO_LARGE", errors


@check("watermarks and offsets by time")
def _(b):
    t = topic(b)
    p = producer(b)
    for i in range(10):
        p.produce(t, b"v", timestamp=1_000_000 + i * 1000)
        p.flush(10)
    c = consumer(b)
    assert c.get_watermark_offsets(TopicPartition(t, 0), 10) == (0, 10)
    assert c.offsets_for_times([TopicPartition(t, 0, 1_004_500)], 10)[0].offset == 5
    assert c.offsets_for_times([TopicPartition(t, 0, 2_000_000)], 10)[0].offset in (-1, 10)
    c.close()


@check("the offset of the latest timestamp")
def _(b):
    if not hasattr(AdminClient, "list_offsets"):
        raise NotImplementedError("needs librdkafka 2.3")
    t = topic(b)
    p = producer(b)
    for i in (3, 9, 5):
        p.produce(t, b"v", timestamp=1_000_000 + i * 1000)
        p.flush(10)
    latest = admin(b).list_offsets({TopicPartition(t, 0): kafka_admin.OffsetSpec.max_timestamp()})
    assert list(latest.values())[0].result(10).offset == 1


@check("a position out of range is reset")
def _(b):
    t = topic(b)
    produce(b, t, [b"v"] * 5)
    assert len(read(b, t, 5, offset=1000)) == 5


def poll_until(consumers, condition, seconds=30):
    deadline = time.time() + seconds
    while not condition() and time.time() < deadline:
        for c in consumers:
            c.poll(0.05)
    assert condition(), [c.assignment() for c in consumers]


for strategy in ("range", "cooperative-sticky"):
    @check(f"a group shares partitions as members come and go, {strategy}")
    def _(b, strategy=strategy):
        t, g = topic(b, 4), name("group")
        settings = {"partition.assignment.strategy": strategy}
        first, second = consumer(b, g, **settings), consumer(b, g, **settings)
        first.subscribe([t])
        poll_until([first], lambda: len(first.assignment()) == 4)
        second.subscribe([t])
        poll_until([first, second], lambda: len(first.assignment()) == 2 and len(second.assignment()) == 2)
        second.close()
        poll_until([first], lambda: len(first.assignment()) == 4)
        first.close()


@check("a static member comes back without a rebalance; its double is fenced")
def _(b):
    t, g = topic(b, 2), name("group")
    one = consumer(b, g, **{"group.instance.id": "one"})
    events = []
    two = consumer(b, g, **{"group.instance.id": "two"})
    one.subscribe([t])
    two.subscribe([t], on_assign=lambda c, p: events.append("assign"), on_revoke=lambda c, p: events.append("revoke"))
    poll_until([one, two], lambda: len(one.assignment()) == 1 and len(two.assignment()) == 1)
    one.close()
    del events[:]
    again = consumer(b, g, **{"group.instance.id": "one"})
    again.subscribe([t])
    poll_until([again, two], lambda: len(again.assignment()) == 1)
    assert events == [], events
    double = consumer(b, g, **{"group.instance.id": "one"})
    double.subscribe([t])
    fenced, deadline = [], time.time() + 20
    while not fenced and time.time() < deadline:
        for c in (again, double, two):
            try:
                m = c.poll(0.05)
                if m and m.error() and m.error().name() in ("_FATAL", "FENCED_INSTANCE_ID"):
                    fenced.append(m.error())
            except KafkaException as e:
                fenced.append(e)
    assert fenced
    for c in (again, double, two):
        c.close()


@check("a member that dies is missed after its session")
def _(b):
    t, g = topic(b, 2), name("group")
    code = (f"from confluent_kafka import Consumer\nc = Consumer({{'bootstrap.servers': '{b.bootstrap}', "
            f"'group.id': '{g}', 'session.timeout.ms': 3000, 'heartbeat.interval.ms': 300}})\n"
            f"c.subscribe(['{t}'])\nwhile True: c.poll(0.1)\n")
    other = subprocess.Popen([sys.executable, "-c", code])
    try:
        one = consumer(b, g, **{"session.timeout.ms": 3000})
        one.subscribe([t])
        poll_until([one], lambda: len(one.assignment()) == 1)
    finally:
        other.kill()
        other.wait()
    poll_until([one], lambda: len(one.assignment()) == 2)
    one.close()


@check("commits keep offset and metadata")
def _(b):
    t, g = topic(b, 2), name("group")
    c = consumer(b, g)
    c.commit(offsets=[TopicPartition(t, 0, 42, "note"), TopicPartition(t, 1, 7)], asynchronous=False)
    found = c.committed([TopicPartition(t, 0), TopicPartition(t, 1)], 10)
    assert [(p.offset, p.metadata) for p in found][0] == (42, "note") and found[1].offset == 7
    c.close()


@check("idempotent retries after broken connections and errors leave each record once, in order")
def _(b):
    t = topic(b)
    b.restart("produce disconnectAfter 4\nproduce error:7 2\nproduce disconnectBefore 2\nproduce delay:50 2\n")
    try:
        sent = [str(i).encode() for i in range(3000)]
        produce(b, t, sent, **{"enable.idempotence": True, "linger.ms": 0, "batch.num.messages": 50,
                               "retry.backoff.ms": 20, "reconnect.backoff.ms": 20})
        assert read(b, t, 3000) == sent
    finally:
        b.restart()


@check("a transaction survives broken connections at every step")
def _(b):
    t = topic(b)
    b.restart("addPartitionsToTransaction disconnectAfter 1\nproduce disconnectAfter 1\n"
              "endTransaction disconnectAfter 1\ninitProducerID disconnectAfter 1\n")
    try:
        p = transactional(b, name("tx"))
        p.begin_transaction()
        for i in range(100):
            p.produce(t, str(i).encode(), partition=0)
        p.flush(20)
        p.commit_transaction(20)
        assert read(b, t, 100, **{"isolation.level": "read_committed"}) == [str(i).encode() for i in range(100)]
    finally:
        b.restart()


@check("idempotent produce keeps order and count")
def _(b):
    t = topic(b)
    sent = [str(i).encode() for i in range(20000)]
    produce(b, t, sent, **{"enable.idempotence": True, "linger.ms": 0})
    assert read(b, t, 20000, extra=0) == sent


def transactional(b, transactional_id, timeout=10000):
    p = producer(b, **{"transactional.id": transactional_id, "transaction.timeout.ms": timeout})
    p.init_transactions(20)
    return p


@check("a committed transaction is seen whole, an aborted one only uncommitted")
def _(b):
    t = topic(b)
    p = transactional(b, name("tx"))
    for values, end in (([b"a1", b"a2"], p.abort_transaction), ([b"c1", b"c2"], p.commit_transaction)):
        p.begin_transaction()
        for v in values:
            p.produce(t, v, partition=0)
        p.flush(10)
        end(20)
    assert read(b, t, 2, **{"isolation.level": "read_committed"}) == [b"c1", b"c2"]
    assert read(b, t, 4, **{"isolation.level": "read_uncommitted"}) == [b"a1", b"a2", b"c1", b"c2"]


@check("an open transaction holds read_committed back")
def _(b):
    t = topic(b)
    p = transactional(b, name("tx"))
    p.begin_transaction()
    p.produce(t, b"open", partition=0)
    p.flush(10)
    produce(b, t, [b"plain"])
    assert read(b, t, 1, seconds=1.5, **{"isolation.level": "read_committed"}) == []
    p.commit_transaction(20)
    assert read(b, t, 2, **{"isolation.level": "read_committed"}) == [b"open", b"plain"]


@check("a second producer of the same id fences the first")
def _(b):
    t, i = topic(b), name("tx")
    one = transactional(b, i)
    one.begin_transaction()
    one.produce(t, b"zombie", partition=0)
    one.flush(10)
    two = transactional(b, i)
    try:
        one.commit_transaction(20)
        raise AssertionError("the zombie committed")
    except KafkaException as e:
        assert e.args[0].name() in ("_FENCED", "INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED", "_STATE"), e
    two.begin_transaction()
    two.produce(t, b"live", partition=0)
    two.commit_transaction(20)
    assert read(b, t, 1, **{"isolation.level": "read_committed"}) == [b"live"]


@check("a transaction that lasts too long is aborted")
def _(b):
    t = topic(b)
    p = transactional(b, name("tx"), timeout=1500)
    p.begin_transaction()
    p.produce(t, b"late", partition=0)
    p.flush(10)
    time.sleep(3)
    produce(b, t, [b"after"])
    assert read(b, t, 1, **{"isolation.level": "read_committed"}) == [b"after"]
    try:
        p.commit_transaction(20)
        raise AssertionError("it was committed")
    except KafkaException:
        pass


@check("offsets in a transaction count at its commit only")
def _(b):
    t, g = topic(b), name("group")
    produce(b, t, [b"v"] * 10)
    c = consumer(b, g)
    c.subscribe([t])
    poll_until([c], lambda: len(c.assignment()) == 1)
    p = transactional(b, name("tx"))
    for offset, end, expected in ((3, p.abort_transaction, -1001), (5, p.commit_transaction, 5)):
        p.begin_transaction()
        p.produce(t, b"out", partition=0)
        p.send_offsets_to_transaction([TopicPartition(t, 0, offset)], c.consumer_group_metadata(), 20)
        end(20)
        assert c.committed([TopicPartition(t, 0)], 10)[0].offset == expected
    c.close()


@check("topics: create, describe, enlarge, alter, delete")
def _(b):
    a, t = admin(b), topic(b, 2, **{"retention.ms": "3600000"})
    try:
        a.create_topics([NewTopic(t, 1, 1)])[t].result(10)
        raise AssertionError("made twice")
    except KafkaException as e:
        assert e.args[0].name() == "TOPIC_ALREADY_EXISTS", e
    a.create_partitions([NewPartitions(t, 5)])[t].result(10)
    assert len(a.list_topics(t, 10).topics[t].partitions) == 5
    resource = ConfigResource(ConfigResource.Type.TOPIC, t)
    assert a.describe_configs([resource])[resource].result(10)["retention.ms"].value == "3600000"
    if hasattr(a, "incremental_alter_configs"):
        change = ConfigResource(kafka_admin.ResourceType.TOPIC, t, incremental_configs=[kafka_admin.ConfigEntry(
            "retention.ms", "7200000", incremental_operation=kafka_admin.AlterConfigOpType.SET)])
        a.incremental_alter_configs([change])[change].result(10)
    else:
        change = ConfigResource(ConfigResource.Type.TOPIC, t, set_config={"retention.ms": "7200000"})
        a.alter_configs([change])[change].result(10)
    assert a.describe_configs([resource])[resource].result(10)["retention.ms"].value == "7200000"
    a.delete_topics([t])[t].result(10)
    time.sleep(0.2)
    assert t not in a.list_topics(timeout=10).topics


@check("wrong topics: invalid name, replication, setting")
def _(b):
    for new, error in ((NewTopic("a/b", 1, 1), "TOPIC_EXCEPTION"), (NewTopic(name("t"), 1, 3),
                       "INVALID_REPLICATION_FACTOR"), (NewTopic(name("t"), 1, 1, config={"retention.ms": "x"}),
                       "INVALID_CONFIG"), (NewTopic(name("t"), 0, 1), "INVALID_PARTITIONS")):
        try:
            admin(b).create_topics([new])[new.topic].result(10)
            raise AssertionError(f"{error} expected")
        except KafkaException as e:
            assert e.args[0].name() == error, (error, e)


@check("delete records moves the start")
def _(b):
    t = topic(b)
    produce(b, t, [str(i).encode() for i in range(10)])
    if not hasattr(AdminClient, "delete_records"):
        raise NotImplementedError("needs confluent-kafka 2.5")
    result = admin(b).delete_records([TopicPartition(t, 0, 4)])
    assert list(result.values())[0].result(10).low_watermark == 4
    assert read(b, t, 6, extra=0)[0] == b"4"


@check("cluster and groups: describe, list, delete")
def _(b):
    if not hasattr(AdminClient, "describe_cluster"):
        raise NotImplementedError("needs confluent-kafka 2.3")
    a, t, g = admin(b), topic(b), name("group")
    cluster = a.describe_cluster().result(10)
    assert cluster.cluster_id and len(cluster.nodes) == 1
    c = consumer(b, g)
    c.subscribe([t])
    poll_until([c], lambda: len(c.assignment()) == 1)
    c.commit(offsets=[TopicPartition(t, 0, 1)], asynchronous=False)
    described = a.describe_consumer_groups([g])[g].result(10)
    assert len(described.members) == 1 and described.members[0].assignment.topic_partitions[0].topic == t
    assert g in [x.group_id for x in a.list_consumer_groups().result().valid]
    offsets = a.list_consumer_group_offsets([confluent_kafka.ConsumerGroupTopicPartitions(g)])[g].result(10)
    assert offsets.topic_partitions[0].offset == 1
    try:
        a.delete_consumer_groups([g])[g].result(10)
        raise AssertionError("deleted with members")
    except KafkaException as e:
        assert e.args[0].name() == "NON_EMPTY_GROUP", e
    c.close()
    a.delete_consumer_groups([g])[g].result(10)


@check("a compacted topic keeps the last value of each key")
def _(b):
    t = topic(b, **{"cleanup.policy": "compact", "segment.bytes": "16384", "min.cleanable.dirty.ratio": "0.01",
                    "segment.ms": "500"})
    for i in range(40):
        produce(b, t, [f"{i}-{k}-{'x' * 200}".encode() for k in range(10)], keys=[str(k) for k in range(10)])
    deadline = time.time() + 30
    while time.time() < deadline:
        values = read(b, t, 400, extra=0, seconds=2)
        if len(values) < 400:
            break
        time.sleep(1)
    assert len(values) < 400 and [v for v in values if v.startswith(b"39-")][-10:] == values[-10:], len(values)


@check("kcat produces and reads")
def _(b):
    t = topic(b)
    subprocess.run(["kcat", "-b", b.bootstrap, "-t", t, "-P"], input=b"a\nb\nc\n", check=True)
    out = subprocess.run(["kcat", "-b", b.bootstrap, "-t", t, "-C", "-e", "-q", "-o", "beginning"],
                         capture_output=True, check=True).stdout
    assert out == b"a\nb\nc\n", out


@check("kill -9 keeps records, commits, groups and transactions")
def _(b):
    if not b.process:
        raise NotImplementedError("needs --broker")
    t, g, i = topic(b, 1), name("group"), name("tx")
    produce(b, t, [b"kept"] * 1000)
    c = consumer(b, g)
    c.commit(offsets=[TopicPartition(t, 0, 500, "mark")], asynchronous=False)
    c.close()
    p = transactional(b, i)
    p.begin_transaction()
    p.produce(t, b"undecided", partition=0)
    p.flush(10)
    b.kill()
    b.start()
    assert len(read(b, t, 1000, extra=0)) == 1000
    c = consumer(b, g)
    found = c.committed([TopicPartition(t, 0)], 10)[0]
    assert (found.offset, found.metadata) == (500, "mark"), found
    c.close()
    transactional(b, i)
    assert len(read(b, t, 1000, **{"isolation.level": "read_committed"})) == 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap")
    parser.add_argument("--broker")
    parser.add_argument("--only", default="", help="run the checks whose name contains this")
    options = parser.parse_args()
    if bool(options.bootstrap) == bool(options.broker):
        parser.error("give either --bootstrap or --broker")
    broker, failures = Broker(options.broker, options.bootstrap), 0
    print(f"| check (librdkafka {libversion()[0]}) | result | seconds |\n|---|---|---|")
    try:
        for title, function in CHECKS:
            if options.only not in title:
                continue
            start, result = time.time(), "pass"
            try:
                function(broker)
            except NotImplementedError as e:
                result = f"skipped: {e}"
            except Exception as e:  # each check reports, none ends the run
                result, failures = f"FAIL {type(e).__name__}: {e}"[:160], failures + 1
            print(f"| {title} | {result} | {time.time() - start:.1f} |", flush=True)
    finally:
        broker.stop()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
