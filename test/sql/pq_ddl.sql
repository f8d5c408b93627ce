-- Does the index live through every kind of DDL, and are its functions for those who may?
SET client_min_messages = warning;
SET jit = off;
CREATE SCHEMA pq_ddl;
SET search_path = pq_ddl, public;
SET enable_seqscan = off;
CREATE TABLE t (id int, kind int, e vector(8));
INSERT INTO t SELECT i, i % 10, (SELECT array_agg((i * j * 7919) % 1009) FROM generate_series(1, 8) j)::vector FROM generate_series(1, 1200) i;
CREATE FUNCTION state(index regclass) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL enable_sort = off;
	RETURN format('%s entries, %s rows', jflow_pq_check(index), (SELECT count(DISTINCT id) FROM (SELECT id FROM t ORDER BY e <-> '[1,2,3,4,5,6,7,8]' LIMIT 100000) x));
END $$;

-- concurrently, again, elsewhere, renamed
CREATE INDEX CONCURRENTLY t_pq ON t USING pq (e vector_l2_ops);
SELECT state('t_pq');
REINDEX INDEX CONCURRENTLY t_pq;
SELECT state('t_pq');
REINDEX TABLE CONCURRENTLY t;
SELECT state('t_pq');
REINDEX TABLE t;
SELECT state('t_pq');
ALTER INDEX t_pq RENAME TO t_pq2;
SELECT state('t_pq2');
CLUSTER t USING t_pq2;
VACUUM FULL t;
SELECT state('t_pq2');
ALTER TABLE t SET UNLOGGED;
SELECT state('t_pq2');
ALTER TABLE t SET LOGGED;
SELECT state('t_pq2');
ALTER TABLE t ALTER COLUMN id TYPE int8;
SELECT state('t_pq2');
ALTER TABLE t ADD COLUMN more int DEFAULT 7;
SELECT state('t_pq2');
ALTER TABLE t ALTER COLUMN e TYPE vector(9);
BEGIN;
ALTER TABLE t ALTER COLUMN e TYPE vector;
ROLLBACK;
SELECT state('t_pq2');
DROP INDEX t_pq2;

-- built and used within one transaction, rolled back and kept
BEGIN;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops);
SELECT state('t_pq');
INSERT INTO t SELECT id + 10000, kind, e FROM t WHERE id <= 100;
SELECT state('t_pq');
TRUNCATE t;
INSERT INTO t VALUES (1, 1, '[1,2,3,4,5,6,7,8]');
SELECT state('t_pq');
SAVEPOINT s;
REINDEX INDEX t_pq;
SELECT state('t_pq');
ROLLBACK TO s;
SELECT state('t_pq');
ROLLBACK;
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops);
SELECT state('t_pq');
DROP INDEX CONCURRENTLY t_pq;

-- workers build the same index
SET max_parallel_maintenance_workers = 2;
SET min_parallel_table_scan_size = 0;
ALTER TABLE t SET (parallel_workers = 2);
CREATE INDEX t_pq ON t USING pq (e vector_l2_ops, kind);
SELECT state('t_pq');
SELECT jflow_pq_recall('t_pq', 50) >= 0.9 AS recall;
-- again and again: the leader's wait for its workers has an end
SELECT 'REINDEX INDEX t_pq' FROM generate_series(1, 30) \gexec
SELECT state('t_pq');
RESET max_parallel_maintenance_workers;

-- temporary tables
CREATE TEMP TABLE tt (id int, e halfvec(8)) ON COMMIT DELETE ROWS;
CREATE INDEX tt_pq ON tt USING pq (e halfvec_cosine_ops);
BEGIN;
INSERT INTO tt SELECT id, e FROM t;
SELECT count(*) FROM (SELECT id FROM tt ORDER BY e <=> '[1,2,3,4,5,6,7,8]' LIMIT 100000) x;
SELECT jflow_pq_check('tt_pq');
COMMIT;
SELECT count(*) FROM (SELECT id FROM tt ORDER BY e <=> '[1,2,3,4,5,6,7,8]' LIMIT 100000) x;
DROP TABLE tt;

