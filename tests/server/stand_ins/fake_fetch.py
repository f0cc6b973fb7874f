"""A download that brings nothing, and says much; run as the real one is."""

import json
import sys

sys.stdin.readline()
print(json.dumps({"done": 1, "total": 2}), flush=True)
sys.stderr.write("x" * 1_000_000)
sys.stderr.flush()
print(json.dumps({"commit": "c", "bytes": 2, "fetched": 2}), flush=True)
