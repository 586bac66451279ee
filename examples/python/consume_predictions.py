#!/usr/bin/env python3
"""Print predictions as they arrive.

    python3 -m venv .venv && .venv/bin/pip install 'confluent-kafka>=2.3'
    .venv/bin/python examples/python/consume_predictions.py --bootstrap-servers 127.0.0.1:9092

The record's format is topics/housing/schemas/housing-prediction.schema.json. In the profile `latency` a prediction can
come twice after a crash; `event_id` tells them apart.
"""

import argparse
import json
import signal
import sys
import uuid


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Print predictions as they arrive.")
    parser.add_argument("--bootstrap-servers", required=True, help="host:port,… (see `penstock status`)")
    parser.add_argument("--topic", default="penstock.housing.predictions")
    parser.add_argument("--group", help="consumer group to share the work in; default: read everything alone")
    parser.add_argument("--limit", type=int, help="stop after N predictions")
    return parser.parse_args()


def main() -> int:
    try:
        from confluent_kafka import Consumer, KafkaError
    except ImportError:
        print("error: confluent-kafka is missing: pip install 'confluent-kafka>=2.3'", file=sys.stderr)
        return 1
    options = arguments()
    consumer = Consumer(
        {
            "bootstrap.servers": options.bootstrap_servers,
            "group.id": options.group or f"example-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": options.group is not None,
        }
    )
    consumer.subscribe([options.topic])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    count = 0
    try:
        while options.limit is None or count < options.limit:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    continue
                print(f"error: {message.error()}", file=sys.stderr)
                return 1
            prediction = json.loads(message.value())
            print(
                f"{prediction['event_time']}  {prediction['entity']}  score {prediction['score']:.3f}"
                f"  label {prediction['label']}  {prediction['model']} {prediction['model_version']}",
                flush=True,
            )
            count += 1
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
