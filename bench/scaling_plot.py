"""A plot of throughput against replicas, as SVG."""
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 560, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 210, 40, 50
COLOURS = ("#c1121f", "#1d4e89", "#5b8e3e")


def text(x, y, words, anchor="middle", extra=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>' % (x, y, anchor, extra, escape(words))


def svg(title, curves):
    """curves: name to {replicas: requests a second}; drawn relative to one replica."""
    replicas = sorted({n for points in curves.values() for n in points})
    top = max(2.0, max(rate / points[replicas[0]] for points in curves.values() for rate in points.values()))
    last = replicas[-1]

    def x_of(n):
        return LEFT + n / (last + 0.25) * (WIDTH - LEFT - RIGHT)

    def y_of(times):
        return HEIGHT - BOTTOM - times / (1.1 * top) * (HEIGHT - TOP - BOTTOM)

    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">'
           % (WIDTH, HEIGHT), '<rect width="100%" height="100%" fill="white"/>',
           text(WIDTH / 2, 22, title, extra='font-size="15"'),
           text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "replicas"),
           text(0, 0, "times as fast as one", extra='transform="translate(16 %d) rotate(-90)"' % (HEIGHT / 2))]
    for times in range(0, int(top) + 1):
        out.append('<path d="M%d %.1fH%d" stroke="#ddd"/>' % (LEFT, y_of(times), WIDTH - RIGHT))
        out.append(text(LEFT - 8, y_of(times) + 4, "%d" % times, "end"))
    for n in replicas:
        out.append(text(x_of(n), HEIGHT - BOTTOM + 18, "%d" % n))
    for i, (name, points) in enumerate(curves.items()):
        one = points[replicas[0]]
        places = [(x_of(n), y_of(rate / one)) for n, rate in sorted(points.items())]
        out.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>'
                   % (COLOURS[i], " ".join("%.1f,%.1f" % place for place in places)))
        out += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (x, y, COLOURS[i]) for x, y in places]
        out.append('<rect x="%d" y="%d" width="12" height="12" fill="%s"/>' % (WIDTH - RIGHT + 16, TOP + 40 * i, COLOURS[i]))
        out.append(text(WIDTH - RIGHT + 34, TOP + 40 * i + 10, name, "start"))
        out.append(text(WIDTH - RIGHT + 34, TOP + 40 * i + 26, "1 replica: {:,.0f} a second".format(one), "start", 'fill="#666"'))
    return "\n".join(out + ["</svg>", ""])
