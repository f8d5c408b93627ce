-- Do scans keep the order that the planner builds on, and learn how many rows are wanted?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
CREATE SCHEMA pq_order;
SET search_path = pq_order, public;
CREATE FUNCTION u(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE AS
	$$ SELECT ('x' || substr(md5(i || ':' || j), 1, 7))::bit(28)::int / 268435456.0 $$;
-- many distances are equal here
CREATE TABLE grid (id int, kind int, e vector(8));
INSERT INTO grid SELECT i, i % 10, (SELECT array_agg(floor(u(i, j) * 3)::real ORDER BY j) FROM generate_series(1, 8) j)::vector FROM generate_series(1, 8000) i;
CREATE INDEX grid_pq ON grid USING pq (e vector_l2_ops, kind);
-- and few here: rows in groups, and a filter that does not depend on them
CREATE TABLE t (id int, f int, e vector(16));
INSERT INTO t SELECT i, i % 500, (SELECT array_agg((u(i, j) + 2 * u(i % 97, 1000 + j))::real ORDER BY j) FROM generate_series(1, 16) j)::vector FROM generate_series(1, 20000) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops, f);
CREATE TABLE q AS SELECT id, e FROM t WHERE id % 2003 = 1;
ANALYZE grid, t, q;
SET enable_seqscan = off;
SET enable_sort = off;

