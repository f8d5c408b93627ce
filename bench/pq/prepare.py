#!/usr/bin/python3
"""Makes the sets ready that the data folder has the sources of.

usage: prepare.py SOURCE_FOLDER FOLDER [SETS]
"""
import os
import sys

import sets

NEEDS = {"sift": "sift/base_u8.npy.zst", "textlsa": "text-lsa/make.py", "textlsa1536": "text-lsa/make.py"}

if len(sys.argv) < 3:
    raise SystemExit(__doc__)
asked = sys.argv[3].split(",") if len(sys.argv) > 3 else list(sets.SETS)
asked += [sets.MADE_OF[name] for name in asked if name in sets.MADE_OF]
for name in sets.SETS:
    if name in asked and os.path.exists(os.path.join(sys.argv[1], NEEDS[sets.MADE_OF.get(name, name)])):
        sets.prepare(sys.argv[1], sys.argv[2], name)
