#!/usr/bin/python3
"""Calls every function of the extension, and statements around it, with hostile values, as several roles.

usage: sql.py COUNT SEED [SERVER-LOG]     PGHOST names a private server, whose superuser is postgres

A statement fails if the server crashes, if it does not end long after its time limit, or if it raises an internal error (XX000).  The same
seed gives the same statements.  What failed is printed with the statements before it."""
import os
import random
import select
import subprocess
import sys
import time

COUNT, SEED = int(sys.argv[1]), int(sys.argv[2])
LOG = sys.argv[3] if len(sys.argv) > 3 else None
DATABASE = 'fuzz_sql'
ROLES = ['postgres', 'fuzz_alice', 'fuzz_bob', 'fuzz_mallory']
PATIENCE = 90       # seconds until a statement that is limited to 2 counts as one that hangs
ROUND = 400         # statements until all is made anew

rand = random.Random(SEED)
found = []
codes = {}


class Lost(Exception):
    """The connection has gone, or nothing comes any more."""


class Session:
    """A psql that is fed line by line."""

    def __init__(self, role):
        self.role = role
        self.number = 0
        self.history = []
        self.start()

    def start(self):
        self.psql = subprocess.Popen(
            ['psql', '-X', '-q', '-A', '-t', '-U', self.role, '-d', DATABASE, '-v', 'VERBOSITY=verbose', '-v', 'ON_ERROR_STOP=0',
             '-P', 'pager=off'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.rest = b''

    def run(self, statement):
        """The lines that a statement answers; raises Lost."""
        self.number += 1
        self.history = self.history[-12:] + [statement]
        mark = b'-- end %d' % self.number
        try:
            self.psql.stdin.write(statement.encode() + b'\n;\n\\echo ' + b"'%s'\n" % mark)
            self.psql.stdin.flush()
        except OSError as e:
            raise Lost('psql has gone') from e
        lines = []
        limit = time.monotonic() + PATIENCE
        while True:
            while b'\n' in self.rest:
                line, self.rest = self.rest.split(b'\n', 1)
                if line == mark:
                    return lines
                if len(lines) < 200:
                    lines.append(line[:2000].decode('utf-8', 'replace'))
            if not select.select([self.psql.stdout], [], [], max(0, limit - time.monotonic()))[0]:
                raise Lost('no answer within %d s' % PATIENCE)
            data = os.read(self.psql.stdout.fileno(), 65536)
            if not data:
                raise Lost('connection lost: ' + ' / '.join(lines[-4:]))
            self.rest += data

    def stop(self):
        self.psql.kill()
        self.psql.wait()


def report(kind, session, detail):
    found.append(kind)
    if len(found) > 20:
        return
    print('FOUND %s as %s: %s' % (kind, session.role, detail))
    for statement in session.history[-6:]:
        print('    ' + statement[:1500].replace('\n', ' '))
    sys.stdout.flush()


# ---- values

def quote(text):
    return "'" + text.replace("'", "''") + "'"


def ident(text):
    return '"' + text.replace('"', '""') + '"'


def pick(*values):
    return rand.choice(values)


NAMES = ['inline', 'replicas', 'store', 'sparse', 'existing', 'fit', 'gone', '', 'a"b', "it's", 'ü', 'x' * 63, 'x' * 64, 'x' * 5000, 'gateway',
         'A.b', 'jflow.flow', '; DROP TABLE items; --', '$1', '%s', '\\', '..', 'null']
EXECUTORS = ['e', 'see', 'ix', 'v', 'f', 'gateway', 'ix', 'v', '', 'a"b', 'x' * 64, 'ü', 'filter', 'limit']
ENDPOINTS = ['/index', '/search', '/update', '/delete', '/fetch', '/filter', '/status', '/clear', '/fit', '/encode', '/x', '/', '', 'x', '*', '/' + 'y' * 300, '/ü']
TEXTS = ['', 'a', 'one two', 'the quick brown fox', 'é ΑΣ İ', 'x' * 3000, "'", '\\x00', '{}', '[]', 'null', '{1,2}', '(,)', '%n%s', '1e400']
NUMBERS = ['0', '1', '2', '3', '7', '-1', '100', '1000', '32767', '32768', '65536', '2147483647', '-2147483648']
QUERIES = ['SELECT 1', 'SELECT', '', ';', 'SELECT 1; SELECT 2', 'VACUUM', 'COMMIT', 'ROLLBACK', 'BEGIN', "SELECT 'one two'", 'SELECT e FROM items',
           'SELECT h FROM items', 'SELECT s FROM items', 'SELECT id::text AS id, e AS embedding FROM items', "SELECT 'a' AS text, 'b' AS text",
           'SELECT NULL::vector', "SELECT '[1,2]'::vector UNION ALL SELECT '[1,2,3]'::vector", 'TABLE items', 'SELECT * FROM nothing', 'SELECT 1/0',
           'INSERT INTO items (id) VALUES (1) RETURNING id::text AS id', 'DELETE FROM items RETURNING e', 'UPDATE items SET n = 1', 'SHOW work_mem', 'EXPLAIN SELECT 1',
           "SELECT doc.* FROM jflow_post('/x', 'a'::text, 'inline') doc", "SELECT jflow_drop('inline')", 'SELECT ARRAY[e] FROM items', "SELECT 'a'::fuzz_forged.vector", 'SELECT 4711::fuzz_forged.halfvec AS embedding',
           "WITH x AS (SELECT 'a' AS text) SELECT * FROM x", 'SELECT e, id FROM items', "SELECT repeat('ab cd ', 2000)", 'FETCH ALL FROM c', "CALL fuzz_commits()",
           "SELECT 'one two' AS text FROM generate_series(1, 300)", 'SELECT pg_sleep(10)', "SELECT text FROM (VALUES ('a b'), (NULL), ('c d')) v (text)"]
FUNCTIONS = ['fuzz_pass', 'fuzz_raise', 'fuzz_null', 'fuzz_many', 'fuzz_hostile', 'fuzz_enum', 'nothing', 'pg_sleep', 'TfidfVectorizer', 'PQLiteIndexer', 'BaseExecutor',
             'FuzzClass', '', '"', 'a.b.c.d', 'jinahub+docker://X/tag', 'jflow.pqlite_clear', 'jflow.term_fit']


def json_value(depth=3):
    kind = rand.random()
    if depth == 0 or kind < .55:
        return pick('null', 'true', 'false', '0', '1', '-1', '2', '3', '0.5', '1e308', '1e400', '123456789012345678901234567890', '""', '"a"', '"é"', '"one two"',
                    '"cosine"', '"l2"', '"ip"', '"request"', '"english"', '"items"', '"id"', '"e"', '"embedding"', '"sparse_embedding"', '"all"', '"hash"',
                    '"any"', '"int4"', '"text[]"', '"fuzz_pass"', '"fuzz_raise"', '"{1:1}/3"', '"[1,2,3]"', '[1,2,3]', '[1, 2]', '"\\u0041"', '"' + 'y' * 400 + '"')
    if kind < .75:
        return '[' + ','.join(json_value(depth - 1) for _ in range(rand.randrange(4))) + ']'
    return json_object(depth - 1)


KEYS = ['id', 'text', 'tags', 'embedding', 'sparse_embedding', 'matches', 'scores', 'weight', 'granularity', 'blob', 'uri', 'mime_type', 'parent_id', 'limit', 'filter',
        'probes', 'recall', 'queries', 'dim', 'metric', 'field', 'columns', 'table', 'include', 'lists', 'subvectors', 'bits', 'codebook', 'fit', 'norm', 'ngram_range',
        'min_df', 'max_df', 'max_features', 'vocabulary', 'stop_words', 'dense', 'n', 'tags.a', '$and', '$or', '$not', '$eq', '$gt', '$in', '$regex', '$exists', 'function',
        'finish', 'idempotent', 'writes', '/index', '/search', '/x', '*', 'executors', 'name', 'uses', 'uses_with', 'needs', 'polling', 'replicas', 'shards', 'when',
        'floating', 'requests', 'timeout', 'retries', 'with', 'jtype', 'version', 'workspace', 'e', 'see', 'ix', 'v', '', 'é']


def json_object(depth=3):
    return '{' + ','.join('"%s": %s' % (rand.choice(KEYS), json_value(depth)) for _ in range(rand.randrange(5))) + '}'


def json_doc():
    return pick('{}', '{"id": "1"}', '{"id": "2", "text": "one two"}', '{"id": "1", "text": "é", "embedding": [1, 2, 3]}', '{"embedding": [1, 2]}',
                '{"id": "", "tags": {"n": 1}}', '{"id": "3", "sparse_embedding": "{1:1}/3", "tags": {"a": {"b": [1]}}}', '{"matches": [{"id": "a", "score": 1}]}', json_object())


OPTIONS = ['{}', '{"dim": 3}', '{"dim": 3, "metric": "l2"}', '{"dim": 3, "columns": {"n": "int4"}}', '{"dim": 16000}', '{"field": "sparse_embedding", "dim": 3}',
           '{"table": "items", "id": "id", "field": "e"}', '{"table": "public.items", "id": "id", "field": "e", "text": "t", "tags": "j"}', '{"fit": "request"}',
           '{"fit": "request", "dense": true}', '{"ngram_range": [1, 3]}', '{"vocabulary": ["a", "b"]}']


def json_any():
    return pick(json_object(), json_object(), json_value(), '[' + ','.join(json_doc() for _ in range(rand.randrange(4))) + ']', json_doc(), rand.choice(OPTIONS),
                '{"filter": %s, "limit": %s}' % (json_object(), pick('0', '1', '3', '-1', '1e9', '"x"')))


def vector(kind=None):
    kind = kind or pick('vector', 'vector', 'halfvec', 'sparsevec')
    if kind == 'sparsevec':
        text = pick('{1:1}/3', '{}/3', '{1:1,2:-1,3:0.5}/3', '{1:1}/1', '{1000:1}/1000', '{1:1e38}/3')
    else:
        dims = pick(3, 3, 3, 3, 1, 2, 4, 64)
        text = '[' + ','.join(pick('0', '1', '-1', '0.5', '3', '1e4', '6e4' if kind == 'halfvec' else '3e38', '1e-7') for _ in range(dims)) + ']'
    return quote(text) + '::' + kind


def doc():
    fields = []
    for name, values in (('id', [quote(pick('1', '2', '3', '', 'é', 'x' * 2001))]), ('text', [quote(rand.choice(TEXTS))]), ('tags', [quote(json_object()) + '::jsonb']),
                         ('embedding', [vector('vector')]), ('sparse_embedding', [vector('sparsevec')]), ('granularity', ["'%s'::int2" % pick('0', '-1', '32767')]),
                         ('weight', [quote(pick('0', '1.5', 'NaN', 'infinity', '-1e38')) + '::float4']), ('blob', [quote('\\x00ff') + '::bytea']),
                         ('scores', [quote(json_object()) + '::jsonb']), ('parent_id', [quote('p')]),
                         ('matches', ["ARRAY[ROW('a', %s, 't', 'u', '{}')::jflow_match]" % pick('1', "'NaN'", 'NULL'), "ARRAY[NULL::jflow_match]", "'{}'::jflow_match[]"])):
        if rand.random() < .35:
            fields.append('%s => %s' % (name, rand.choice(values)))
    return pick('jflow_doc(%s)' % ', '.join(fields), 'jflow_doc(%s)' % ', '.join(fields), 'NULL::jflow_doc', quote(json_doc()) + '::jsonb::jflow_doc')


def docs():
    return pick('ARRAY[%s]::jflow_doc[]' % ', '.join(doc() for _ in range(rand.randrange(5))), 'ARRAY[%s]::jflow_doc[]' % doc(), "'{}'::jflow_doc[]",
                'ARRAY[[%s], [%s]]::jflow_doc[]' % (doc(), doc()), 'array_fill(%s, ARRAY[%s])' % (doc(), pick('3', '50', '2, 2', '0')),
                "(SELECT array_agg(jflow_doc(id => i::text, text => 'word' || i, embedding => ARRAY[i, 1, 2]::vector)) FROM generate_series(1, %s) i)" % pick('5', '120', '700'),
                "('[5:6]={\"(a,b,,,,,,,,,,,)\",\"(c,d,,,,,,,,,,,)\"}')::jflow_doc[]", quote('[%s]' % json_doc()) + '::jsonb::jflow_doc[]')


YAML = ['name: inline\nexecutors: [{name: e}]', 'jtype: Flow\nexecutors:\n- name: e\n  uses: TfidfVectorizer\n  replicas: 0', 'a: *b', '- ' * 200, '{' * 300, '%YAML 1.1\n---\n',
        'name: x\nexecutors: {}\n', '\ufeffname: y', 'name: z\nexecutors:\n- {name: a, needs: [z]}', '!!binary YQ==', 'x: &a [*a]', ': ', '\t', 'name: "\\ud800"']


def text_for(name):
    """A text for the parameter of this name."""
    choices = {'flow': NAMES[:6] * 4 + NAMES, 'executor': EXECUTORS[:5] * 3 + EXECUTORS, 'name': EXECUTORS, 'target_executor': EXECUTORS, 'endpoint': ENDPOINTS,
               'query': QUERIES, 'uses': FUNCTIONS, 'uses_before': FUNCTIONS, 'uses_after': FUNCTIONS, 'class': FUNCTIONS, 'workspace': ['fuzz_work', 'public', 'jflow', '', 'x' * 64, 'pg_catalog'],
               'codebook': ['book', '', 'x' * 64, 'ü'], 'metric': ['l2', 'ip', 'cosine', 'x', ''], 'description': TEXTS}.get(name)
    if name == 'config':
        value = rand.choice(YAML)
        if rand.random() < .3:
            at = rand.randrange(len(value) + 1)
            value = value[:at] + pick(':', '- ', '"', "'", '&a ', '*a', '#', '\n', ' ', '{', '|\n', '? ', '!') + value[at:]
        return quote(value)
    return quote(rand.choice(choices or TEXTS))


def value(kind, name):
    """An expression of a type, for the parameter of this name."""
    if rand.random() < .06:
        return 'NULL::' + kind
    if kind == 'text':
        return text_for(name) + pick('', '::text')
    if kind == 'text[]':
        return pick("'{}'::text[]", 'ARRAY[%s]::text[]' % text_for(name), 'ARRAY[%s, NULL]' % text_for(name), 'ARRAY[%s, %s]' % (text_for('executor'), quote('gateway')), "'{{a,b},{c,d}}'::text[]")
    if kind in ('integer', 'bigint', 'smallint'):
        return "'%s'::%s" % (pick('0', '1', '2', '3') if rand.random() < .6 else rand.choice(NUMBERS[:8] if kind == 'smallint' else NUMBERS), kind)
    if kind == 'integer[]':
        return pick("'{}'::int4[]", "'{1,2}'::int4[]")
    if kind == 'boolean':
        return pick('true', 'false')
    if kind == 'interval':
        return quote(pick('0', '1s', '100ms', '-1s', '1 month', '100000000 years', '1 hour')) + '::interval'
    if kind in ('jsonb', 'json'):
        return quote(rand.choice(OPTIONS) if name == 'uses_with' and rand.random() < .7 else '{}' if rand.random() < .2 else json_any()) + '::jsonb'
    if kind == 'jflow_doc':
        return doc()
    if kind == 'jflow_doc[]':
        return docs()
    if kind == 'jflow_match':
        return pick("ROW('a', 1, 't', 'u', '{}')::jflow_match", quote(json_object()) + '::jsonb::jflow_match')
    if kind == 'jflow_match[]':
        return pick("'{}'::jflow_match[]", "ARRAY[ROW(NULL, 'NaN', NULL, NULL, '[]')::jflow_match, NULL]")
    if kind in ('vector', 'halfvec', 'sparsevec'):
        return vector(kind)
    if kind == 'regclass':
        return quote(pick('items_e', 'items_h', 'items_s', 'items_f', 'items_i', 'items', 'items_pkey', 'items_p', 'pg_class', 'nothing', '0', '4294967295')) + '::regclass'
    if kind == 'regrole':
        return quote(rand.choice(ROLES + ['nobody', '0'])) + '::regrole'
    if kind == 'real':
        return quote(pick('0', '1', 'NaN', 'infinity', '1e38')) + '::float4'
    if kind == 'double precision':
        return quote(pick('0', '0.5', '1', 'NaN', '-1', '1e308')) + '::float8'
    if kind == 'bytea':
        return quote('\\x00ff') + '::bytea'
    return 'NULL::' + kind


# ---- statements

functions = []      # (name, [(argument, type, has default)], returns rows)


def call():
    name, arguments, rows = rand.choice(functions)
    parts = [(a, value(t, a)) for a, t, default in arguments if not default or rand.random() < .4]
    if all(a for a, _ in parts):
        text = ', '.join('%s => %s' % (ident(a), v) for a, v in parts)
    else:
        text = ', '.join(v for _, v in parts)
    if rows or rand.random() < .1:
        return 'SELECT count(*), max(x::text) FROM %s(%s) x' % (name, text)
    return 'SELECT %s(%s)' % (name, text)


def post():
    """A post that has a chance."""
    flow = quote(rand.choice(NAMES[:6]))
    return pick('SELECT count(*), max(d::jsonb::text) FROM jflow_post(%s, %s, %s, %s) d' % (quote(rand.choice(ENDPOINTS[:11])), docs(), flow, value('jsonb', 'parameters')),
                "SELECT * FROM jflow_post_query('/index', %s, %s)" % (quote(rand.choice(QUERIES)), flow),
                'SELECT jflow_call(%s, %s::jsonb, %s)' % (quote(rand.choice(ENDPOINTS[:11])), quote(json_any()), flow),
                'DO $x$ BEGIN PERFORM count(*) FROM jflow_post(%s, %s, %s); EXCEPTION WHEN OTHERS THEN NULL; END $x$' % (quote(rand.choice(ENDPOINTS)), docs(), flow))


def search():
    column, kind, op = pick(('e', 'vector', '<->'), ('e', 'vector', '<->'), ('h', 'halfvec', '<#>'), ('s', 'sparsevec', '<=>'), ('s', 'sparsevec', '<#>'), ('e', 'vector', '<=>'))
    return 'SELECT id FROM items %s ORDER BY %s %s %s %s' % (
        pick('', '', 'WHERE n = 3', 'WHERE n BETWEEN -1 AND 2147483647', 'WHERE n IS NULL', "WHERE n IN (1, 2, NULL)", 'WHERE false', 'WHERE b AND n > 1'), column, op,
        pick(vector(kind), vector(kind), 'NULL', '(SELECT %s FROM items LIMIT 1)' % column), pick('', 'LIMIT 5', 'LIMIT 0', 'LIMIT 100 OFFSET 3', 'FETCH FIRST 3 ROWS WITH TIES', 'LIMIT 5 FOR UPDATE'))


def write():
    return pick('INSERT INTO items (id, n, e, h, s) SELECT i, i, %s, %s, %s FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING' % (
        vector('vector'), vector('halfvec'), vector('sparsevec'), rand.randrange(500, 3000), rand.randrange(500, 3000)),
        'DELETE FROM items WHERE id %% 7 = %d' % rand.randrange(7), 'UPDATE items SET e = %s WHERE id = %d' % (vector('vector'), rand.randrange(600)),
        'UPDATE items SET n = n + 1, b = NOT b WHERE id %% 5 = %d' % rand.randrange(5), 'VACUUM items', 'ANALYZE items', 'TRUNCATE items', 'REINDEX TABLE items',
        'REINDEX INDEX CONCURRENTLY items_e')


def ddl():
    options = ', '.join('%s = %s' % (pick('lists', 'subvectors', 'bits', 'codebook', 'x'), pick('0', '1', '8', '100000', '-1', '4', "'book'", "''", 'on')) for _ in range(rand.randrange(3)))
    return pick(
        'DROP INDEX IF EXISTS %s' % pick('items_e', 'items_h', 'items_s', 'items_f', 'items_i'),
        'CREATE INDEX %s %s ON items USING pq (%s) %s %s' % (
            pick('', 'IF NOT EXISTS'), pick('items_e', 'items_h', 'items_s', 'items_f'),
            pick('e vector_l2_ops', 'e vector_cosine_ops, n', 'h halfvec_ip_ops, b, n', 's sparsevec_cosine_ops', 'n', 'e', 'e vector_l2_ops, t', '(e::halfvec(3)) halfvec_l2_ops',
                 '(fuzz_vector(e)::vector(3)) vector_l2_ops', 'e halfvec_l2_ops', 'e vector_l2_ops DESC', 'e vector_ip_ops, e vector_l2_ops', 'j'),
            'WITH (%s)' % options if options else '', pick('', '', 'WHERE n > 3', 'WHERE fuzz_true(n)')),
        'CREATE INDEX IF NOT EXISTS items_i ON items USING inverted (%s)' % pick('s sparsevec_ip_ops', 's sparsevec_cosine_ops', 'e', 's sparsevec_ip_ops, n', 'n', '(e::sparsevec) sparsevec_ip_ops'),
        'ALTER INDEX IF EXISTS items_e SET (lists = 3)', 'ALTER TABLE items ALTER COLUMN e TYPE vector(3)', 'ALTER TABLE items ADD COLUMN IF NOT EXISTS extra text', 'ALTER TABLE items DROP COLUMN IF EXISTS extra',
        'CREATE OR REPLACE FUNCTION fuzz_pass(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $x$ SELECT docs $x$', 'DROP FUNCTION IF EXISTS fuzz_pass',
        'ALTER TABLE items SET UNLOGGED', 'ALTER TABLE items SET LOGGED', 'CLUSTER items USING items_pkey', 'ALTER TABLE items ENABLE ROW LEVEL SECURITY', 'ALTER TABLE items DISABLE ROW LEVEL SECURITY',
        'GRANT SELECT ON items TO fuzz_bob', 'REVOKE ALL ON items FROM fuzz_bob', 'DROP SCHEMA IF EXISTS fuzz_work CASCADE', 'ALTER EXTENSION vector SET SCHEMA %s' % pick('fuzz_schema', 'public', 'public'))


SETTINGS = ['jflow.flow', 'jflow.pq_probes', 'jflow.pq_recall', 'jflow.pq_refine', 'jflow.pq_iterative_scan', 'jflow.prefetch', 'jflow.request_size', 'jflow.timeout', 'jflow.log_min_duration',
            'jflow.allow_superuser_flows', 'jflow.nothing', 'enable_seqscan', 'enable_indexscan', 'work_mem', 'maintenance_work_mem', 'search_path', 'plan_cache_mode',
            'default_transaction_read_only', 'default_transaction_isolation', 'row_security', 'DateStyle', 'bytea_output', 'max_parallel_workers_per_gather']


def session():
    return pick('BEGIN', 'COMMIT', 'ROLLBACK', 'SAVEPOINT s', 'ROLLBACK TO s', 'RELEASE s', 'DISCARD ALL', 'RESET ALL', 'BEGIN READ ONLY', 'BEGIN ISOLATION LEVEL SERIALIZABLE',
                "DECLARE c CURSOR FOR SELECT d.id FROM jflow_post('/x', '{a,b,c}'::text[], 'inline', request_size => 1) d", 'FETCH 1 FROM c', 'FETCH ALL FROM c', 'CLOSE ALL', 'MOVE 2 FROM c',
                'DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY e <-> %s' % vector('vector'), 'FETCH BACKWARD 2 FROM c',
                'SET ROLE %s' % rand.choice(ROLES), 'RESET ROLE', 'PREPARE TRANSACTION %s' % quote('t%d' % rand.randrange(3)), 'ROLLBACK PREPARED %s' % quote('t%d' % rand.randrange(3)),
                'SET %s = %s' % (rand.choice(SETTINGS), quote(pick('0', '1', '-1', 'on', 'off', 'inline', 'strict', 'relaxed', '0.5', '2147483647', 'nan', '', '64kB', 'force_generic_plan', 'serializable', 'public'))))


def look():
    return 'SELECT count(*), max(x::text) FROM %s x' % pick('jflow_flows', 'jflow_executors', 'jflow_status', 'jflow_stat_replicas', 'jflow_stat_endpoints', 'jflow_requests', 'jflow_memory', 'jflow_progress',
                                                            'jflow.class', 'jflow.flow', 'jflow.codebook')


KINDS = [(call, 50), (post, 22), (search, 8), (write, 5), (ddl, 5), (session, 7), (look, 3)]

SETUP = """
CREATE EXTENSION IF NOT EXISTS jflow CASCADE;
CREATE SCHEMA fuzz_schema;
GRANT USAGE ON SCHEMA fuzz_schema TO PUBLIC;
GRANT CREATE ON SCHEMA public TO fuzz_alice, fuzz_mallory;
GRANT CREATE ON DATABASE fuzz_sql TO fuzz_alice;
CREATE SCHEMA fuzz_forged;
GRANT USAGE ON SCHEMA fuzz_forged TO PUBLIC;
CREATE TYPE fuzz_forged.vector AS ENUM ('a');
CREATE DOMAIN fuzz_forged.halfvec AS int8;
CREATE PROCEDURE fuzz_commits() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
"""

# made anew for each round; as the superuser, who becomes alice
ROUND_SETUP = """
ROLLBACK
RESET ALL
RESET SESSION AUTHORIZATION
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'fuzz_sql' AND pid <> pg_backend_pid() AND backend_type = 'client backend'
SELECT 'ROLLBACK PREPARED ' || quote_literal(gid) FROM pg_prepared_xacts \\gexec
ALTER EXTENSION vector SET SCHEMA public
SELECT jflow_drop(flow) FROM jflow.flow
DELETE FROM jflow.codebook
SELECT jflow_undefine(class) FROM jflow.class WHERE NOT builtin
DROP TABLE IF EXISTS items CASCADE
DROP SCHEMA IF EXISTS fuzz_work CASCADE
SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace WHERE nspname LIKE 'jflow\\_data%' \\gexec
SET SESSION AUTHORIZATION fuzz_alice
CREATE SCHEMA fuzz_work
CREATE OR REPLACE FUNCTION fuzz_true(n int) RETURNS bool LANGUAGE sql IMMUTABLE AS $$ SELECT n > 2 $$
CREATE OR REPLACE FUNCTION fuzz_vector(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN v; END $$
CREATE OR REPLACE FUNCTION fuzz_pass(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$ SELECT docs $$
CREATE OR REPLACE FUNCTION fuzz_raise(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN IF cardinality(docs) % 2 = 1 THEN RAISE 'odd'; END IF; RETURN docs; END $$
CREATE OR REPLACE FUNCTION fuzz_null(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$ SELECT ARRAY[NULL]::jflow_doc[] $$
CREATE OR REPLACE FUNCTION fuzz_many(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS $$ SELECT array_agg(d) FROM unnest(docs) d, generate_series(1, 20) $$
CREATE OR REPLACE FUNCTION fuzz_hostile(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN CLOSE ALL; EXCEPTION WHEN OTHERS THEN PERFORM jflow_drop((jflow_context()).flow); RETURN docs || docs; END $$
CREATE TABLE items (id int PRIMARY KEY, n int, b bool DEFAULT true, t text, j jsonb, e vector(3), h halfvec(3), s sparsevec(3))
INSERT INTO items SELECT i, i % 7, i % 2 = 0, 'word' || i, '{}', ARRAY[i % 11, i % 13, i % 17]::vector, ARRAY[i % 11, 1, i % 5]::vector::halfvec, format('{%s:%s}/3', 1 + i % 3, i)::sparsevec FROM generate_series(1, 500) i
CREATE INDEX items_e ON items USING pq (e vector_l2_ops, n)
CREATE INDEX items_h ON items USING pq (h halfvec_ip_ops)
CREATE INDEX items_s ON items USING pq (s sparsevec_cosine_ops) WHERE n > 1
CREATE INDEX items_i ON items USING inverted (s sparsevec_ip_ops)
CREATE INDEX items_f ON items USING pq ((fuzz_vector(e)::vector(3)) vector_cosine_ops)
SELECT jflow_define('FuzzClass', '{"/x": "fuzz_pass", "*": "fuzz_raise"}')
SELECT jflow_create('inline')
SELECT jflow_add('inline', 'e', uses => 'fuzz_pass', replicas => 0)
SELECT jflow_add('inline', 'see', uses => 'fuzz_raise', replicas => 0, shards => 2, polling => '"all"')
SELECT jflow_add('inline', 'f', uses => 'FuzzClass', replicas => 0, needs => '{e,see}', "when" => '{"text": {"$exists": true}}')
SELECT jflow_create('replicas')
SELECT jflow_add('replicas', 'e', uses => 'fuzz_pass')
SELECT jflow_add('replicas', 'ix', uses => 'PQLiteIndexer', uses_with => '{"dim": 3}', workspace => 'fuzz_work')
SELECT jflow_create('store')
SELECT jflow_add('store', 'ix', uses => 'PQLiteIndexer', uses_with => '{"dim": 3, "metric": "l2", "columns": {"n": "int4"}}', shards => 2, replicas => 0, workspace => 'fuzz_work')
SELECT jflow_create('sparse')
SELECT jflow_add('sparse', 'v', uses => 'TfidfVectorizer', uses_with => '{"fit": "request"}', replicas => 0)
SELECT jflow_create('existing')
SELECT jflow_add('existing', 'ix', uses => 'PQLiteIndexer', uses_with => '{"table": "public.items", "id": "id", "field": "e", "text": "t", "tags": "j"}', replicas => 0)
SELECT jflow_create('fit')
SELECT jflow_add('fit', 'v', uses => 'TfidfVectorizer', replicas => 0)
SELECT jflow_add('fit', 'ix', uses => 'PQLiteIndexer', uses_with => '{"field": "sparse_embedding"}', replicas => 0, workspace => 'fuzz_work')
SELECT jflow_grant(flow, 'fuzz_bob') FROM jflow_flows
SELECT jflow_start('replicas')
RESET SESSION AUTHORIZATION
"""


def psql(sql, database='postgres'):
    return subprocess.run(['psql', '-X', '-q', '-A', '-t', '-F', '\t', '-v', 'ON_ERROR_STOP=1', '-U', 'postgres', '-d', database], input=sql, text=True, check=True,
                          stdout=subprocess.PIPE).stdout


def prepare():
    psql('DROP DATABASE IF EXISTS %s WITH (FORCE); CREATE DATABASE %s;' .replace(';', ';\n') % (DATABASE, DATABASE))
    for role in ROLES[1:]:
        psql("DO $$ BEGIN IF to_regrole('%s') IS NULL THEN CREATE ROLE %s LOGIN; END IF; END $$" % (role, role))
    psql('SET client_min_messages = error;' + SETUP, DATABASE)
    psql("ALTER DATABASE %s SET statement_timeout = '2s'; ALTER DATABASE %s SET lock_timeout = '1s'; ALTER DATABASE %s SET client_min_messages = error;" % ((DATABASE,) * 3))
    rows = psql("""SELECT p.oid::regproc, p.proretset, coalesce(array_to_string(p.proargnames[1:p.pronargs], '|'), ''), p.pronargdefaults,
            (SELECT string_agg(format_type(t, NULL), '|' ORDER BY o) FROM unnest(p.proargtypes) WITH ORDINALITY a (t, o))
        FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension x ON x.oid = d.refobjid
        WHERE x.extname = 'jflow' AND p.prorettype NOT IN ('trigger'::regtype, 'index_am_handler'::regtype, 'internal'::regtype)
            AND p.proname NOT IN ('jflow_pq_kernels', 'jflow_pq_kmeans')
        ORDER BY p.oid::regprocedure::text COLLATE "C";""", DATABASE)
    # regproc is ambiguous for overloaded names, so the name alone
    for row in rows.splitlines():
        name, rows_too, names, defaults, types = row.split('\t')
        types = types.split('|') if types else []
        names = names.split('|') if names else [''] * len(types)
        functions.append((name, [(n, t, i >= len(types) - int(defaults)) for i, (n, t) in enumerate(zip(names, types))], rows_too == 't'))


def judge(session, lines):
    for line in lines:
        for severity in ('ERROR:  ', 'FATAL:  ', 'PANIC:  '):
            at = line.find(severity)
            if at >= 0:
                code = line[at + 8:at + 13]
                codes[code] = codes.get(code, 0) + 1
                if code.startswith('XX'):
                    report('internal error', session, line[:500])
                elif code == '25P02':
                    session.run('ROLLBACK')
                return
    codes['ok'] = codes.get('ok', 0) + 1


def server_is_up():
    for _ in range(300):
        if subprocess.run(['pg_isready', '-q']).returncode == 0:
            return True
        time.sleep(0.1)
    return False


def crashes():
    """How often a process of the server has crashed."""
    if LOG is None:
        return 0
    with open(LOG, errors='replace') as log:
        return sum(any(word in line for word in (' was terminated by signal ', 'terminating any other active server processes',
                                                 'TRAP: ', 'PANIC:  ')) for line in log)


def main():
    started = time.monotonic()
    prepare()
    sessions = {}
    known_crashes = crashes()
    weights = [w for _, w in KINDS]
    for n in range(COUNT):
        if n % ROUND == 0:
            for s in sessions.values():
                s.stop()
            admin = Session('postgres')
            for line in ROUND_SETUP.strip().splitlines():
                try:
                    judge(admin, admin.run(line))
                except Lost as e:
                    report('lost while all is made anew', admin, str(e))
                    break
            admin.stop()
            sessions = {role: Session(role) for role in ROLES}
        s = sessions[rand.choices(ROLES, [4, 8, 4, 3])[0]]
        statement = rand.choices(KINDS, weights)[0][0]()
        try:
            judge(s, s.run(statement))
        except Lost as e:
            up = server_is_up()
            now = crashes()
            if now > known_crashes or not up:
                report('crash', s, str(e))
            elif 'no answer' in str(e):
                report('hang', s, str(e))
            known_crashes = now
            if not up:
                break
            s.stop()
            sessions[s.role] = Session(s.role)
    for s in sessions.values():
        s.stop()
    if crashes() > known_crashes:
        report('crash', s, 'of another process')
    print('%d statements, %d found, %d s, %s' % (COUNT, len(found), time.monotonic() - started, dict(sorted(codes.items(), key=lambda c: -c[1])[:25])))
    if codes.get('ok', 0) < COUNT / 10:
        print('too few statements succeed: the test does not test')
        sys.exit(1)
    sys.exit(1 if found else 0)


main()
