-- Does an index on each type answer under each metric, as its build, inserts and VACUUM left it?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_types;
SET search_path = pq_types, public;

-- 2,000 points around 25 centres, the same on every machine
CREATE FUNCTION noise(a int, b int) RETURNS float8 IMMUTABLE PARALLEL SAFE LANGUAGE sql
	RETURN ('x' || substr(md5(a || ',' || b), 1, 6))::bit(24)::int / 16777216.0;
CREATE FUNCTION dense(i int) RETURNS vector IMMUTABLE PARALLEL SAFE LANGUAGE sql
	RETURN (SELECT array_agg(noise(i % 25, j) * 2 - 1 + noise(1000 + i, j) * 0.5 ORDER BY j) FROM generate_series(1, 24) j)::vector;
-- about 12 of 400 dimensions are not zero, most of them the centre's
CREATE FUNCTION sparse(i int) RETURNS sparsevec IMMUTABLE PARALLEL SAFE LANGUAGE sql
	RETURN (SELECT '{' || string_agg(d || ':' || v, ',' ORDER BY d) || '}/400' FROM (
		SELECT d, round(sum(v)::numeric, 3) AS v FROM (
			SELECT 1 + (noise(i % 25, j) * 400)::int % 400 AS d, 1 + noise(1000 + i, j) AS v FROM generate_series(1, 9) j
			UNION ALL
			SELECT 1 + (noise(1000 + i, 50 + j) * 400)::int % 400, 0.2 + noise(1000 + i, j) * 0.3 FROM generate_series(1, 4) j) raw
		GROUP BY d) summed)::sparsevec;
