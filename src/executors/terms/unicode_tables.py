#!/usr/bin/env python3
"""Writes unicode_tables.h: what Python's str.lower() and its \\w know of Unicode.

Run it with the Python whose behaviour is to be matched; the tables follow from
that behaviour alone.
"""
import sys
import unicodedata


def ranges(predicate):
    out, start = [], None
    for c in range(0x80, 0x110000):
        hit = not 0xD800 <= c <= 0xDFFF and predicate(chr(c))
        if hit and start is None:
            start = c
        if not hit and start is not None:
            out.append((start, c - 1))
            start = None
    return out


def before_sigma(prefix):
    return lambda c: (prefix + c + "\u03a3").lower().endswith("\u03c2")


word = ranges(lambda c: c.isalnum() or c == "_")
cased = ranges(before_sigma(""))
ignorable = [r for r in ranges(lambda c: before_sigma("A")(c) and not before_sigma("")(c))]
lower = [(c, ord(chr(c).lower())) for c in range(0x80, 0x110000)
         if not 0xD800 <= c <= 0xDFFF and len(chr(c).lower()) == 1 and chr(c).lower() != chr(c)
         and c != 0x3A3]

print("/*\n * unicode_tables.h\n *\t\tWord characters and lower case of Unicode %s, beyond ASCII.\n *\n"
      " * Written by unicode_tables.py; do not edit.\n */" % unicodedata.unidata_version)
for name, table, what in (("word_ranges", word, "letters, digits and the underscore"),
                          ("cased_ranges", cased, "cased characters that are not ignorable"),
                          ("ignorable_ranges", ignorable, "characters that the case of a sigma ignores"),
                          ("lower_pairs", lower, "a character and its lower case")):
    print("\n/* %s */\nstatic const uint32 %s[][2] = {" % (what, name))
    for i in range(0, len(table), 4):
        print("\t" + " ".join("{0x%X, 0x%X}," % p for p in table[i:i + 4]))
    print("};")
print("%d word ranges, %d lower case pairs" % (len(word), len(lower)), file=sys.stderr)
