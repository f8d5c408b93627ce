-- Is recall the same for rows far apart, of mixed scales, in copies, and between clusters?
SET client_min_messages = warning;
SET jit = off;
CREATE SCHEMA pq_scale;
SET search_path = pq_scale, public;
CREATE FUNCTION vec(i int, d int, scale float8 DEFAULT 1, shift float8 DEFAULT 0) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$SELECT array_agg(shift + scale * (sin(i * 0.7301 * j + j * j) + cos(i * 0.1177 * j) + sin(i * 0.013 + j)))::vector FROM generate_series(1, d) j$$;
-- Rows and queries of some kind; of the query the index's least recall at 1, 10 and 50 rows.
CREATE TABLE q (e vector);
CREATE FUNCTION least_recall(op text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	least numeric := 1;
	found float8;
	query text := 'SELECT t.e ' || op || ' %s FROM t ORDER BY t.e ' || op || ' %s LIMIT %s';
	far float8;
	n int;
	one vector;
BEGIN
	FOREACH n IN ARRAY ARRAY[1, 10, 50] LOOP
		found := 0;
		FOR one IN SELECT * FROM q LOOP
			PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true);
			EXECUTE 'SELECT max(x) FROM (' || format(query, '$1', '$1', n) || ') y(x)' INTO far USING one;
			PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
			EXECUTE 'SELECT $3 + count(*)::float8 / $4 FROM (' || format(query, '$1', '$1', n) || ') y(x) WHERE x <= $2 + abs($2) * 1e-5'
				INTO found USING one, far, found, n;
		END LOOP;
		least := least(least, round((found / (SELECT count(*) FROM q))::numeric, 3));
	END LOOP;
	RETURN least;
END $$;
-- build says whether the index is made after the rows; else it learns as they come
CREATE FUNCTION try(d int, rows text, queries text, op text, opclass text, build bool) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	least numeric;
BEGIN
	DROP TABLE IF EXISTS t;
	EXECUTE format('CREATE TABLE t (e vector(%s))', d);
	IF NOT build THEN
		EXECUTE format('CREATE INDEX t_e ON t USING pq (e %s)', opclass);
	END IF;
	EXECUTE 'INSERT INTO t ' || rows;
	IF build THEN
		EXECUTE format('CREATE INDEX t_e ON t USING pq (e %s)', opclass);
	END IF;
	TRUNCATE q;
	EXECUTE 'INSERT INTO q ' || queries;
	PERFORM jflow_pq_check('t_e');
	IF (SELECT lists FROM jflow_pq_info('t_e')) = 1 THEN
		RETURN 'has not learned';
	END IF;
	least := least_recall(op);
	RETURN CASE WHEN least >= 0.85 THEN 'found' ELSE least::text END;
END $$;
-- two clusters far apart; scales apart about one place and about others; one direction much used; each row many times; between clusters
SELECT kind, d, op, build, try(d, format('SELECT %s FROM generate_series(1, 3000) i', replace(point, 'DIMS', d::text)),
	format('SELECT %s FROM generate_series(9001, 9040) i', replace(coalesce(query, point), 'DIMS', d::text)), op, opclass, build)
FROM (VALUES
	('far apart', 'vec(i, DIMS, 1, i % 2 * 1e4)', NULL),
	('two scales', 'vec(i, DIMS, CASE i % 2 WHEN 0 THEN 0.01 ELSE 100 END)', NULL),
	('four scales', 'vec(i, DIMS, 1000 ^ (i % 4 - 1))', NULL),
	('own scales', 'vec(i, DIMS, 100 ^ (i % 3 - 1), (ARRAY[0, 100, -1e4])[i % 3 + 1])', NULL),
	('copies', 'vec(i % 1100, DIMS)', NULL),
	('between', 'vec(i % 60, DIMS, 5) + vec(i, DIMS, 0.05)', 'vec(i % 60, DIMS, 2.5) + vec(i * 7 % 60, DIMS, 2.5)')) k(kind, point, query),
	(VALUES (2, '<->', 'vector_l2_ops', true), (16, '<->', 'vector_l2_ops', false), (40, '<->', 'vector_l2_ops', true),
	(16, '<=>', 'vector_cosine_ops', true), (16, '<#>', 'vector_ip_ops', true)) x(d, op, opclass, build)
ORDER BY 1, 2, 3, 4;
-- an inner product orders rows by the query's direction, however long that is
DROP TABLE t;
CREATE TABLE t (id int, e vector(16));
INSERT INTO t SELECT i, l2_normalize(vec(i, 16)) FROM generate_series(1, 3000) i;
CREATE INDEX t_e ON t USING pq (e vector_ip_ops);
SET enable_seqscan = off;
SET enable_sort = off;
SELECT power, count(*) AS queries, count(*) FILTER (WHERE found = usual) AS same
FROM unnest(ARRAY[-40, -20, 10, 20, 30, 40]) power, LATERAL (
	SELECT ARRAY(SELECT id FROM t ORDER BY e <#> vec(i, 16, 2::float8 ^ power) LIMIT 10) AS found,
		ARRAY(SELECT id FROM t ORDER BY e <#> vec(i, 16) LIMIT 10) AS usual
	FROM generate_series(9001, 9020) i) x
GROUP BY 1 ORDER BY 1;
DROP SCHEMA pq_scale CASCADE;
