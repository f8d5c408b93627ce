#!/usr/bin/env python3
"""A plot of how searches over many servers would grow, as SVG: calculated from what
bench/remote.py has measured, in ms of a processor, of a front for each server that a
search asks, and of a server for each search.

usage: growth_plot.py FRONT_MS SERVER_MS >docs/img/remote-growth.svg
"""
import math
import sys

from scaling_plot import COLOURS, text

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 40, 50
SERVERS = (1, 2, 5, 10, 20, 50, 100)
RATES = (10, 100, 1000, 10000)


def x_of(servers):
    return LEFT + math.log10(servers) / 2 * (WIDTH - LEFT - RIGHT)


def y_of(rate):
    return HEIGHT - BOTTOM - (math.log10(rate) - 1) / 3 * (HEIGHT - TOP - BOTTOM)


def main():
    front, server = float(sys.argv[1]), float(sys.argv[2])
    curves = (("one processor of the front", lambda n: 1000 / (front * n)),
              ("a tree: fronts of ten servers", lambda n: 1000 / (front * max(min(n, 10), n / 10))),
              ("one processor of each server", lambda n: 1000 / server))
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">'
           % (WIDTH, HEIGHT), '<rect width="100%" height="100%" fill="white"/>',
           text(WIDTH / 2, 22, "Searches a second that a processor is enough for (calculated)", extra='font-size="15"'),
           text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "servers, each with 10 million rows")]
    for rate in RATES:
        out.append('<path d="M%d %.1fH%d" stroke="#ddd"/>' % (LEFT, y_of(rate), WIDTH - RIGHT))
        out.append(text(LEFT - 8, y_of(rate) + 4, "{:,}".format(rate), "end"))
    for n in SERVERS:
        out.append(text(x_of(n), HEIGHT - BOTTOM + 18, "%d" % n))
    for i, (name, rate) in enumerate(curves):
        points = " ".join("%.1f,%.1f" % (x_of(n), y_of(rate(n))) for n in SERVERS)
        out.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>' % (COLOURS[i], points))
        out.append('<rect x="%d" y="%d" width="12" height="12" fill="%s"/>' % (WIDTH - RIGHT + 16, TOP + 24 * i, COLOURS[i]))
        out.append(text(WIDTH - RIGHT + 34, TOP + 24 * i + 10, name, "start"))
    print("\n".join(out + ["</svg>"]))


if __name__ == "__main__":
    main()
