#!/usr/bin/env python3
"""Drives a broker with the two clients of Kafka that are written in Python, and prints a table of what passed.

    pip install confluent-kafka kafka-python aiokafka
    scripts/conformance_python.py --broker PATH/TO/embedded-broker

They share no code with librdkafka and use other versions of the requests. conformance.py has the broker's process.
"""

import argparse
import asyncio
import sys
import time

import aiokafka
import kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin import NewTopic as AIONewTopic
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.structs import OffsetAndMetadata, TopicPartition

from conformance import Broker, name

CHECKS = []


def check(title):
    def register(function):
        CHECKS.append((title, function))
        return function
    return register


# kafka-python


def topic(b, partitions=1):
    t = name("topic")
    admin = KafkaAdminClient(bootstrap_servers=b.bootstrap)
    admin.create_topics([NewTopic(t, partitions, 1)])
    admin.close()
    return t


def consumer(b, *topics, **settings):
    return KafkaConsumer(*topics, bootstrap_servers=b.bootstrap, auto_offset_reset="earliest",
                         enable_auto_commit=False, consumer_timeout_ms=3000, **settings)


def read(b, t, count, **settings):
    c = consumer(b, **settings)
    c.assign([TopicPartition(t, 0)])
    c.seek_to_beginning()
    values, deadline = [], time.time() + 20
    while len(values) < count and time.time() < deadline:
        for records in c.poll(500).values():
            values += [r.value for r in records]
    for records in c.poll(1000).values():
        values += [r.value for r in records]
    c.close()
    return values


for codec in (None, "gzip"):
    @check(f"kafka-python: produce and fetch, {codec or 'none'}")
    def _(b, codec=codec):
        t = topic(b)
        sent = [f"value {i}".encode() for i in range(1000)]
        p = KafkaProducer(bootstrap_servers=b.bootstrap, compression_type=codec, acks="all", linger_ms=5)
        for v in sent:
            p.send(t, v, key=b"k", headers=[("h", b"v")], partition=0)
        p.flush(20)
        p.close()
        assert read(b, t, 1000) == sent


@check("kafka-python: watermarks and offsets by time")
def _(b):
    t = topic(b)
    p = KafkaProducer(bootstrap_servers=b.bootstrap)
    for i in range(10):
        p.send(t, b"v", partition=0, timestamp_ms=1_000_000 + i * 1000).get(10)
    p.close()
    c, place = consumer(b), TopicPartition(t, 0)
    assert c.beginning_offsets([place]) == {place: 0} and c.end_offsets([place]) == {place: 10}
    assert c.offsets_for_times({place: 1_004_500})[place].offset == 5
    c.close()


@check("kafka-python: a group shares partitions as members come and go; commits keep metadata")
def _(b):
    t, g = topic(b, 4), name("group")
    one = consumer(b, t, group_id=g, session_timeout_ms=6000, heartbeat_interval_ms=300)
    two = consumer(b, t, group_id=g, session_timeout_ms=6000, heartbeat_interval_ms=300)

    def until(consumers, wanted):
        deadline = time.time() + 30
        while time.time() < deadline:
            for c in consumers:
                c.poll(100)
            if [len(c.assignment()) for c in consumers] == wanted:
                return
        raise AssertionError([c.assignment() for c in consumers])

    until([one], [4])
    until([one, two], [2, 2])
    place = sorted(one.assignment())[0]
    one.commit({place: OffsetAndMetadata(7, "note", -1)})
    two.close()
    until([one], [4])
    found = one.committed(place, metadata=True)
    assert (found.offset, found.metadata) == (7, "note"), found
    one.close()


@check("kafka-python: transactions commit and abort")
def _(b):
    t = topic(b)
    p = KafkaProducer(bootstrap_servers=b.bootstrap, transactional_id=name("tx"))
    p.init_transactions()
    for values, end in (([b"a1", b"a2"], p.abort_transaction), ([b"c1", b"c2"], p.commit_transaction)):
        p.begin_transaction()
        for v in values:
            p.send(t, v, partition=0).get(10)
        end()
    p.close()
    assert read(b, t, 2, isolation_level="read_committed") == [b"c1", b"c2"]
    assert read(b, t, 4) == [b"a1", b"a2", b"c1", b"c2"]


@check("kafka-python: topics are described and deleted")
def _(b):
    t = topic(b, 3)
    admin = KafkaAdminClient(bootstrap_servers=b.bootstrap)
    assert len(admin.describe_topics([t])[0]["partitions"]) == 3
    admin.delete_topics([t])
    assert t not in admin.list_topics()
    admin.close()


# aiokafka


async def aio_topic(b, partitions=1):
    t = name("topic")
    admin = AIOKafkaAdminClient(bootstrap_servers=b.bootstrap)
    await admin.start()
    await admin.create_topics([AIONewTopic(t, partitions, 1)])
    await admin.close()
    return t


