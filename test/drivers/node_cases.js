// Is what node-postgres sends taken for what it is, or refused?
const { Client } = require('pg');

let count = 0;
function ok(good, name, answer) {
  count++;
  console.log(`${good ? '' : 'not '}ok ${count} - node-postgres: ${name}`);
  if (!good) console.log('# answer: ' + JSON.stringify(answer));
}

async function main() {
  const client = new Client({ host: process.env.PGHOST, port: process.env.PGPORT, user: 'app', database: 'postgres' });
  await client.connect();
  const run = async (sql, ...values) => {
    try {
      return (await client.query(sql, values)).rows;
    } catch (error) {
      return error.code;
    }
  };
  const one = "SELECT id, text FROM jflow_post('/x', $1, 'f')";
  for (const [name, value] of [['a text', 'words'], ['an array', ['a', 'b']], ['an empty array', []],
    ['an object', { text: 'a' }], ['JSON', JSON.stringify([{ text: 'a' }])]]) {
    const answer = await run(one, value);
    ok(answer === '42725', name + ' without a type is refused', answer);
  }
  const two = (answer) => Array.isArray(answer) && answer.map((row) => row.text).sort().join() === 'a,b';
  let answer = await run(one.replace('$1', '$1::text[]'), ['a', 'b']);
  ok(two(answer), 'an array with its type', answer);
  answer = await run(one.replace('$1', '$1::jsonb'), JSON.stringify([{ text: 'a' }, { text: 'b' }]));
  ok(two(answer), 'JSON with its type', answer);
  answer = await run("SELECT jsonb_array_length(jflow_call('/x', $1, 'f')) AS n", JSON.stringify([{ text: 'a' }]));
  ok(Array.isArray(answer) && answer[0].n === 1, 'jflow_call takes JSON as it comes', answer);
  answer = await run("SELECT id FROM jflow_search($1, $2, 'f')", 'a', 5);
  ok(Array.isArray(answer) && answer.length === 0, 'jflow_search takes a text and a number', answer);
  await client.end();
  console.log(`1..${count}`);
}

main();
