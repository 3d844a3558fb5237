# SPDX-License-Identifier: MIT
"""What tools in Python read in exports, as a list in JSON:  consumers.py TOOL FILE...

Run by test_consumers.py with an interpreter that has the tools: see tests/peers/install-consumers.
"""
import json
import pstats
import sys

COLUMNS = [metric + "_" + what for metric in ("peak", "live", "total", "temporary") for what in ("bytes", "count")]


def read_pyarrow(path):
    import pyarrow.ipc
    with pyarrow.ipc.open_file(path) as file:
        table = file.read_all()
    table.validate(full=True)
    return {name: sum(table[name].to_pylist()) for name in COLUMNS}


def read_duckdb(path):
    import duckdb
    sums = ", ".join("sum({0})::bigint as {0}".format(name) for name in COLUMNS)
    if path.endswith(".arrow"):
        import pyarrow.ipc
        sites = pyarrow.ipc.open_file(path).read_all()                 # found by its name in the query
        assert sites.num_rows
        rows = duckdb.sql("select {} from sites".format(sums)).fetchall()[0]
    else:
        rows = duckdb.sql("select {} from read_csv('{}')".format(sums, path)).fetchall()[0]
    return dict(zip(COLUMNS, rows))


def read_snakeviz(path):
    """What its page is made of: the table, and the tree of callees."""
    from snakeviz.stats import json_stats, table_rows
    stats = pstats.Stats(path)
    tree = json_stats(stats)
    rows = table_rows(stats)
    assert len(rows) == len(tree) == len(stats.stats)
    columns = [row["stats"] for row in tree.values()]
    return {"bytes": sum(column[2] for column in columns), "count": sum(column[1] for column in columns)}


def read_jsonschema(path):
    import jsonschema
    schema, document = path.split(",")
    with open(schema) as one, open(document) as other:
        jsonschema.validate(json.load(other), json.load(one))
    return "valid"


if __name__ == "__main__":
    print(json.dumps([globals()["read_" + sys.argv[1]](path) for path in sys.argv[2:]]))
