# Is what asyncpg sends taken for what it is, or refused?
import asyncio
import asyncpg

from cases import Cases


async def main():
    connection = await asyncpg.connect(database="postgres", user="app")

    async def ask(sql, *values):
        try:
            return [tuple(row) for row in await connection.fetch(sql, *values)]
        except asyncpg.DataError:
            return "refused by the driver"
        except asyncpg.PostgresError as error:
            return error.sqlstate

    results = {}

    def run(sql, *values):
        return results[(sql, repr(values))]

    # what the common cases ask, asked beforehand, since this driver is asynchronous
    for sql, values in Cases("asyncpg", None, "$").questions():
        results[(sql, repr(values))] = await ask(sql, *values)
    cases = Cases("asyncpg", run, "$")
    cases.common()
    cases.is_two("a list", await ask("SELECT id, text FROM jflow_post('/x', $1::text[], 'f')", ["a", "b"]))
    rows = await ask("SELECT id, text FROM jflow_post('/x', $1, 'f')", ["a", "b"])
    cases.is_two_or_refused("a list without a type", rows)
    row = await connection.fetchrow("SELECT text, matches FROM jflow_post('/search', $1::text[], 'f')", ["a"])
    cases.ok(row["text"] == "a", "columns of a document")
    await connection.close()
    cases.end()


asyncio.run(main())
