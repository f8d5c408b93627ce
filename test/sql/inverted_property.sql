-- Are an inverted index's answers those of a sequential scan, whatever the weights, the limit, the filter and what happened to the table?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
CREATE SCHEMA inverted_property;
SET search_path = inverted_property, public;

-- a random number from 0 up, the same for the same arguments
CREATE FUNCTION pick(n int, VARIADIC seed int[]) RETURNS int LANGUAGE sql IMMUTABLE
	RETURN abs(hashtextextended(seed::text, 7) % n)::int;
-- weights: usual, of either sign, equal, tiny, huge
CREATE FUNCTION weight(kind int, i int, j int) RETURNS text LANGUAGE sql IMMUTABLE
	RETURN CASE kind WHEN 0 THEN (1 + pick(1000, i, j, 1)) / 1000.0
		WHEN 1 THEN (pick(2000, i, j, 2) - 999.5) / 500.0
		WHEN 2 THEN 1
		WHEN 3 THEN (pick(2000, i, j, 3) - 999.5) * 1e-41
		WHEN 4 THEN (pick(2000, i, j, 4) - 999.5) * 3e35
		ELSE (1 + pick(9, i, j, 5)) * power(10, pick(9, i, j, 6) - 4)::float8 END::text;
-- a vector of about so many of 500 dimensions, low ones more often
CREATE FUNCTION vec(i int, nnz int, kind int) RETURNS sparsevec LANGUAGE sql IMMUTABLE
	RETURN (SELECT ('{' || coalesce(string_agg(d || ':' || weight(kind, i, d), ',' ORDER BY d), '') || '}/500')::sparsevec
		FROM (SELECT DISTINCT 1 + (pick(22, i, j, 7) + 1) * (pick(22, i, j, 8) + 1) AS d FROM generate_series(1, nnz) j) x);

CREATE TABLE items (id int, v sparsevec(500), price int, kind int) WITH (autovacuum_enabled = off);
CREATE FUNCTION fill(first int, last int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO items SELECT i, CASE WHEN i % 97 = 0 THEN NULL WHEN i % 41 = 0 THEN '{}/500'
			WHEN i % 13 = 0 THEN vec(pick(5, i), 6, 0)
			ELSE vec(i, 1 + pick(30, i), CASE WHEN i % 211 = 0 THEN 3 + pick(2, i) ELSE pick(3, i) END) END,
		nullif(i % 50, 49), i % 4 FROM generate_series(first, last) i;
$$;

-- what an index scan answers against what sorting answers
CREATE FUNCTION compare(op text, query sparsevec, filter text, k int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	statement text := format('SELECT array_agg(d + 0.0), array_agg(id) FROM (SELECT id, v %s $1 AS d FROM items WHERE %s ORDER BY v %s $1 LIMIT %s) x', op, filter, op, k);
	plan text;
	line text;
	by_index float8[];
	ids int[];
	by_sort float8[];
	others int[];
BEGIN
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_sort = off;
	FOR line IN EXECUTE 'EXPLAIN ' || replace(statement, '$1', quote_literal(query) || '::sparsevec') LOOP
		plan := concat(plan, line);
	END LOOP;
	IF plan NOT LIKE '%Index Scan%' THEN
		RETURN 'not by the index: ' || plan;
	END IF;
	EXECUTE statement INTO by_index, ids USING query;
	SET LOCAL enable_indexscan = off;
	SET LOCAL enable_seqscan = on;
	SET LOCAL enable_sort = on;
	EXECUTE statement INTO by_sort, others USING query;
	SET LOCAL enable_indexscan = on;
	IF by_index IS DISTINCT FROM by_sort THEN
		RETURN format('%s %s %s %s: %s instead of %s', op, query, filter, k, by_index, by_sort);
	ELSIF (SELECT count(DISTINCT i) FROM unnest(ids) i) <> coalesce(cardinality(ids), 0) THEN
		RETURN format('%s %s %s %s: a row came twice', op, query, filter, k);
	END IF;
	RETURN NULL;
END $$;
-- many of them; the worst is shown
CREATE FUNCTION compare_all(seed int, n int, ops text[] DEFAULT '{<#>,<=>}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outcome text;
BEGIN
	FOR i IN seed .. seed + n - 1 LOOP
		outcome := compare(ops[1 + pick(cardinality(ops), i)],
			CASE WHEN i % 29 = 0 THEN '{}/500' WHEN i % 31 = 0 THEN '{500:1}/500'
				ELSE vec(-i, (ARRAY[1, 2, 4, 8, 40, 300])[1 + pick(6, i, 1)], pick(6, i, 2)) END,
			(ARRAY['true', 'price < 25', 'price = 3', 'price IS NULL', 'price > 1000', 'price >= 10 AND price < 12', 'v IS NOT NULL', 'kind = 2'])[1 + pick(8, i, 3)],
			(ARRAY[1, 3, 10, 100, 1000, 100000])[1 + pick(6, i, 4)]);
		IF outcome IS NOT NULL THEN
			RETURN left(format('%s (%s)', outcome, i), 2000);
		END IF;
	END LOOP;
	RETURN format('%s alike', n);
END $$;

-- an index on an empty table, filled by inserts
CREATE INDEX items_ip ON items USING inverted (v sparsevec_ip_ops, price);
CREATE INDEX items_cosine ON items USING inverted (v sparsevec_cosine_ops, price);
SELECT compare_all(0, 20);
SELECT fill(1, 300);
SELECT compare_all(100, 60);
SELECT fill(301, 3000);
SELECT compare_all(200, 60);
SELECT jflow_inverted_check('items_ip'), jflow_inverted_check('items_cosine');
VACUUM (FREEZE) items;
SELECT compare_all(300, 60);

-- rows go and come
DELETE FROM items WHERE id % 3 = 1;
SELECT compare_all(400, 40);
VACUUM (FREEZE) items;
SELECT compare_all(500, 60);
UPDATE items SET price = price + 1 WHERE id % 5 = 0;
UPDATE items SET v = vec(id + 7, 5, 1) WHERE id % 7 = 0;
SELECT fill(3001, 5000);
SELECT compare_all(600, 60);
VACUUM (FREEZE) items;
SELECT compare_all(700, 40);
SELECT jflow_inverted_check('items_ip'), jflow_inverted_check('items_cosine');

-- built from what is there
REINDEX TABLE items;
SELECT compare_all(800, 60);
SELECT jflow_inverted_check('items_ip'), jflow_inverted_check('items_cosine');
-- built within little memory
SET maintenance_work_mem = '1MB';
REINDEX TABLE items;
SELECT compare_all(900, 30);
RESET maintenance_work_mem;

-- all rows alike; none left
UPDATE items SET v = '{7:1,9:0.5}/500';
VACUUM (FREEZE) items;
SELECT compare('<#>', '{7:1}/500', 'true', 20), compare('<#>', '{7:1,8:1}/500', 'price < 10', 100000), compare('<=>', '{9:-1}/500', 'true', 10), compare('<#>', '{8:1}/500', 'true', 10000);
DELETE FROM items;
VACUUM (FREEZE) items;
SELECT compare_all(1000, 10);
SELECT fill(1, 200);
SELECT compare_all(1100, 20);

DROP SCHEMA inverted_property CASCADE;
