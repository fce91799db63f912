"""No file may be tested for less than FLOOR % of its lines and branches: `coverage json -q -o - | python .ci/covered.py`."""

import json
import sys

FLOOR = 88

files = json.load(sys.stdin)["files"]
found = {name: file["summary"]["percent_covered"] for name, file in files.items()}
behind = [f"{name}: {percent:.1f} %" for name, percent in found.items() if percent < FLOOR]
if behind:
    sys.exit(f"covered: less than {FLOOR} %: {', '.join(behind)}")
print(f"covered: {len(found)} files, each by {min(found.values()):.1f} % or more")