CREATE TABLE points AS SELECT i AS id, dense(i) AS vector, dense(i)::halfvec AS halfvec, sparse(i) AS sparsevec FROM generate_series(1, 2000) i;
CREATE TABLE queries AS SELECT i AS id, dense(i) AS vector, dense(i)::halfvec AS halfvec, sparse(i) AS sparsevec FROM generate_series(100001, 100020) i;
CREATE TABLE items (id int PRIMARY KEY, vector vector(24), halfvec halfvec(24), sparsevec sparsevec(400));
CREATE TABLE kinds AS SELECT * FROM
	(VALUES ('vector', '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]'),
		('halfvec', '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]'), ('sparsevec', '{}/400')) t (type, zero),
	(VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>')) m (metric, op);

-- how many of the 10 nearest rows a scan of the index finds, ties included
CREATE FUNCTION recall(type text, op text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	distance text;
	farthest float8;
	hits int;
	found int := 0;
BEGIN
	FOR distance IN EXECUTE format('SELECT format(''%I %s %%L'', %I) FROM queries', type, op, type) LOOP
		SET LOCAL enable_indexscan = off;
		SET LOCAL enable_seqscan = on;
		EXECUTE format('SELECT max(d) FROM (SELECT %s AS d FROM items ORDER BY d LIMIT 10) t', distance) INTO farthest;
		SET LOCAL enable_indexscan = on;
		SET LOCAL enable_seqscan = off;
		EXECUTE format('SELECT count(*) FROM (SELECT %s AS d FROM items ORDER BY %s LIMIT 10) t WHERE d <= %L', distance, distance, farthest) INTO hits;
		found := found + hits;
	END LOOP;
	RETURN found / 200.0;
END $$;

-- what is to be said of the index at a step: is recall good, does a scan to its end
-- return every row and none twice, do neighbours come in order, is every entry right
CREATE FUNCTION judge(step text, type text, op text, OUT at text, OUT recall bool, OUT rows int8, OUT twice int8, OUT disorder int8, OUT entries int8) LANGUAGE plpgsql AS $$
DECLARE
	distance text;
BEGIN
	at := format('%s, %s: %s', type, op, step);
	recall := recall(type, op) >= 0.9;
	EXECUTE format('SELECT format(''%I %s %%L'', %I) FROM queries LIMIT 1', type, op, type) INTO distance;
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_sort = off;
	EXECUTE format('SELECT count(*), count(*) - count(DISTINCT id) FROM (SELECT id FROM items ORDER BY %s LIMIT 100000) t', distance) INTO rows, twice;
	SET LOCAL enable_sort = on;
	SET LOCAL jflow.pq_iterative_scan = strict;
	EXECUTE format('SELECT count(*) FROM (SELECT d < lag(d) OVER (ORDER BY n) AS wrong FROM
		(SELECT row_number() OVER () AS n, d FROM (SELECT %s AS d FROM items ORDER BY %s LIMIT 50) t) u) v WHERE wrong', distance, distance) INTO disorder;
	entries := jflow_pq_check('items_pq');
END $$;

-- vectors of length zero: rows of them that are found, and rows found for one of them
CREATE FUNCTION zero(type text, op text, zero text, OUT at text, OUT zeros int8, OUT rows int8) LANGUAGE plpgsql AS $$
BEGIN
	at := format('%s, %s: zero', type, op);
	EXECUTE format('INSERT INTO items (id, %I) SELECT i, %L FROM generate_series(9001, 9010) i', type, zero);
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_sort = off;
	EXECUTE format('SELECT count(*) FROM (SELECT id FROM items ORDER BY %1$I %2$s (SELECT %1$I FROM queries LIMIT 1) LIMIT 100000) t WHERE id > 9000', type, op) INTO zeros;
	EXECUTE format('SELECT count(*) FROM (SELECT id FROM items ORDER BY %I %s %L LIMIT 100000) t', type, op, zero) INTO rows;
END $$;

-- the nodes of a plan, from the top
CREATE FUNCTION plan(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	node jsonb;
	nodes text;
BEGIN
	EXECUTE 'EXPLAIN (COSTS OFF, FORMAT JSON) ' || statement INTO node;
	node := node->0->'Plan';
	WHILE node IS NOT NULL LOOP
		nodes := concat_ws(' > ', nodes, concat_ws(' on ', node->>'Node Type', coalesce(node->>'Index Name', node->>'Relation Name')));
		node := node->'Plans'->0;
	END LOOP;
	RETURN nodes;
END $$;

SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SELECT unnest(ARRAY[
	'TRUNCATE items',
	'INSERT INTO items SELECT * FROM points WHERE id <= 1500',
	format('CREATE INDEX items_pq ON items USING pq (%I %s_%s_ops) WITH (lists = 20)', type, type, metric),
	'ANALYZE items',
	format('PREPARE near(%s) AS SELECT id FROM items ORDER BY %I %s $1 LIMIT 10', type, type, op),
	'SELECT plan(''EXECUTE near(NULL)'')',
	'DEALLOCATE near',
	'SELECT type, metric, dims, lists, tuples FROM jflow_pq_info(''items_pq'')',
	format('SELECT * FROM judge(''built'', %L, %L)', type, op),
	'INSERT INTO items SELECT * FROM points WHERE id > 1500',
	format('SELECT * FROM judge(''inserted'', %L, %L)', type, op),
	'DELETE FROM items WHERE id % 3 = 0',
	'VACUUM (FREEZE) items',
	format('SELECT * FROM judge(''vacuumed'', %L, %L)', type, op),
	format('SELECT * FROM zero(%L, %L, %L)', type, op, zero),
	'REINDEX INDEX items_pq',
	format('SELECT * FROM judge(''rebuilt'', %L, %L)', type, op),
	'DROP INDEX items_pq']) FROM kinds \gexec

-- an index serves its own operator only, and in its own direction
TRUNCATE items;
INSERT INTO items SELECT * FROM points;
ANALYZE items;
SELECT format('CREATE INDEX items_%s ON items USING pq (%I %s_%s_ops)', type, type, type, 'l2') FROM kinds WHERE metric = 'l2' \gexec
SELECT type, op, plan(format('SELECT id FROM items ORDER BY %I %s %L %s LIMIT 10', type, op, zero, direction)) AS plan, direction
FROM kinds, unnest('{ASC,DESC}'::text[]) direction ORDER BY type, op, direction;

-- a vector is of length zero where all its values are, and not where floats cannot hold their squares or
-- the parts that a projection makes of them
DROP TABLE items;
CREATE TABLE items (id int, dense vector(3), many vector(9000), half halfvec(3), sparse sparsevec(100000));
INSERT INTO items SELECT i, ARRAY[sin(i), cos(i), 1]::vector, array_cat(ARRAY[sin(i), cos(i)], array_fill(0::float8, ARRAY[8998]))::vector,
	ARRAY[sin(i), cos(i), 1]::vector::halfvec, format('{%s:1,%s:%s}/100000', 10 + i, 200 + i, sin(i))::sparsevec FROM generate_series(1, 50) i;
INSERT INTO items SELECT 1000 + i, ARRAY[x, 0, 0]::vector, array_cat(ARRAY[x], array_fill(0::float4, ARRAY[8999]))::vector,
	ARRAY[h, 0, 0]::vector::halfvec, format('{1:%s}/100000', x)::sparsevec
	FROM unnest('{1e-20,1e-30,1e-40,1.4e-45,0}'::float4[], '{1e-3,1e-5,1e-6,6e-8,0}'::float4[]) WITH ORDINALITY u(x, h, i);
SELECT format('CREATE INDEX items_%s ON items USING pq (%1$s %s_cosine_ops)', c, t)
FROM (VALUES ('dense', 'vector'), ('many', 'vector'), ('half', 'halfvec'), ('sparse', 'sparsevec')) v(c, t) \gexec
SELECT c, found, jflow_pq_check(('items_' || c)::regclass) AS checked FROM (
	SELECT 'dense' AS c, array_agg(id) AS n FROM (SELECT id FROM items ORDER BY dense <=> '[1,0,0]' OFFSET 0) s WHERE id > 1000
	UNION ALL SELECT 'many', array_agg(id) FROM (SELECT id FROM items ORDER BY many <=> array_cat('{1}'::float4[], array_fill(0::float4, ARRAY[8999]))::vector OFFSET 0) s WHERE id > 1000
	UNION ALL SELECT 'half', array_agg(id) FROM (SELECT id FROM items ORDER BY half <=> '[1,0,0]' OFFSET 0) s WHERE id > 1000
	UNION ALL SELECT 'sparse', array_agg(id) FROM (SELECT id FROM items ORDER BY sparse <=> '{1:1}/100000' OFFSET 0) s WHERE id > 1000) s,
	LATERAL (SELECT string_agg(i::text, ' ' ORDER BY i) FROM unnest(s.n) i) sorted(found) ORDER BY c;

DROP SCHEMA pq_types CASCADE;
