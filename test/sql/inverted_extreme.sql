-- Are an inverted index's answers those of a sort for queries and rows at the ends of what there can be?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
CREATE SCHEMA inverted_extreme;
SET search_path = inverted_extreme, public;

-- so many terms of 16,000, with weights between low and high
CREATE FUNCTION vec(seed int, nnz int, low float8, high float8) RETURNS sparsevec LANGUAGE sql IMMUTABLE
	RETURN (SELECT format('{%s}/16000', string_agg(format('%s:%s', d, (low + (high - low) * (abs(hashint8(seed + d)) % 1000) / 1000)::float4), ','))::sparsevec
		FROM (SELECT DISTINCT 1 + (seed::int8 * 7919 + j * 31) % 16000 AS d FROM generate_series(1, nnz) j) x);
CREATE TABLE items (id int, v sparsevec(16000), price int) WITH (autovacuum_enabled = off);
CREATE INDEX items_ip ON items USING inverted (v sparsevec_ip_ops, price, id);
CREATE INDEX items_cosine ON items USING inverted (v sparsevec_cosine_ops, price, id);
-- the distances by the index and by a sort, every row once; NaN is last, then what has none
CREATE FUNCTION differ(query sparsevec, filter text DEFAULT 'true', k int DEFAULT 100000) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	op text;
	statement text;
	by_index float8[];
	by_sort float8[];
	n int;
	plan text;
	line text;
BEGIN
	FOREACH op IN ARRAY '{<#>,<=>}'::text[] LOOP
		statement := format('SELECT array_agg(d + 0.0), (SELECT count(DISTINCT i) FROM unnest(array_agg(id)) i) FROM (SELECT id, v %s $1 AS d FROM items WHERE %s ORDER BY v %s $1 LIMIT %s) x', op, filter, op, k);
		SET LOCAL enable_seqscan = off;
		SET LOCAL enable_sort = off;
		plan := '';
		FOR line IN EXECUTE 'EXPLAIN ' || statement USING query LOOP
			plan := plan || line;
		END LOOP;
		EXECUTE statement INTO by_index, n USING query;
		SET LOCAL enable_seqscan = on;
		SET LOCAL enable_sort = on;
		SET LOCAL enable_indexscan = off;
		EXECUTE statement INTO by_sort USING query;
		SET LOCAL enable_indexscan = on;
		IF plan !~ 'Index Scan using items_(ip|cosine)' THEN
			RETURN op || ' is not answered by the index: ' || plan;
		ELSIF by_index IS DISTINCT FROM by_sort THEN
			RETURN left(format('%s: %s instead of %s', op, by_index, by_sort), 500);
		ELSIF n <> coalesce(cardinality(by_index), 0) THEN
			RETURN op || ': a row came twice';
		END IF;
	END LOOP;
	RETURN 'alike';
END $$;
-- queries of each kind, with filters that keep all rows, one, and none
CREATE FUNCTION differences() RETURNS TABLE (query text, whole text, seven text, "one row" text, "no row" text) LANGUAGE sql AS $$
	SELECT name, differ(q), differ(q, k => 7), differ(q, 'id = 77'), differ(q, 'price < 0')
	FROM (VALUES ('no term', '{}/16000'), ('zeros', '{1:0,2:0}/16000'), ('one of all rows', '{16000:1}/16000'), ('of no row', '{15999:1}/16000'),
		('negative', '{1:-1,2:-0.5,16000:-2}/16000'), ('huge', '{1:1e38,2:1e38,16000:1e38}/16000'), ('of both signs, huge', '{1:3e38,2:-3e38,16000:1e38}/16000'),
		('tiny', '{1:1e-45,16000:-1e-44}/16000'), ('far apart', '{1:1e38,2:1e-38,16000:1}/16000')) s(name, text), CAST(text AS sparsevec) q
	UNION ALL SELECT format('%s terms, %s', n, name), differ(q), differ(q, k => 7), differ(q, 'id = 77'), differ(q, 'price < 0')
	FROM (VALUES (10000, 'positive', 0.1, 1), (16000, 'of both signs', -1, 1), (10000, 'huge', -3e38, 3e38)) s(n, name, low, high), LATERAL (SELECT vec(1, n, low, high) AS q) v
