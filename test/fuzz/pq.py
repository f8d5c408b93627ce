#!/usr/bin/python3
"""Random data, random lives and random queries of pq indexes, against exact search in the same server.

usage: pq.py ROUNDS SEED [SERVER-LOG]     PGHOST names a private server, whose superuser is postgres

A round makes a table of rows of some kind, lets an index live (inserts in transactions large, small, and rolled back, rows that move,
are replaced, deleted; VACUUM, TRUNCATE, REINDEX, crashes) and asks now and then.  What has to hold each time: rows come in order of the
exact distance; none comes twice; all come if all are asked for; filters hold; the check of the index is clean; the goal of recall is kept,
by rows like those of the table, by points between them, by what was inserted last, by what is quite unlike all rows.  Where it seems not to
be, more queries of the same kind decide.  The same seed gives the same round, up to when workers learn.  JFLOW_PQ_VERBOSE=1 tells of each step."""
import os
import signal
import struct
import sys
import time

import numpy as np
import psycopg2

ROUNDS, SEED = int(sys.argv[1]), int(sys.argv[2])
LOG = sys.argv[3] if len(sys.argv) > 3 else None
VERBOSE = bool(os.environ.get('JFLOW_PQ_VERBOSE'))
DATABASE = 'fuzz_pq'
MOST = 200          # rows that a query asks for
FLOATS = 800000    # of a round's rows
# Recall that may be missed: less is told; less than that is a fault; and where rows have moved that an index has not learned from yet; and by
# queries unlike the rows, whose rules must not make others dear.
SLACK = 0.005
STEADY = 0.03
MOVING = 0.15
STRANGE = 0.4

OPERATORS = {'l2': '<->', 'ip': '<#>', 'cosine': '<=>', 'l1': '<+>'}
KINDS = ['uniform', 'normal', 'clusters', 'uneven', 'copies', 'few', 'whole', 'far', 'tiny', 'places', 'scales', 'norms', 'curve', 'plane',
         'tails', 'constant', 'hot', 'walk', 'nested']
# Queries unlike the rows: each coordinate of another row, rows of another length, far out, few coordinates of a row, sums of rows, the origin.
UNLIKE = ['shuffled', 'scaled', 'out', 'sparse', 'sums', 'zero']

found = []
seen = {}           # recalls by what they are of


