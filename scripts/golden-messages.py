#!/usr/bin/env python3
"""Writes protocol messages as another implementation encodes them, for the tests of our own encoding.

    pip install kafka-python==3.0.12
    scripts/golden-messages.py Sources/EmbeddedBroker/Wire/APIKey.swift > Tests/EmbeddedBrokerTests/Fixtures/messages.txt

kafka-python derives its codecs from Apache Kafka's own message definitions. Each line is `request|response`, the key, the
version, `full` or `null`, and the bytes of the body in hexadecimal. In `full` every field has a value that follows from
its path (`Topics.1.Partitions.0.FetchOffset`) and every array two elements; in `null` what may be null is null and arrays
are empty. Tagged fields are left out, as the broker skips them. A field is found by Apache Kafka's name for it.
"""

import re
import sys

from kafka.protocol import admin, api_message, consumer, metadata, producer
from kafka.record.default_records import DefaultRecordBatchBuilder


def fnv(text):
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def records(path):
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    builder.append(0, 1_700_000_000_000, b"key", path.encode(), [("header", b"value")])
    builder.append(1, 1_700_000_000_005, None, b"", [])
    return bytes(builder.build())


def scalar(kind, path):
    number = fnv(path)
    integers = {"int8": 0x7F, "int16": 0x7FFF, "uint16": 0x7FFF, "int32": 0x7FFFFFFF, "uint32": 0x7FFFFFFF}
    if kind in integers:
        return number & integers[kind]
    if kind == "int64":
        return number << 20 | number >> 12
    if kind == "bool":
        return number & 1 == 1
    if kind == "string":
        return path
    if kind == "bytes":
        return path.encode()
    if kind == "records":
        return records(path)
    if kind == "uuid":
        import uuid
        return uuid.UUID(int=number << 96 | number << 32 | 1)
    if kind == "bitfield":
        return {3, 8}
    raise ValueError(kind)


def value(field, path, version, full):
    if not full and field.nullable_for_version_q(version):
        return None
    if field.is_array() or field.is_struct_array():
        if not full:
            return []
        if field.is_struct_array():
            return [struct(field.data_class, field.array_of, f"{path}.{i}", version, full) for i in range(2)]
        return [scalar(field.array_of.type_str, f"{path}.{i}") for i in range(2)]
    if field.is_struct():
        return struct(field.data_class, field, path, version, full)
    return scalar(field.type_str, path)


def struct(cls, field, path, version, full):
    prefix = path + "." if path else ""
    fields = [f for f in field._fields if f.for_version_q(version) and not f.tagged_field_q(version)]
    return cls(**{f.name: value(f, prefix + f._name, version, full) for f in fields})


def classes():
    found = {}
    for module in (admin, consumer, metadata, producer, api_message):
        for name in dir(module):
            item = getattr(module, name)
            if re.fullmatch(r"\w+(Request|Response)", name) and hasattr(item, "_json"):
                found[name] = item
    return found


def main():
    source = open(sys.argv[1]).read()
    keys = dict((name, int(number)) for name, number in re.findall(r"case (\w+) = (\d+)", source))
    ranges = re.findall(r"case \.(\w+): \((\d+)\.\.\.(\d+),", source)
    known = classes()
    by_key = {}
    for name, cls in known.items():
        by_key.setdefault(cls._json["apiKey"], {})[cls._json["type"]] = cls
    for name, low, high in ranges:
        for version in range(int(low), int(high) + 1):
            for kind in ("request", "response"):
                cls = by_key[keys[name]][kind]
                if version > cls.max_version:
                    continue
                for variant in ("full", "null"):
                    message = struct(cls, cls._struct, "", version, variant == "full")
                    body = message.encode(version=version)
                    print(kind, keys[name], version, variant, bytes(body).hex())


main()