$$;

-- few terms and many, of each size and sign, a term that all rows have
INSERT INTO items SELECT i, vec(i, 1 + i % 40, -1, 1), i % 10 FROM generate_series(1, 1500) i;
INSERT INTO items SELECT 2000 + i, vec(i, 16000, 0.5, 2), i % 10 FROM generate_series(1, 3) i;
INSERT INTO items SELECT 3000 + i, vec(i, 30, -3e38, 3e38), i % 10 FROM generate_series(1, 20) i;
INSERT INTO items SELECT 3500 + i, vec(i, 30, 1e-42, 1e-40), i % 10 FROM generate_series(1, 20) i;
INSERT INTO items SELECT 4000 + i, '{}/16000', i % 10 FROM generate_series(1, 20) i;
INSERT INTO items SELECT 5000 + i, NULL, i % 10 FROM generate_series(1, 20) i;
INSERT INTO items SELECT 6000 + i, '{16000:1}/16000', i % 10 FROM generate_series(1, 500) i;
SELECT * FROM differences();
VACUUM (FREEZE) items;
SELECT * FROM differences();
SELECT jflow_inverted_check('items_ip') = jflow_inverted_check('items_cosine') AS sound;

-- all rows alike, all of one term, the one row that is left
UPDATE items SET v = vec(1, 50, 1, 1);
VACUUM (FREEZE) items;
SELECT differ(vec(1, 50, 1, 1)), differ('{16000:1}/16000'), differ(vec(1, 5, -1, 1), k => 10);
UPDATE items SET v = format('{16000:%s}/16000', 1 + id % 9)::sparsevec;
VACUUM (FREEZE) items;
SELECT differ('{16000:1}/16000'), differ('{16000:1}/16000', k => 10), differ('{16000:-1}/16000', k => 10);
DELETE FROM items WHERE id <> 77;
VACUUM (FREEZE) items;
SELECT differ('{16000:1}/16000'), differ('{1:1}/16000', k => 10), differ('{16000:-1}/16000', 'id = 77', 1);
SELECT jflow_inverted_check('items_ip'), jflow_inverted_check('items_cosine');

-- texts of 10,000 words, known, unknown, and all the same one
SELECT jflow_create('words');
SELECT jflow_add('words', 'v', uses => 'BM25Vectorizer', replicas => 0);
SELECT jflow_add('words', 'store', uses => 'PQLiteIndexer', replicas => 0, workspace => 'inverted_extreme_data', uses_with => '{"field": "sparse_embedding", "metric": "ip"}');
CREATE TABLE texts AS SELECT i AS id, (SELECT string_agg('w' || abs(hashint4(i * 20 + j)) % 9000, ' ') FROM generate_series(1, 15) j) AS text FROM generate_series(1, 6000) i;
INSERT INTO texts SELECT 7000, string_agg('w' || i, ' ') FROM generate_series(1, 9000) i;
SELECT docs FROM jflow_fit('words', 'v', 'SELECT text FROM texts');
SELECT docs FROM jflow_post_query('/index', 'SELECT id, text FROM texts', 'words');
SELECT amname FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE relname ~ '^words_store.*inverted' AND relkind = 'i';
SELECT count(*), min(id) FILTER (WHERE score = (SELECT min(score) FROM jflow_search((SELECT string_agg('w' || i, ' ') FROM generate_series(1, 10000) i), 10, 'words'))) AS best
FROM jflow_search((SELECT string_agg('w' || i, ' ') FROM generate_series(1, 10000) i), 10, 'words');
SELECT count(*) FROM jflow_search((SELECT string_agg('unknown' || i, ' ') FROM generate_series(1, 10000) i), 10, 'words');
SELECT count(*) FROM jflow_search((SELECT string_agg('w7', ' ') FROM generate_series(1, 10000) i), 100000, 'words') HAVING count(*) = (SELECT count(*) FROM texts WHERE text ~ '\mw7\M');
SELECT jflow_drop('words', drop_data => true);

DROP SCHEMA inverted_extreme CASCADE;
