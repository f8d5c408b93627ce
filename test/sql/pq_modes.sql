-- Does each mode of pq_iterative_scan keep its promise?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_modes;
SET search_path = pq_modes, public;
CREATE TABLE t (id int, kind int, e vector(8));
INSERT INTO t SELECT i, i % 100, (SELECT array_agg(('x' || substr(md5(i || ',' || j), 1, 4))::bit(16)::int / 65536.0) FROM generate_series(1, 8) j)::vector
FROM generate_series(1, 5000) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops) WITH (lists = 60);
ANALYZE t;
SET enable_seqscan = off;
SET enable_sort = off;
SET jflow.pq_probes = 1;

CREATE FUNCTION try(filter text, lim int, OUT rows int8, OUT repeated int8, OUT disorder int8, OUT wrong int8) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($q$SELECT count(*), count(*) - count(DISTINCT id), count(*) FILTER (WHERE d < before), count(*) FILTER (WHERE NOT ok) FROM (
		SELECT id, d, lag(d) OVER (ORDER BY n) AS before, ok FROM (
			SELECT row_number() OVER () AS n, * FROM (
				SELECT id, e <-> '[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]' AS d, %s AS ok FROM t WHERE %s
				ORDER BY e <-> '[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]' LIMIT %s) a) b) c$q$, filter, filter, lim)
	INTO rows, repeated, disorder, wrong;
END $$;

-- relaxed: every row comes once if one asks far enough, whatever filters
SET jflow.pq_iterative_scan = relaxed;
SELECT rows, repeated FROM try('true', 100000);
SELECT rows, repeated, wrong FROM try('kind = 7', 100000);
SELECT rows, wrong FROM try('kind = 7', 10);
SELECT rows FROM try('kind = -1', 10);
SELECT rows FROM try('id = 4321', 10);
SELECT rows FROM try('true', 0);

-- strict: the order is kept, no row comes twice
SET jflow.pq_iterative_scan = strict;
SELECT repeated, disorder, rows BETWEEN 1 AND 5000 AS some FROM try('true', 100000);
SELECT repeated, disorder, wrong, rows BETWEEN 1 AND 50 AS some FROM try('kind = 7', 100000);
SELECT rows, disorder FROM try('true', 10);

-- off: one batch, in order, which a filter outside of the index may leave few of
SET jflow.pq_iterative_scan = off;
SELECT rows BETWEEN 1 AND 100 AS some, repeated, disorder FROM try('true', 100);
SELECT rows, disorder FROM try('true', 10);
SELECT wrong, rows < 40 AS a_part FROM try('kind = 7', 40);

-- more probes and more refining never find less
RESET jflow.pq_iterative_scan;
CREATE FUNCTION found(probes int, refine int) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
	n int8;
BEGIN
	PERFORM set_config('jflow.pq_probes', probes::text, true), set_config('jflow.pq_refine', refine::text, true);
	WITH exact AS MATERIALIZED (
		SELECT q.id AS query, x.id FROM t q, LATERAL (SELECT id FROM (SELECT id, e <-> q.e AS d FROM t OFFSET 0) y ORDER BY d LIMIT 10) x WHERE q.id <= 10),
	near AS MATERIALIZED (
		SELECT q.id AS query, x.id FROM t q, LATERAL (SELECT id FROM t ORDER BY e <-> q.e LIMIT 10) x WHERE q.id <= 10)
	SELECT count(*) INTO n FROM exact JOIN near USING (query, id);
	RETURN n;
END $$;
SET enable_sort = on;
SELECT found(1, 10) <= found(8, 10) AND found(8, 10) <= found(1000, 10) AS more_is_better, found(1000, 1000) >= 99 AS all_is_exact;
DROP SCHEMA pq_modes CASCADE;