-- what the planner builds on the order
CREATE FUNCTION same(query text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
	a text;
	b text;
BEGIN
	EXECUTE format('SELECT string_agg(x::text, '';'') FROM (%s) x', query) INTO a;
	SET LOCAL enable_indexscan = off;
	SET LOCAL enable_seqscan = on;
	SET LOCAL enable_sort = on;
	EXECUTE format('SELECT string_agg(x::text, '';'') FROM (%s) x', query) INTO b;
	SET LOCAL enable_indexscan = on;
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_sort = off;
	RETURN a = b;
END $$;
SELECT same($$SELECT e <-> '[1,1,1,1,1,1,1,1]', count(*) FROM grid GROUP BY 1 ORDER BY 1 LIMIT 5$$) AS grouped,
	same($$SELECT DISTINCT ON (e <-> '[1,1,1,1,1,1,1,1]') e <-> '[1,1,1,1,1,1,1,1]' FROM grid ORDER BY e <-> '[1,1,1,1,1,1,1,1]' LIMIT 5$$) AS distinct_on,
	same($$SELECT d, rank() OVER (ORDER BY d) FROM (SELECT e <-> '[1,1,1,1,1,1,1,1]' AS d FROM grid) x ORDER BY d LIMIT 50$$) AS ranked,
	same($$SELECT d FROM (SELECT d, row_number() OVER (ORDER BY d) r FROM (SELECT e <-> '[1,1,1,1,1,1,1,1]' AS d FROM grid) x) y WHERE r <= 50$$) AS numbered,
	same($$SELECT e <-> '[1,1,1,1,1,1,1,1]' FROM grid ORDER BY e <-> '[1,1,1,1,1,1,1,1]'$$) AS whole,
	same($$SELECT e <-> '[1,1,1,1,1,1,1,1]' FROM grid WHERE kind = 3 ORDER BY e <-> '[1,1,1,1,1,1,1,1]'$$) AS whole_filtered,
	same($$SELECT e <-> '[1,1,1,1,1,1,1,1]' FROM grid WHERE id % 7 = 3 ORDER BY e <-> '[1,1,1,1,1,1,1,1]'$$) AS whole_by_the_executor,
	same($$SELECT q.id, x.d FROM q, LATERAL (SELECT t.id, t.e <-> q.e AS d FROM t WHERE t.f < 50 ORDER BY t.e <-> q.e OFFSET 0) x WHERE x.d < 1.2 ORDER BY q.id, x.d$$) AS rescanned;
-- and rows that lie exactly as far away as a filter allows
SELECT bool_and(same(format($$SELECT e <-> '[1,1,1,1,1,1,1,1]' FROM grid WHERE e <-> '[1,1,1,1,1,1,1,1]' <= sqrt(%s) ORDER BY e <-> '[1,1,1,1,1,1,1,1]'$$, n))) AS all_within,
	bool_and(same(format($$SELECT e <+> '[1,1,1,1,1,1,1,1]' FROM grid WHERE e <+> '[1,1,1,1,1,1,1,1]' <= %s ORDER BY e <+> '[1,1,1,1,1,1,1,1]'$$, n))) AS all_taxicab
FROM generate_series(1, 8) n;

-- and whole numbers, kept without error, of which the sums are too large for floats
CREATE TABLE whole AS SELECT i AS id, (SELECT array_agg(floor(u(i % 20, 1000 + j) * 1000000) + floor(u(i, j) * 121) ORDER BY j) FROM generate_series(1, 40) j)::vector(40) AS e FROM generate_series(1, 3000) i;
CREATE INDEX whole_pq ON whole USING pq (e vector_l2_ops);
CREATE INDEX whole_l1_pq ON whole USING pq (e vector_l1_ops);
ANALYZE whole;
SELECT bool_and(same(format('SELECT e <-> %1$L FROM whole ORDER BY e <-> %1$L', e))) AS large_squares,
	bool_and(same(format('SELECT e <+> %1$L FROM whole ORDER BY e <+> %1$L', e))) AS large_sums
FROM (SELECT (SELECT array_agg(floor(u(i, 2000 + j) * 1000000) ORDER BY j) FROM generate_series(1, 40) j)::vector AS e FROM generate_series(1, 10) i) q;

-- and vectors so long or short that floats cannot hold their squares
CREATE TABLE spans AS SELECT i AS id, (SELECT array_agg(((u(i, j) - 0.5) * CASE WHEN i % 6 = 0 THEN 1e25 ELSE 1 END)::real ORDER BY j) FROM generate_series(1, 3) j)::vector(3) AS e FROM generate_series(1, 3000) i;
CREATE INDEX spans_ip ON spans USING pq (e vector_ip_ops);
CREATE INDEX spans_cosine ON spans USING pq (e vector_cosine_ops);
ANALYZE spans;
SELECT same($$SELECT e <#> '[1e-25,-2e-25,3e-25]' FROM spans ORDER BY e <#> '[1e-25,-2e-25,3e-25]'$$) AS short_query,
	same($$SELECT e <=> '[1,-2,3]' FROM spans ORDER BY e <=> '[1,-2,3]'$$) AS long_rows,
	same($$SELECT e <=> '[1e-25,-2e-25,3e-25]' FROM spans ORDER BY e <=> '[1e-25,-2e-25,3e-25]'$$) AS short_direction;

-- how many rows are wanted: few pages are read where that is known
CREATE FUNCTION pages(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT json) ' || query INTO plan;
	RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::int + (plan->0->'Plan'->>'Shared Read Blocks')::int;
END $$;
CREATE FUNCTION known(query text) RETURNS bool LANGUAGE sql AS
	$$ SELECT pages(format(query, (SELECT quote_literal(e) FROM q ORDER BY id LIMIT 1))) < (SELECT relpages / 2 FROM pg_class WHERE relname = 't_pq') $$;
CREATE TABLE parts (id int, e vector(16)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10000);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10000) TO (100000);
INSERT INTO parts SELECT id, e FROM t;
CREATE INDEX ON parts USING pq (e vector_l2_ops);
ANALYZE parts;
SELECT known('SELECT id FROM t ORDER BY e <-> %s LIMIT 5') AS by_limit,
	known('SELECT id FROM t ORDER BY e <-> %s LIMIT 5 OFFSET 3') AS by_offset,
	known('SELECT id FROM t ORDER BY e <-> %s LIMIT (SELECT 5)') AS by_parameter,
	known('SELECT id FROM t ORDER BY e <-> %s FETCH FIRST 5 ROWS WITH TIES') AS with_ties,
	known('SELECT id FROM t ORDER BY e <-> %s LIMIT 5 FOR UPDATE') AS for_update,
	known('SELECT id, random() FROM t ORDER BY e <-> %s LIMIT 5') AS by_result,
	known('SELECT id FROM (SELECT id, e <-> %s AS d FROM t ORDER BY e <-> %1$s OFFSET 0) x LIMIT 5') AS subquery,
	known('SELECT id FROM parts ORDER BY e <-> %s LIMIT 5') AS by_partitions,
	known('SELECT id FROM (SELECT id, e <-> %s AS d FROM t UNION ALL SELECT id, e <-> %1$s FROM parts) x ORDER BY d LIMIT 5') AS union_all,
	known('SELECT (SELECT t.id FROM t ORDER BY t.e <-> %s LIMIT 1)') AS scalar,
	known('SELECT id FROM t WHERE f < 250 ORDER BY e <-> %s LIMIT 5') AS filtered,
	known('SELECT id FROM t WHERE id > 5000 ORDER BY e <-> %s LIMIT 5') AS by_the_executor,
	pages(format('SELECT id FROM t WHERE e <-> %s < 0.1 ORDER BY e <-> %1$s LIMIT 100', near)) <
	pages(format('SELECT id FROM t ORDER BY e <-> %s LIMIT 100', near)) AS bounded FROM (SELECT quote_literal(e) AS near FROM q ORDER BY id LIMIT 1) x;
SELECT known('SELECT id FROM t ORDER BY e <-> %s') AS none,
	known('SELECT count(*) FROM (SELECT id FROM t ORDER BY e <-> %s OFFSET 0) x LIMIT 5') AS aggregate,
	known('SELECT t.id FROM t JOIN q USING (id) ORDER BY t.e <-> %s LIMIT 5') AS join;

-- a caller's count, but not a cursor's, which may come back for more
CREATE FUNCTION first_row() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	r int;
BEGIN
	SELECT id INTO r FROM t ORDER BY e <-> (SELECT e FROM q WHERE id = 1);
	RETURN r;
END $$;
SELECT first_row();
BEGIN;
DECLARE c CURSOR FOR SELECT e <-> '[1,1,1,1,1,1,1,1]' AS d FROM grid ORDER BY e <-> '[1,1,1,1,1,1,1,1]';
FETCH 3 FROM c;
MOVE 4000 FROM c;
MOVE ALL FROM c;
ROLLBACK;

-- pages of ten by the last distance of the page before
CREATE FUNCTION paged() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	query vector := (SELECT e FROM q ORDER BY id LIMIT 1);
	last float8 := -1;
	page int[];
	seen int[] := '{}';
BEGIN
	FOR p IN 1..20 LOOP
		SELECT array_agg(id), max(d) INTO page, last FROM (SELECT id, e <-> query AS d FROM t WHERE f < 100 AND e <-> query > last ORDER BY e <-> query LIMIT 10) x;
		seen := seen || page;
	END LOOP;
	RETURN (SELECT count(*) FROM (SELECT id FROM t WHERE f < 100 ORDER BY (e <-> query) + 0 LIMIT 200) x WHERE id = ANY (seen));
END $$;
SELECT paged() BETWEEN 170 AND 200 AS most;

-- rows that cannot be seen do not count
DELETE FROM t WHERE e <-> (SELECT e FROM q ORDER BY id LIMIT 1) < 0.9;
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <-> (SELECT e FROM q ORDER BY id LIMIT 1) LIMIT 50) x;
SELECT same('SELECT e <-> (SELECT e FROM q ORDER BY id LIMIT 1) FROM t ORDER BY 1 LIMIT 1') AS nearest;

-- two distances
SELECT same($$SELECT e <-> '[1,1,1,1,1,1,1,1]', e <-> '[0,1,1,1,1,1,1,1]' FROM grid ORDER BY 1, 2 LIMIT 20$$) AS two;
-- the operator rounds cosines of vectors that codes have exactly
CREATE TABLE line (e vector(1));
INSERT INTO line SELECT ARRAY[3 * u(i, 1) - 1]::vector FROM generate_series(1, 2000) i;
CREATE INDEX line_pq ON line USING pq (e vector_cosine_ops) WITH (lists = 4);
SELECT same($$SELECT e <=> '[0.3]', count(*) FROM line GROUP BY 1 ORDER BY 1$$) AS rounded;
DROP SCHEMA pq_order CASCADE;