async def aio_read(b, t, count, **settings):
    c = aiokafka.AIOKafkaConsumer(bootstrap_servers=b.bootstrap, auto_offset_reset="earliest", **settings)
    await c.start()
    try:
        c.assign([aiokafka.TopicPartition(t, 0)])
        await c.seek_to_beginning()
        values, deadline = [], time.time() + 20
        while len(values) < count and time.time() < deadline:
            for records in (await c.getmany(timeout_ms=500)).values():
                values += [r.value for r in records]
        for records in (await c.getmany(timeout_ms=1000)).values():
            values += [r.value for r in records]
        return values
    finally:
        await c.stop()


for codec in (None, "gzip"):
    @check(f"aiokafka: idempotent produce and fetch, {codec or 'none'}")
    async def _(b, codec=codec):
        t = await aio_topic(b)
        p = aiokafka.AIOKafkaProducer(bootstrap_servers=b.bootstrap, enable_idempotence=True, compression_type=codec)
        await p.start()
        sent = [f"value {i}".encode() for i in range(1000)]
        for future in [await p.send(t, v, partition=0) for v in sent]:
            await future
        await p.stop()
        assert await aio_read(b, t, 1000) == sent


@check("aiokafka: transactions with offsets, commit and abort, read_committed")
async def _(b):
    t, g = await aio_topic(b), name("group")
    p = aiokafka.AIOKafkaProducer(bootstrap_servers=b.bootstrap, transactional_id=name("tx"))
    await p.start()
    place = aiokafka.TopicPartition(t, 0)
    for values, offset, commits in (([b"a"], 3, False), ([b"c"], 5, True)):
        await p.begin_transaction()
        for v in values:
            await p.send_and_wait(t, v, partition=0)
        await p.send_offsets_to_transaction({place: offset}, g)
        await (p.commit_transaction() if commits else p.abort_transaction())
    await p.stop()
    assert await aio_read(b, t, 1, isolation_level="read_committed") == [b"c"]
    assert await aio_read(b, t, 2) == [b"a", b"c"]
    c = aiokafka.AIOKafkaConsumer(bootstrap_servers=b.bootstrap, group_id=g)
    await c.start()
    c.assign([place])
    assert await c.committed(place) == 5
    await c.stop()


@check("aiokafka: a second producer of the same id fences the first")
async def _(b):
    t, i = await aio_topic(b), name("tx")
    one = aiokafka.AIOKafkaProducer(bootstrap_servers=b.bootstrap, transactional_id=i)
    await one.start()
    await one.begin_transaction()
    await one.send_and_wait(t, b"zombie", partition=0)
    two = aiokafka.AIOKafkaProducer(bootstrap_servers=b.bootstrap, transactional_id=i)
    await two.start()
    try:
        await one.commit_transaction()
        raise AssertionError("the zombie committed")
    except aiokafka.errors.KafkaError:
        pass
    await two.begin_transaction()
    await two.send_and_wait(t, b"live", partition=0)
    await two.commit_transaction()
    await two.stop()
    await one.stop()
    assert await aio_read(b, t, 1, isolation_level="read_committed") == [b"live"]


@check("aiokafka: a group shares partitions as members come and go")
async def _(b):
    t, g = await aio_topic(b, 4), name("group")

    async def member():
        c = aiokafka.AIOKafkaConsumer(t, bootstrap_servers=b.bootstrap, group_id=g, heartbeat_interval_ms=300,
                                      session_timeout_ms=6000)
        await c.start()
        return c

    async def until(members, wanted):
        deadline = time.time() + 30
        while time.time() < deadline:
            for m in members:
                await m.getmany(timeout_ms=100)
            if [len(m.assignment()) for m in members] == wanted:
                return
        raise AssertionError([m.assignment() for m in members])

    one = await member()
    await until([one], [4])
    two = await member()
    await until([one, two], [2, 2])
    await two.stop()
    await until([one], [4])
    await one.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--only", default="", help="run the checks whose name contains this")
    options = parser.parse_args()
    broker, failures = Broker(options.broker, None), 0
    print(f"| check (kafka-python {kafka.__version__}, aiokafka {aiokafka.__version__}) | result | seconds |")
    print("|---|---|---|")
    try:
        for title, function in CHECKS:
            if options.only not in title:
                continue
            start, result = time.time(), "pass"
            try:
                outcome = function(broker)
                if asyncio.iscoroutine(outcome):
                    asyncio.run(outcome)
            except Exception as e:  # each check reports, none ends the run
                result, failures = f"FAIL {type(e).__name__}: {e}"[:160], failures + 1
            print(f"| {title} | {result} | {time.time() - start:.1f} |", flush=True)
    finally:
        broker.stop()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
