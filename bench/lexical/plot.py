"""Times on two logarithmic axes, as SVG."""
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from scaling_plot import text  # noqa: E402

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 40, 50
COLOURS = ("#c1121f", "#1d4e89", "#5b8e3e", "#8a6d3b")


def ticks(low, high):
    """1, 2 and 5 times powers of ten that lie between."""
    return [step * 10.0 ** decade for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for step in (1, 2, 5) if low <= step * 10.0 ** decade <= high]


def svg(title, below, beside, curves):
    """curves: name to {x: y}; below and beside name the axes."""
    xs = sorted({x for points in curves.values() for x in points})
    ys = [y for points in curves.values() for y in points.values()]
    low, high = min(ys) / 1.3, max(ys) * 1.3

    def x_of(x):
        return LEFT + 15 + math.log(x / xs[0]) / math.log(xs[-1] / xs[0]) * (WIDTH - LEFT - RIGHT - 30)

    def y_of(y):
        return HEIGHT - BOTTOM - math.log(y / low) / math.log(high / low) * (HEIGHT - TOP - BOTTOM)

    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">' % (WIDTH, HEIGHT),
           '<rect width="100%" height="100%" fill="white"/>', text((LEFT + WIDTH - RIGHT) / 2, 22, title, extra='font-size="15"'),
           text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, below),
           text(0, 0, beside, extra='transform="translate(16 %d) rotate(-90)"' % (HEIGHT / 2))]
    for y in ticks(low, high):
        out.append('<path d="M%d %.1fH%d" stroke="#ddd"/>' % (LEFT, y_of(y), WIDTH - RIGHT))
        out.append(text(LEFT - 8, y_of(y) + 4, "%g" % y, "end"))
    for x in xs:
        out.append(text(x_of(x), HEIGHT - BOTTOM + 18, "{:,}".format(x)))
    for i, (name, points) in enumerate(curves.items()):
        places = [(x_of(x), y_of(y)) for x, y in sorted(points.items())]
        out.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>'
                   % (COLOURS[i], " ".join("%.1f,%.1f" % place for place in places)))
        out += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (x, y, COLOURS[i]) for x, y in places]
        out.append(text(WIDTH - RIGHT + 8, places[-1][1] + 4, name, "start", 'fill="%s"' % COLOURS[i]))
    return "\n".join(out + ["</svg>", ""])
