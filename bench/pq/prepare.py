#!/usr/bin/python3
"""Makes the sets ready that the data folder has the sources of.

usage: prepare.py SOURCE_FOLDER FOLDER
"""
import os
import sys

import sets

NEEDS = {"sift": "sift/base_u8.npy.zst", "textlsa": "text-lsa/make.py"}

if len(sys.argv) != 3:
    raise SystemExit(__doc__)
for name in sets.SETS:
    if os.path.exists(os.path.join(sys.argv[1], NEEDS[name])):
        sets.prepare(sys.argv[1], sys.argv[2], name)
