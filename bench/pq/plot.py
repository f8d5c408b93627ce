"""A plot of recall against queries a second, as SVG: the second axis is logarithmic."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 50
COLOURS = {"pq": "#c1121f", "hnsw": "#1d4e89", "ivfflat": "#5b8e3e", "faiss": "#8a6d3b", "faiss rabitq": "#7b2d8b"}
LOWEST_RECALL = 0.8


def frontier(points):
    """The points that no other beats in both recall and speed, recall rising."""
    best = []
    for point in sorted(points, key=lambda p: (-p["recall"], -p["qps"])):
        if not best or point["qps"] > best[-1]["qps"]:
            best.append(point)
    return best[::-1]


def x_of(recall):
    return LEFT + (recall - LOWEST_RECALL) / (1 - LOWEST_RECALL) * (WIDTH - LEFT - RIGHT)


def y_of(qps, low, high):
    share = (math.log10(qps) - low) / (high - low)
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def text(x, y, words, anchor="middle", extra=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>' % (x, y, anchor, extra, escape(words))


def grid(low, high):
    out = []
    for decade in range(low, high + 1):
        for step in (1, 2, 5):
            qps = step * 10 ** decade
            if math.log10(qps) > high:
                break
            y = y_of(qps, low, high)
            out.append('<path d="M%d %.1fH%d" stroke="#ddd"/>' % (LEFT, y, WIDTH - RIGHT))
            out.append(text(LEFT - 8, y + 4, "{:,}".format(qps), "end"))
    for i in range(int(round(LOWEST_RECALL * 100)), 101, 5):
        x = x_of(i / 100)
        out.append('<path d="M%.1f %dV%d" stroke="#ddd"/>' % (x, TOP, HEIGHT - BOTTOM))
        out.append(text(x, HEIGHT - BOTTOM + 18, "%.2f" % (i / 100)))
    return out


def line(name, points, low, high):
    places = [(x_of(p["recall"]), y_of(p["qps"], low, high)) for p in points]
    colour = COLOURS[name]
    out = ['<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>'
           % (colour, " ".join("%.1f,%.1f" % place for place in places))]
    out += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (x, y, colour) for x, y in places]
    return out


def svg(title, curves):
    """curves: name → points, each with recall and qps."""
    shown = {name: [p for p in frontier(points) if p["recall"] >= LOWEST_RECALL] for name, points in curves.items()}
    shown = {name: points for name, points in shown.items() if points}
    speeds = [p["qps"] for points in shown.values() for p in points]
    if not speeds:
        return None
    low, high = math.floor(math.log10(min(speeds))), math.ceil(math.log10(max(speeds)))
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">'
           % (WIDTH, HEIGHT), '<rect width="100%" height="100%" fill="white"/>',
           text((LEFT + WIDTH - RIGHT) / 2, 22, title, extra='font-size="15"'),
           text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "recall@10"),
           text(0, 0, "queries a second", extra='transform="translate(16 %d) rotate(-90)"' % (HEIGHT / 2))]
    out += grid(low, high)
    for i, (name, points) in enumerate(shown.items()):
        out += line(name, points, low, high)
        out.append('<rect x="%d" y="%d" width="12" height="12" fill="%s"/>' % (WIDTH - RIGHT + 20, TOP + 22 * i, COLOURS[name]))
        out.append(text(WIDTH - RIGHT + 38, TOP + 22 * i + 10, name, "start"))
    return "\n".join(out + ["</svg>", ""])