-- the functions refuse what is no pq index
SELECT jflow_pq_info('t');
SELECT jflow_pq_check('pg_class_oid_index');
SELECT jflow_pq_recall('t');
SELECT jflow_pq_check(0);
CREATE TABLE p (id int, e vector(3)) PARTITION BY LIST (id);
CREATE INDEX p_pq ON p USING pq (e vector_l2_ops);
SELECT jflow_pq_info('p_pq');
SELECT jflow_pq_recall('t_pq', 0);
SELECT jflow_pq_recall('t_pq', -5);
SELECT jflow_pq_recall('t_pq', 10, 0);
SELECT jflow_pq_recall('t_pq', 1000000);
SELECT jflow_pq_recall('t_pq', 10, 1000000);
SELECT jflow_pq_recall('t_pq', 2, 10000) > 0.8 AS more_than_there_are;
SELECT jflow_pq_recall(NULL) IS NULL, jflow_pq_check(NULL) IS NULL;

-- another role learns nothing from the index of a table that it may not read
CREATE ROLE pq_stranger;
GRANT USAGE ON SCHEMA pq_ddl TO pq_stranger;
SET ROLE pq_stranger;
SELECT jflow_pq_check('t_pq');
SELECT jflow_pq_recall('t_pq');
SELECT jflow_pq_info('t_pq') IS NOT NULL;
RESET ROLE;
GRANT SELECT ON t TO pq_stranger;
SET ROLE pq_stranger;
SELECT count(*) FROM (SELECT id FROM t ORDER BY e <-> '[1,2,3,4,5,6,7,8]' LIMIT 10) x;
SELECT jflow_train('stolen', 'SELECT oid FROM pg_class');
SELECT jflow_train('theirs', 'SELECT e FROM pq_ddl.t', lists => 4);
RESET ROLE;

-- codebooks: shared by indexes, refused where they do not fit, owned
SELECT jflow_train('mine', 'SELECT e FROM pq_ddl.t', 'l2', 8, 4);
CREATE INDEX t_book ON t USING pq (e vector_l2_ops) WITH (codebook = 'mine');
SELECT lists, subvectors, codebook FROM jflow_pq_info('t_book');
SELECT state('t_book');
CREATE INDEX t_bad ON t USING pq (e vector_cosine_ops) WITH (codebook = 'mine');
CREATE INDEX t_bad ON t USING pq ((e::halfvec(8)) halfvec_l2_ops) WITH (codebook = 'mine');
CREATE INDEX p_book ON p USING pq (e vector_l2_ops) WITH (codebook = 'mine');
CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1);
DROP INDEX p_book;
CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1);
SET ROLE pq_stranger;
-- names are each role's own
SELECT jflow_train('mine', 'SELECT e FROM pq_ddl.t', lists => 3);
SELECT codebook FROM jflow.codebook;
DELETE FROM jflow.codebook;
RESET ROLE;
REINDEX INDEX t_book;
SELECT lists, codebook FROM jflow_pq_info('t_book');
SELECT jflow_train('', 'SELECT e FROM pq_ddl.t');
SELECT jflow_train('x', 'SELECT e FROM pq_ddl.t', lists => -1);
SELECT jflow_train('x', 'SELECT e FROM pq_ddl.t', subvectors => 100000);
SELECT jflow_train('x', 'SELECT e, id FROM pq_ddl.t');
SELECT jflow_train('x', 'SELECT NULL::vector');
SELECT jflow_train('x', 'SELECT e FROM pq_ddl.t; DROP TABLE pq_ddl.t');
SELECT jflow_train('x', 'nonsense');
SELECT jflow_train('x', $$VALUES ('[1,2]'::vector), ('[1,2,3]')$$);
-- the name is an index's own concern: a codebook that goes does not hurt it
DELETE FROM jflow.codebook WHERE codebook IN ('mine', 'theirs', 'x');
SELECT state('t_book');
REINDEX INDEX t_book;
SELECT state('t_book');

DROP SCHEMA pq_ddl CASCADE;
DROP ROLE pq_stranger;
