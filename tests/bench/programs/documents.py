# SPDX-License-Identifier: MIT
"""json.dumps and json.loads of a large document:  documents.py RECORDS TIMES"""
import json
import sys


def document(records):
    return [{"id": i, "name": "user%d" % i, "tags": [str(j) for j in range(i % 10)],
             "position": {"x": i * 1.5, "y": -i / 3}, "active": i % 2 == 0, "note": None if i % 7 else "n" * (i % 60)}
            for i in range(records)]


def main(records, times):
    value = document(records)
    for _ in range(times):
        text = json.dumps(value)
        value = json.loads(text)
    print(len(text))


main(int(sys.argv[1]), int(sys.argv[2]))