class Rows:
    """A source of rows of one kind, which can change step by step."""

    def __init__(self, rand, kind, dims):
        self.rand, self.kind, self.dims = rand, kind, dims
        self.shift = np.zeros(dims)
        self.scale = 1.0
        self.at = 0.0
        count = {'clusters': 20, 'uneven': 100, 'few': int(rand.integers(2, 200)), 'places': 2, 'nested': 8}.get(kind, 8)
        self.centres = rand.normal(size=(count, dims)) * rand.choice([0.5, 1, 4])
        self.width = rand.choice([0.02, 0.1, 0.4, 1])
        self.basis = rand.normal(size=(3, dims))
        self.start = rand.normal(size=dims) * 3
        self.way = rand.normal(size=dims) / max(1, dims) ** 0.5

    def take(self, n):
        rand, d = self.rand, self.dims
        x = rand.normal(size=(n, d))
        k = self.kind
        which = rand.integers(0, len(self.centres), n)
        if k == 'uniform':
            x = rand.random((n, d)) - 0.5
        elif k in ('clusters', 'nested'):
            x = self.centres[which] + self.width * x * (10.0 ** -rand.integers(0, 3, (n, 1)) if k == 'nested' else 1)
        elif k == 'uneven':
            which = np.minimum(len(self.centres) - 1, (len(self.centres) ** rand.random(n)).astype(int) - 1)
            x = self.centres[which] + self.width * x
        elif k == 'copies':
            x = np.repeat(x[:max(1, n // 20)], 20, axis=0)[:n] if n >= 20 else x
        elif k == 'few':
            x = self.centres[which]
        elif k == 'whole':
            x = np.floor(rand.random((n, d)) * 4)
        elif k == 'far':
            x = 1000 * self.start + self.width * x
        elif k == 'tiny':
            x = x * 1e-6
        elif k == 'places':
            x = self.centres[which] * 100 + x
        elif k == 'scales':
            x = x * 100.0 ** rand.integers(-1, 3, (n, 1))
        elif k == 'norms':
            x = x / np.maximum(1e-9, np.linalg.norm(x, axis=1, keepdims=True)) * np.exp(rand.normal(size=(n, 1)))
        elif k == 'curve':
            t = rand.random((n, 1)) * 6
            x = np.sin(t * (1 + np.arange(d) % 5) + self.start) + 0.02 * self.width * x
        elif k == 'plane':
            x = rand.normal(size=(n, 3)) @ self.basis + 0.01 * self.width * x
        elif k == 'tails':
            x = x / np.maximum(0.05, np.abs(rand.normal(size=(n, 1))))
        elif k == 'constant':
            x = np.tile(self.start, (n, 1))
        elif k == 'hot':
            x = np.zeros((n, d))
            x[np.arange(n), rand.integers(0, d, n)] = 1 + rand.integers(0, 3, n)
        elif k == 'walk':
            t = self.at + np.arange(n) * 0.003
            self.at += n * 0.003
            x = 3 * np.sin(t[:, None] * (1 + np.arange(d) % 3 * 0.3) + self.start) + 0.3 * x
        return x * self.scale + self.shift

    def change(self):
        """Be something else from now on; returns what."""
        what = self.rand.choice(['step', 'step', 'leap', 'wider', 'narrower', 'other', 'centres'])
        spread = float(np.std(self.take(50))) + 1e-12
        if what == 'step':
            self.shift = self.shift + self.way * spread * self.dims ** 0.5 * 0.3
        elif what == 'leap':
            self.shift = self.shift + self.rand.normal(size=self.dims) * spread * 3
        elif what == 'wider':
            self.scale *= self.rand.choice([1.3, 2, 10])
        elif what == 'narrower':
            self.scale /= self.rand.choice([1.3, 2, 10])
        elif what == 'other':
            self.kind = str(self.rand.choice(KINDS))
            what = self.kind
        else:
            self.centres = self.rand.normal(size=self.centres.shape)
        return what


def form(kind, x):
    """Rows in the binary format of a type."""
    n, d = x.shape
    if kind == 'vector':
        data = np.ascontiguousarray(np.clip(x, -1e30, 1e30), '>f4').view('u1').reshape(n, d * 4)
        head = struct.pack('>hh', d, 0)
    elif kind == 'halfvec':
        data = np.ascontiguousarray(np.clip(x, -60000, 60000), '>f2').view('u1').reshape(n, d * 2)
        head = struct.pack('>hh', d, 0)
    else:
        result = []
        x = x.astype('f4')
        for row in x:
            where = np.nonzero(row)[0]
            result.append(struct.pack('>iii', d, len(where), 0) + where.astype('>i4').tobytes() + row[where].astype('>f4').tobytes())
        return result
    return [head + row.tobytes() for row in data]


class Copy:
    """What psycopg2 reads a COPY from."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def read(self, n=65536):
        part = self.data[self.at:self.at + n]
        self.at += len(part)
        return part


class Failed(Exception):
    pass


class Round:
    def __init__(self, seed):
        self.seed = seed
        self.rand = rand = np.random.default_rng(seed)
        self.strange = np.random.default_rng([seed, 1])     # does not disturb the life
        self.dims = int(rand.choice([1, 2, 3, 4, 8, 16, 24, 32, 48, 64, 96, 128, 200, 384, 768, 1536],
                                    p=np.array([2, 4, 4, 4, 8, 8, 8, 8, 8, 6, 4, 4, 2, 2, 1, 1]) / 74))
        self.type = str(rand.choice(['vector', 'vector', 'halfvec', 'sparsevec']))
        if self.type == 'sparsevec':
            self.dims = int(rand.choice([self.dims, 300, 900], p=[0.6, 0.2, 0.2]))
        self.metric = str(rand.choice(list(OPERATORS)))
        self.op = OPERATORS[self.metric]
        self.rows = Rows(rand, str(rand.choice(KINDS)), self.dims)
        self.first = self.rows.kind
        self.most = int(min(rand.choice([2000, 3000, 4000, 8000]), max(1200, FLOATS / self.dims)))
        self.goal = float(rand.choice([0.9, 0.95, 0.95, 0.95, 0.99]))
        self.history = []
        self.id = 0
        self.moved = self.rows.kind == 'walk'   # what comes is not what came
        self.last = None        # what came last
        self.conn = None
        self.options = ''

    # ---- the server

    def connect(self):
        limit = time.monotonic() + 60
        while True:
            try:
                self.conn = psycopg2.connect(dbname=DATABASE)
                break
            except psycopg2.OperationalError:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.1)
        self.conn.autocommit = True
        self.cursor = self.conn.cursor()
        self.run('SET enable_sort = off; SET enable_seqscan = off; SET jflow.pq_recall = %s; SET client_min_messages = error' % self.goal)

    def run(self, sql, values=None):
        self.cursor.execute(sql, values)
        return self.cursor.fetchall() if self.cursor.description else None

    def note(self, text):
        self.history.append(text)
        if VERBOSE:
            print(time.strftime('%X'), text)

    def settle(self):
        """Wait until workers that learn have gone, so that rounds can be run again."""
        limit = time.monotonic() + 60
        quiet = 0
        while quiet < 2 and time.monotonic() < limit:
            quiet = 0 if self.run("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jflow pq learner'")[0][0] else quiet + 1
            time.sleep(0.01)

    def has_index(self):
        return self.run("SELECT to_regclass('t_pq') IS NOT NULL")[0][0]

    # ---- the life

    def copy(self, x, cursor=None):
        """Insert rows by COPY."""
        n = len(x)
        f = self.rand.integers(0, 10, n)
        null = self.rand.random(n) < 0.01
        parts = [b'PGCOPY\n\xff\r\n\0' + b'\0' * 8]
        for i, e in enumerate(form(self.type, x)):
            self.id += 1
            parts.append(struct.pack('>hiiiiid', 4, 4, self.id, 4, int(f[i]), 8, float(self.id % 97) / 7))
            parts.append(struct.pack('>i', -1) if null[i] else struct.pack('>i', len(e)) + e)
        parts.append(b'\xff\xff')
        (cursor or self.cursor).copy_expert('COPY t (id, f, g, e) FROM STDIN (FORMAT binary)', Copy(b''.join(parts)))
        self.last = x

    def count(self):
        return self.run('SELECT count(*) FROM t')[0][0]

    def insert(self, n):
        room = self.most - self.count()
        n = min(n, room)
        if n <= 0:
            return
        how = str(self.rand.choice(['copy', 'copy', 'parts', 'single', 'rollback', 'savepoints', 'local']))
        x = self.rows.take(n)
        if how == 'copy':
            self.copy(x)
        elif how == 'parts':
            for part in np.array_split(x, max(1, n // 60)):
                self.copy(part)
        elif how == 'single':
            for part in np.array_split(x[:150], max(1, len(x[:150]))):
                self.copy(part)
            self.copy(x[150:])
        elif how == 'rollback':
            self.run('BEGIN')
            self.copy(x)
            self.run('ROLLBACK')
            if self.rand.random() < 0.5:
                self.copy(x)
        elif how == 'savepoints':
            self.run('BEGIN')
            for i, part in enumerate(np.array_split(x, 8)):
                self.run('SAVEPOINT s')
                self.copy(part)
                self.run('ROLLBACK TO s' if i % 3 == 1 else 'RELEASE s')
            self.run('COMMIT')
        else:
            self.run('BEGIN')
            if self.rand.random() < 0.3:
                self.run('TRUNCATE t')
            self.copy(x)
            self.run('COMMIT')
        self.note('%d rows by %s' % (n, how))

    def index(self):
        if self.has_index():
            return
        options = ''
        if self.rand.random() < 0.15:
            options = ' WITH (lists = %d)' % self.rand.choice([1, 3, 20, 100])
        if self.rand.random() < 0.1:
            parts = [s for s in (1, 2, 8, 16) if s <= self.dims]
            options = ' WITH (subvectors = %d)' % self.rand.choice(parts)
        columns = str(self.rand.choice(['e %s_%s_ops, f, g', 'e %s_%s_ops, f', 'e %s_%s_ops'])) % (self.type, self.metric)
        self.options = options
        self.run('CREATE INDEX %s t_pq ON t USING pq (%s)%s' % (self.rand.choice(['', 'CONCURRENTLY']), columns, options))
        self.note('index%s of %d' % (options, self.count()))

    def change(self):
        self.moved = True
        self.note('rows are now ' + self.rows.change())

    def delete(self):
        self.moved = True
        which = str(self.rand.choice(['f = 3', 'id % 3 = 0', 'id < (SELECT max(id) * 0.7 FROM t)', 'id > (SELECT max(id) * 0.7 FROM t)', 'near', 'true'],
                                     p=[.2, .2, .2, .15, .2, .05]))
        self.note('delete ' + which)
        if which == 'near':
            which = 'e %s (SELECT e FROM t WHERE e IS NOT NULL ORDER BY id LIMIT 1) < (SELECT percentile_cont(0.3) WITHIN GROUP (ORDER BY e %s ' \
                '(SELECT e FROM t WHERE e IS NOT NULL ORDER BY id LIMIT 1)) FROM t)' % (self.op, self.op)
        self.run('DELETE FROM t WHERE ' + which)

    def replace(self):
        """All rows go and others come, in portions."""
        self.moved = True
        self.note('rows are replaced by ' + self.rows.change())
        n = self.count()
        if n == 0:
            return
        last = self.run('SELECT max(id) FROM t')[0][0]
        parts = int(self.rand.integers(2, 9))
        for i in range(parts):
            self.run('DELETE FROM t WHERE id <= %d AND id %% %d = %d' % (last, parts, i))
            if self.rand.random() < 0.7:
                self.run('VACUUM t')
            self.copy(self.rows.take(n // parts))
            if i < parts - 1 and self.rand.random() < 0.3:
                self.settle()
                self.ask(few=True)

    def move(self):
        """Rows come of which each portion is a little farther."""
        self.moved = True
        self.note('rows move')
        for _ in range(int(self.rand.integers(2, 6))):
            self.rows.shift = self.rows.shift + self.rows.way * (float(np.std(self.rows.take(50))) + 1e-12) * self.dims ** 0.5 * 0.4
            room = self.most - self.count()
            if room < 100:
                self.run('DELETE FROM t WHERE id < (SELECT percentile_disc(0.4) WITHIN GROUP (ORDER BY id) FROM t)')
                self.run('VACUUM t')
            self.copy(self.rows.take(min(500, max(room, 200))))

    def churn(self):
        """Rows come and go many times, all alike, and then come others."""
        self.note('rows come and go')
        n = min(300, self.most // 10)
        for _ in range(8):
            self.copy(self.rows.take(n))
            self.run('DELETE FROM t WHERE id > %d' % (self.id - n))
            self.run('VACUUM t')

    def update(self):
        what = str(self.rand.choice(['f', 'swap', 'step']))
        self.moved |= what == 'step'
        self.note('update ' + what)
        if what == 'f':
            self.run('UPDATE t SET f = (f + 1) %% 10 WHERE id %% 5 = %d' % self.rand.integers(0, 5))
        elif what == 'swap':
            self.run('UPDATE t SET e = (SELECT e FROM t u WHERE u.id >= t.id + 7 ORDER BY u.id LIMIT 1) WHERE id %% 9 = %d' % self.rand.integers(0, 9))
        elif self.type != 'sparsevec':
            step = self.rows.way * (float(np.std(self.rows.take(50))) + 1e-12) * 0.3
            value = '[' + ','.join('%.7g' % v for v in step) + ']'
            self.run("UPDATE t SET e = e + '%s' WHERE id %% 4 = %d" % (value, self.rand.integers(0, 4)))

    def vacuum(self):
        how = str(self.rand.choice(['VACUUM t', 'VACUUM (FREEZE) t', 'VACUUM FULL t', 'VACUUM (INDEX_CLEANUP on) t', 'VACUUM ANALYZE t'], p=[.5, .1, .1, .1, .2]))
        self.note(how)
        self.run(how)

    def reindex(self):
        if self.has_index():
            self.note('reindex')
            self.run('REINDEX INDEX %s t_pq' % self.rand.choice(['', 'CONCURRENTLY']))

    def truncate(self):
        self.note('truncate')
        if self.rand.random() < 0.5:
            self.run('TRUNCATE t')
        else:
            self.run('BEGIN')
            self.run('TRUNCATE t')
            self.copy(self.rows.take(min(self.most, 400)))
            self.run(str(self.rand.choice(['COMMIT', 'ROLLBACK'])))

    def crash(self):
        self.note('crash')
        pid = self.run('SELECT pg_backend_pid()')[0][0]
        if self.rand.random() < 0.5:
            self.run('BEGIN')
            self.copy(self.rows.take(min(300, self.most)))
        before = restarts()
        os.kill(pid, signal.SIGKILL)
        self.conn.close()
        # what answers must be what came up
        limit = time.monotonic() + 60
        while LOG is not None and restarts() == before and time.monotonic() < limit:
            time.sleep(0.01)
        self.connect()

    def play(self):
        """The life."""
        self.connect()
        self.run('DROP TABLE IF EXISTS t')
        kind = str(self.rand.choice(['', 'UNLOGGED'], p=[0.9, 0.1]))
        self.unlogged = kind != ''
        self.run('CREATE %s TABLE t (id int, f int, g float8, e %s(%d)) WITH (autovacuum_enabled = off)' % (kind, self.type, self.dims))
        self.note('seed %d: %s %s(%d) %s, %s, goal %s' % (self.seed, kind, self.type, self.dims, self.metric, self.first, self.goal))
        if self.rand.random() < 0.8:
            self.insert(int(self.rand.choice([0, 1, 40, 300, 1000, 1500, 3000, 5000])))
        self.index()
        steps = [self.change, self.delete, self.replace, self.move, self.churn, self.update, self.vacuum, self.reindex, self.truncate]
        weights = np.array([4, 3, 2, 2, 1, 2, 4, 0.7, 0.7])
        if not self.unlogged:
            steps.append(self.crash)
            weights = np.append(weights, 0.5)
        for _ in range(int(self.rand.integers(2, 8))):
            if self.rand.random() < 0.55:
                self.insert(int(self.rand.choice([1, 20, 100, 300, 800, 2000, 4000], p=[.05, .05, .15, .2, .25, .2, .1])))
            else:
                steps[self.rand.choice(len(steps), p=weights / weights.sum())]()
            self.settle()
            if self.rand.random() < 0.35:
                self.ask(few=True)
        self.insert(int(self.rand.choice([20, 500, 1500])))
        self.settle()
        self.ask()
        self.conn.close()

    # ---- the queries

    def text(self, point):
        if self.type == 'sparsevec':
            point = point.astype('f4')
            return '{%s}/%d' % (','.join('%d:%.9g' % (i + 1, point[i]) for i in np.nonzero(point)[0]), self.dims)
        limit = 60000 if self.type == 'halfvec' else 1e30
        return '[' + ','.join('%.9g' % v for v in np.clip(point, -limit, limit)) + ']'

    def point(self, text):
        if self.type != 'sparsevec':
            return np.array(text[1:-1].split(','), 'f8')
        point = np.zeros(self.dims)
        for part in text[1:text.index('}')].split(','):
            if part:
                at, value = part.split(':')
                point[int(at) - 1] = float(value)
        return point

    def unlike(self, kind, n):
        """Texts of queries unlike the rows."""
        rand = self.strange
        got = self.run("SELECT e::text FROM t WHERE e IS NOT NULL ORDER BY hashint8(id + %d) LIMIT 100" % rand.integers(0, 1000000))
        if len(got) < 10:
            return []
        rows = np.array([self.point(r[0]) for r in got])
        a, b, c = (rows[rand.integers(0, len(rows), n)] for _ in range(3))
        if kind == 'shuffled':
            x = rows[rand.integers(0, len(rows), (n, self.dims)), np.arange(self.dims)]
        elif kind == 'scaled':
            x = a * 10 ** rand.uniform(-2, 2, (n, 1))
        elif kind == 'out':
            x = a + (b - c) * 10 ** rand.uniform(0, 2, (n, 1))
        elif kind == 'sparse':
            x = a * (rand.random((n, self.dims)) < rand.uniform(0, 0.5, (n, 1)))
        elif kind == 'sums':
            x = a * rand.normal(size=(n, 1)) + b * rand.normal(size=(n, 1)) + c * rand.normal(size=(n, 1))
        else:
            x = np.zeros((1, self.dims))
        return [self.text(p) for p in np.clip(x, -1e14, 1e14)]

    def queries(self, kind, n):
        """Texts of queries: unlike the rows, rows of the table, points between two of them, what came last."""
        if kind in UNLIKE:
            return self.unlike(kind, n)
        if kind == 'rows' or self.last is None or len(self.last) == 0:
            got = self.run("SELECT e::text FROM t WHERE e IS NOT NULL ORDER BY hashint8(id + %d) LIMIT %d" % (self.rand.integers(0, 1000000), n))
            return [r[0] for r in got]
        if kind == 'between' and self.type != 'sparsevec':
            got = self.run("SELECT e::text FROM t WHERE e IS NOT NULL ORDER BY hashint8(id + %d) LIMIT %d" % (self.rand.integers(0, 1000000), 2 * n))
            points = np.array([np.array(r[0][1:-1].split(','), 'f8') for r in got])
            return [self.text((points[i] + points[i + 1]) / 2) for i in range(0, len(points) - 1, 2)]
        # those that came last, and points near to them
        got = self.run("SELECT e::text FROM (SELECT e FROM t WHERE e IS NOT NULL ORDER BY id DESC LIMIT 500) x ORDER BY random() LIMIT %d" % n)
        if self.type == 'sparsevec' or len(got) < 2:
            return [r[0] for r in got]
        points = np.array([np.array(r[0][1:-1].split(','), 'f8') for r in got])
        near = points * 0.9 + np.roll(points, 1, axis=0) * 0.1
        return [self.text(p if i % 2 else q) for i, (p, q) in enumerate(zip(points, near))]

    def exact(self, query, filter, most):
        self.run('SET enable_seqscan = on; SET enable_indexscan = off; SET enable_sort = on')
        got = self.run("SELECT id, e %s %%s::%s AS d FROM t WHERE %s ORDER BY 2, 1 LIMIT %d" % (self.op, self.type, filter.replace('%', '%%'), most), (query,))
        self.run('SET enable_seqscan = off; SET enable_indexscan = on; SET enable_sort = off')
        return got

    def near(self, far, query):
        """The largest distance that is one to within rounding."""
        if self.metric == 'cosine':
            return far + 3e-6
        if self.metric != 'ip':
            return far + abs(far) * 1e-5
        return far + abs(far) * 1e-6 + 1e-6 * self.size ** 0.5 * max(self.size ** 0.5, float(np.linalg.norm(self.point(query))))

    def bad(self, text):
        raise Failed(text)

    def check_rows(self, got, what, filter, strict=True):
        d = [r[1] for r in got]
        if strict and any(a > b for a, b in zip(d, d[1:])):
            self.bad('out of order: %s' % what)
        if len({r[0] for r in got}) != len(got):
            self.bad('a row came twice: %s' % what)

    def scan(self, query, filter, k):
        """The index's answer, which is checked but for its recall."""
        sql = "SELECT id, e %s %%s::%s AS d FROM t WHERE %s ORDER BY e %s %%s::%s LIMIT %d" % (
            self.op, self.type, filter.replace('%', '%%'), self.op, self.type, k)
        got = self.run(sql, (query, query))
        self.check_rows(got, 'LIMIT %d, %s' % (k, filter), filter)
        return got

    def measure(self, kind, filter, k, n):
        recalls = []
        for query in self.queries(kind, n):
            exact = self.exact(query, filter, k)
            got = self.scan(query, filter, k)
            self.compare(query, exact, got, 'LIMIT %d, %s' % (k, filter), recalls, k)
        return recalls

    def compare(self, query, exact, got, what, recalls, k):
        exact = exact[:k]
        # under cosine zero vectors are at the distance NaN, behind all
        real = [r for r in exact if r[1] is not None and r[1] == r[1]]
        if len(got) < min(k, len(real)):
            self.bad('%d rows instead of %d: %s' % (len(got), len(real), what))
        if not real:
            return
        far = self.near(real[-1][1], query)
        recalls.append(sum(r[1] <= far for r in got[:len(real)]) / len(real))

    def recall(self, kind, filter, k, few):
        goal = self.goal
        recalls = self.measure(kind, filter, k, 12 if few else 24)
        if not recalls:
            return
        key = '%s %s' % (kind, 'k=1' if k == 1 else 'filter' if filter != 'true' else 'plain')
        mean = np.mean(recalls)
        if mean < goal - 0.02:
            recalls += self.measure(kind, filter, k, 150)
            mean = np.mean(recalls)
        # twice the standard error; some of the rows of few queries may always be missed
        error = max(np.std(recalls), 0.05) / len(recalls) ** 0.5
        seen.setdefault('%s, goal %s' % (key, goal), []).append(mean)
        low = np.quantile(recalls, 0.05)
        if mean + 2.5 * error < goal - SLACK:
            text = 'recall %.3f (worst twentieth %.2f) of %d queries, goal %s: %s, k %d, %s' % (mean, low, len(recalls), goal, kind, k, filter)
            info = self.run("SELECT lists, due, generation, outliers, tuples FROM jflow_pq_info('t_pq')")[0]
            text += '; lists %s due %s generation %s outliers %s entries %s' % info
            if mean + 2.5 * error < goal - (STRANGE if kind in UNLIKE else MOVING if self.moved else STEADY):
                self.bad(text)
            self.note('low')
            print('low: seed %d, %s' % (self.seed, text), flush=True)

    def filters(self):
        have = self.run('SELECT count(*) FROM t')[0][0]
        list_ = ['true', 'true', 'true', 'f = %d' % self.rand.integers(0, 12), 'f < %d' % self.rand.integers(1, 9), 'f IN (2, 5)',
                 'id %% %d = 0' % self.rand.integers(2, 30), 'g < %.2f' % (self.rand.random() * 14), 'g BETWEEN 3 AND 4 AND f <> 2',
                 'id < %d' % (self.rand.random() * (self.id + 1)), 'f = 1 AND id % 2 = 0', 'f IS NULL']
        return str(self.rand.choice(list_)) if have else 'true'

    def whole(self, filter):
        """Every row once, in order: as a whole, through a cursor, and late."""
        got = self.queries('rows' if self.rand.random() < 0.5 else 'last', 1)
        if not got:
            return
        query = got[0]
        exact = [r for r in self.exact(query, filter + ' AND e IS NOT NULL', 1000000) if r[1] == r[1]]
        sql = "SELECT id, e %s %%s::%s AS d FROM t WHERE %s ORDER BY e %s %%s::%s" % (self.op, self.type, filter.replace('%', '%%'), self.op, self.type)
        how = str(self.rand.choice(['all', 'cursor', 'relaxed', 'hold']))
        if how == 'relaxed':
            self.run('SET jflow.pq_iterative_scan = relaxed')
        if how in ('cursor', 'hold'):
            self.run('BEGIN')
            self.run('DECLARE c CURSOR %s FOR %s' % ('WITH HOLD' if how == 'hold' else '', sql), (query, query))
            got = self.run('FETCH %d FROM c' % self.rand.integers(1, 30))
            if how == 'hold':
                self.run('COMMIT')
            elif self.rand.random() < 0.5 and self.count() < self.most:
                # what comes meanwhile must not be seen, nor disturb
                self.copy(self.rows.take(60))
            while True:
                part = self.run('FETCH %d FROM c' % self.rand.integers(1, 2000))
                if not part:
                    break
                got += part
            self.run('CLOSE c')
            if how == 'cursor':
                self.run('COMMIT')
        else:
            got = self.run(sql, (query, query))
        if how == 'relaxed':
            self.run('RESET jflow.pq_iterative_scan')
        got = [r for r in got if r[1] == r[1]]
        self.check_rows(got, 'all by %s, %s' % (how, filter), filter, how != 'relaxed')
        if sorted(r[0] for r in got) != sorted(r[0] for r in exact):
            # one that has a distance, and yet no direction
            lost = {r[0] for r in exact} - {r[0] for r in got}
            more = {r[0] for r in got} - {r[0] for r in exact}
            self.bad('not every row once: %d instead of %d by %s, %s; missed %s, more %s' % (len(got), len(exact), how, filter, list(lost)[:3], list(more)[:3]))

    def shapes(self):
        """Queries of other forms, whose answers follow from the exact ones."""
        got = self.queries('last', 1)
        if not got:
            return
        query = got[0]
        k = int(self.rand.choice([1, 5, 20, 100]))
        filter = self.filters()
        exact = [r for r in self.exact(query, filter + ' AND e IS NOT NULL', 1000000) if r[1] == r[1]]
        d = 'e %s %%s::%s' % (self.op, self.type)
        f = filter.replace('%', '%%')
        shape = str(self.rand.choice(['bound', 'offset', 'ties', 'join', 'distinct', 'update', 'parallel', 'off']))
        if shape == 'bound' and exact:
            radius = exact[min(len(exact) - 1, k)][1]
            got = self.run('SELECT id, %s AS d FROM t WHERE %s AND %s <= %r ORDER BY %s' % (d, f, d, radius, d), (query, query, query))
            self.check_rows(got, 'within %r' % radius, filter)
            want = {r[0] for r in exact if r[1] <= radius}
            if {r[0] for r in got} != want:
                self.bad('%d rows within a distance instead of %d' % (len(got), len(want)))
        elif shape == 'offset':
            got = self.run('SELECT id, %s AS d FROM t WHERE %s ORDER BY %s OFFSET %d LIMIT %d' % (d, f, d, k, k), (query, query))
            self.check_rows(got, 'OFFSET', filter)
            if len(got) < min(k, max(0, len(exact) - k)):
                self.bad('%d rows instead of %d behind an OFFSET' % (len(got), min(k, len(exact) - k)))
        elif shape == 'ties':
            got = self.run('SELECT id, %s AS d FROM t WHERE %s ORDER BY %s FETCH FIRST %d ROWS WITH TIES' % (d, f, d, k), (query, query))
            self.check_rows(got, 'WITH TIES', filter)
            if len(got) < min(k, len(exact)):
                self.bad('%d rows instead of %d WITH TIES' % (len(got), min(k, len(exact))))
        elif shape == 'join':
            got = self.run("SELECT q.id, x.id, x.d FROM (SELECT id, e AS q FROM t WHERE e IS NOT NULL ORDER BY hashint8(id) LIMIT 5) q, "
                           "LATERAL (SELECT id, e %s q AS d FROM t WHERE %s ORDER BY e %s q LIMIT %d) x" % (self.op, filter, self.op, k))
            for q in {r[0] for r in got}:
                self.check_rows([r[1:] for r in got if r[0] == q], 'join', filter)
        elif shape == 'distinct':
            got = self.run('SELECT DISTINCT ON (d) id, d FROM (SELECT id, %s AS d FROM t WHERE %s AND e IS NOT NULL ORDER BY %s) x ORDER BY d' % (d, f, d), (query, query))
            self.check_rows(got, 'DISTINCT ON', filter)
            if len([r for r in got if r[1] == r[1]]) != len({r[1] for r in exact}):
                self.bad('%d distinct distances instead of %d' % (len(got), len({r[1] for r in exact})))
        elif shape == 'update':
            self.run('BEGIN')
            got = self.run('SELECT id, %s AS d FROM t WHERE %s ORDER BY %s LIMIT %d FOR UPDATE' % (d, f, d, k), (query, query))
            self.run('COMMIT')
            self.check_rows(got, 'FOR UPDATE', filter)
        elif shape == 'parallel':
            self.run('SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0')
            got = self.run('SELECT t.id, t.e %s %%s::%s AS d FROM t JOIN t u ON u.id = t.id WHERE t.%s ORDER BY t.e %s %%s::%s LIMIT %d' % (
                self.op, self.type, 'id > 0', self.op, self.type, k), (query, query))
            self.run('RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET min_parallel_index_scan_size')
            self.check_rows(got, 'parallel', 'true')
        else:
            self.run('SET jflow.pq_iterative_scan = off')
            got = self.run('SELECT id, %s AS d FROM t WHERE %s ORDER BY %s LIMIT %d' % (d, f, d, k), (query, query))
            self.run('RESET jflow.pq_iterative_scan')
            self.check_rows(got, 'off', filter)

    def ask(self, few=False):
        if not self.has_index():
            return
        plan = '\n'.join(r[0] for r in self.run("EXPLAIN (COSTS off) SELECT id FROM t ORDER BY e %s (SELECT e FROM t WHERE id = 1) LIMIT 5" % self.op))
        if 'Index Scan using t_pq' not in plan:
            self.bad('the index is not used: ' + plan)
        self.size = self.run('SELECT coalesce(max(abs(d)), 0) FROM (SELECT e <#> e AS d FROM t) x')[0][0] if self.metric == 'ip' else 0
        self.run("SELECT jflow_pq_check('t_pq')")
        ks = [1, 2, 5, 10, 10, 20, 50, 100, 200]
        for kind in ('rows', 'between', 'last'):
            self.recall(kind, 'true', int(self.rand.choice(ks)), few)
            if not few or kind == 'last':
                self.recall(kind, self.filters(), int(self.rand.choice(ks)), few)
        for kind in self.strange.choice(UNLIKE, 1 if few else 3, replace=False):
            self.recall(str(kind), 'true', int(self.strange.choice(ks)), few)
        self.whole(self.filters())
        self.shapes()


def restarts():
    """How often the server has begun to come up again after a crash."""
    if LOG is None:
        return 0
    with open(LOG, errors='replace') as log:
        return sum('all server processes terminated; reinitializing' in line for line in log)


def crashes():
    """How often a process of the server has crashed that nobody has killed."""
    if LOG is None:
        return 0
    with open(LOG, errors='replace') as log:
        return sum((' was terminated by signal ' in line and ' signal 9' not in line) or 'TRAP: ' in line or 'PANIC:  ' in line for line in log)


def main():
    started = time.monotonic()
    admin = psycopg2.connect(dbname='postgres')
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname = '%s'" % DATABASE)
        if cursor.fetchone()[0] == 0:
            cursor.execute('CREATE DATABASE ' + DATABASE)
    admin.close()
    setup = psycopg2.connect(dbname=DATABASE)
    setup.autocommit = True
    setup.cursor().execute('SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS jflow CASCADE')
    setup.close()
    known = crashes()
    done = 0
    for seed in range(SEED, SEED + ROUNDS):
        one = Round(seed)
        try:
            one.play()
            why = None
        except Failed as e:
            why = str(e)
        except psycopg2.Error as e:
            why = '%s %s' % (e.pgcode, str(e).strip())
        now = crashes()
        if now > known:
            why = 'a crash; %s' % why
            known = now
        if why:
            found.append(seed)
            print('not ok - %s\n    %s' % (why, '; '.join(one.history)), flush=True)
            if one.conn:
                one.conn.close()
        done += 1
        if VERBOSE or done % 50 == 0:
            print('# %d rounds, %d s' % (done, time.monotonic() - started), flush=True)
        if len(found) > 20:
            break
    print('%d rounds from seed %d, %d found, %d s' % (done, SEED, len(found), time.monotonic() - started))
    for key in sorted(seen):
        print('    %s: recall %.3f of %d' % (key, np.mean(seen[key]), len(seen[key])))
    sys.exit(1 if found else 0)


if __name__ == '__main__':
    main()
