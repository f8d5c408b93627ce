# Is what psycopg 3 sends taken for what it is, or refused?
import psycopg
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.json import Json, Jsonb

from cases import Cases

connection = psycopg.connect("dbname=postgres user=app", autocommit=True)


def run(sql, *values, **options):
    try:
        return connection.execute(sql, values, **options).fetchall()
    except psycopg.Error as error:
        return error.sqlstate


cases = Cases("psycopg 3", run, "%s")
cases.common()
for prepare in (False, True):
    kind = "prepared" if prepare else "plain"
    cases.is_two_or_refused("a list, " + kind, run("SELECT id, text FROM jflow_post('/x', %s, 'f')", ["a", "b"], prepare=prepare))
    cases.is_refused("an empty list, " + kind, run("SELECT id FROM jflow_post('/x', %s, 'f')", [], prepare=prepare))
for wrapper in (Json, Jsonb):
    cases.is_two(wrapper.__name__, run("SELECT id, text FROM jflow_post('/x', %s, 'f')", wrapper([{"text": "a"}, {"text": "b"}])))
for binary in (False, True):
    for name in ("jflow_match", "jflow_doc"):
        register_composite(CompositeInfo.fetch(connection, name), connection)
    row = connection.execute("SELECT d FROM jflow_post('/search', %s::text[], 'f') d", (["a"],), binary=binary).fetchone()
    cases.ok(row[0].text == "a", "a document comes back as a composite, binary=%s" % binary)
with connection.pipeline():
    first = connection.execute("SELECT id FROM jflow_post('/x', %s::text[], 'f')", (["a", "b"],))
    second = connection.execute("SELECT id FROM jflow_post('/x', %s::text[], 'f')", (["c"],))
    cases.ok(len(first.fetchall()) == 2 and len(second.fetchall()) == 1, "posts in a pipeline")
with connection.transaction():
    with connection.cursor(name="server_side") as cursor:
        cursor.execute("SELECT id FROM jflow_post('/x', %s::text[], 'f')", ([str(i) for i in range(1000)],))
        cases.ok(len(list(cursor)) == 1000, "a cursor on the server")
cases.end()
