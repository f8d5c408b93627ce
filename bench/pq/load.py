#!/usr/bin/python3
"""Loads a vector file into a table (id int, embedding vector, bucket int).

usage: load.py TABLE FILE      the server is the one that PGHOST etc. name
"""
import sys

from vectors import load_table, read_vectors

if len(sys.argv) != 3:
    raise SystemExit(__doc__)
load_table(sys.argv[1], read_vectors(sys.argv[2]))
