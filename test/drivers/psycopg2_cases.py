# Is what psycopg2 sends taken for what it is, or refused?
import json
import psycopg2
import psycopg2.extras

from cases import Cases

connection = psycopg2.connect("dbname=postgres user=app")
connection.autocommit = True
cursor = connection.cursor()


def run(sql, *values):
    try:
        cursor.execute(sql, values)
        return cursor.fetchall()
    except psycopg2.Error as error:
        return error.pgcode


cases = Cases("psycopg2", run, "%s")
cases.common()
cases.is_two("a list", run("SELECT id, text FROM jflow_post('/x', %s, 'f')", ["a", "b"]))
cases.is_refused("an empty list", run("SELECT id FROM jflow_post('/x', %s, 'f')", []))
cases.is_refused("Json", run("SELECT id FROM jflow_post('/x', %s, 'f')", psycopg2.extras.Json([{"text": "a"}])))
cases.is_two("Json, cast", run("SELECT id, text FROM jflow_post('/x', %s::jsonb, 'f')",
                               psycopg2.extras.Json([{"text": "a"}, {"text": "b"}])))
psycopg2.extras.register_composite("jflow_match", connection)
psycopg2.extras.register_composite("jflow_doc", connection)
cursor.execute("SELECT d FROM jflow_post('/search', %s, 'f') d", (["a"],))
document = cursor.fetchone()[0]
cases.ok(document.text == "a" and document.tags is None, "a document comes back as a composite")
cases.end()
