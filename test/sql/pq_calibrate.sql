-- Does jflow_pq_calibrate measure with the caller's queries, and only for the table's owner?
SET client_min_messages = warning;
CREATE SCHEMA pq_calibrate;
SET search_path = pq_calibrate, public;
CREATE FUNCTION u(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE AS
	$$ SELECT ('x' || substr(md5(i || ':' || j), 1, 7))::bit(28)::int / 268435456.0 $$;
CREATE TABLE t (id int, e vector(8));
INSERT INTO t SELECT i, (SELECT array_agg((u(i, j) + 2 * u(i % 50, 1000 + j))::real ORDER BY j) FROM generate_series(1, 8) j)::vector FROM generate_series(1, 4000) i;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops);
CREATE TABLE queries AS SELECT (SELECT array_agg((10 * u(i, j))::real ORDER BY j) FROM generate_series(1, 8) j)::vector AS e FROM generate_series(7001, 7100) i;
ANALYZE t;
CREATE TABLE before AS SELECT calibration FROM jflow_pq_info('t_pq');
SELECT jflow_pq_calibrate('t_pq', 'SELECT e FROM queries');
SELECT calibration <> (SELECT calibration FROM before) AS changed FROM jflow_pq_info('t_pq');
SELECT jflow_pq_check('t_pq');
SELECT jflow_pq_recall('t_pq', 50) >= 0.9 AS good, jflow_pq_recall('t_pq', 20, 100) >= 0.9 AS of_many;
-- what is refused
SELECT jflow_pq_calibrate('t_pq', 'SELECT 1');
SELECT jflow_pq_calibrate('t_pq', 'SELECT e, e FROM queries');
SELECT jflow_pq_calibrate('t_pq', 'CREATE TABLE x ()');
SELECT jflow_pq_calibrate('t_pq', 'SELECT e FROM queries WHERE false');
SELECT jflow_pq_calibrate('t_pq', 'SELECT e::halfvec FROM queries');
SELECT jflow_pq_calibrate('t_pq', $$SELECT '[1,2]'::vector$$);
SELECT jflow_pq_calibrate('t', 'SELECT e FROM queries');
SELECT jflow_pq_calibrate(0, 'SELECT e FROM queries');
CREATE INDEX t_id ON t (id);
SELECT jflow_pq_calibrate('t_id', 'SELECT e FROM queries');
CREATE ROLE pq_calibrate_reader;
GRANT USAGE ON SCHEMA pq_calibrate TO pq_calibrate_reader;
GRANT SELECT ON t, queries TO pq_calibrate_reader;
SET ROLE pq_calibrate_reader;
SELECT jflow_pq_calibrate('t_pq', 'SELECT e FROM queries');
RESET ROLE;
BEGIN READ ONLY;
SELECT jflow_pq_calibrate('t_pq', 'SELECT e FROM queries');
ROLLBACK;
-- a flat index has nothing to measure
CREATE TABLE few (e vector(8));
CREATE INDEX few_pq ON few USING pq (e vector_l2_ops);
SELECT jflow_pq_calibrate('few_pq', 'SELECT e FROM queries');
-- of ten rows the worst queries may miss three for one of these goals, and two for the other
CREATE TABLE wide AS SELECT (SELECT array_agg(u(i, j)::real ORDER BY j) FROM generate_series(1, 24) j)::vector(24) AS e FROM generate_series(1, 3000) i;
CREATE INDEX wide_pq ON wide USING pq (e vector_l2_ops);
SELECT count(DISTINCT (p->'list', p->'code')) AS rules FROM jflow_pq_info('wide_pq'), jsonb_array_elements(calibration) p WHERE (p->>'k')::int = 10 AND (p->>'recall')::numeric IN (0.85, 0.875);
-- codes cost most where many rows are wanted: does a lower goal look at fewer of them?
CREATE FUNCTION h(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE RETURN hashint8extended(i::int8 * 4096 + j, 7) / 9223372036854775808.0;
CREATE TABLE many (e vector(24));
INSERT INTO many SELECT (SELECT array_agg(5 * h(-1 - i % 50, j) + h(i, j) + h(i, j + 1000) + h(i, j + 2000)) FROM generate_series(1, 24) j)::vector FROM generate_series(1, 20000) i;
CREATE INDEX many_pq ON many USING pq (e vector_l2_ops);
SELECT max((p->>'code')::float8) - min((p->>'code')::float8) > 0.05 AS fewer FROM jflow_pq_info('many_pq'), jsonb_array_elements(calibration) p WHERE (p->>'k')::int = 1000 AND (p->>'recall')::numeric IN (0.9, 0.95);
DROP SCHEMA pq_calibrate CASCADE;
DROP ROLE pq_calibrate_reader;
