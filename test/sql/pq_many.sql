-- Do a million copies of one vector, all in one list, harm anything?
SET client_min_messages = warning;
SET jit = off;
-- waits until nobody here has a snapshot for which VACUUM must keep what was changed before
CREATE PROCEDURE pq_many_all_see() LANGUAGE plpgsql AS $$
DECLARE
	mine int8 := pg_current_xact_id()::text::int8;
BEGIN
	WHILE EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
			AND backend_xmin::text::int8 < mine) LOOP
		PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
	END LOOP;
END $$;
CREATE TABLE pq_many (id int, kind int, v vector(8));
INSERT INTO pq_many SELECT i, i % 3, '[1,2,3,4,5,6,7,8]' FROM generate_series(1, 1000000) i;
CREATE INDEX pq_many_v ON pq_many USING pq (v vector_l2_ops, kind) WITH (lists = 30);
SET enable_seqscan = off;
SET enable_sort = off;
SELECT count(*), sum(id) FROM (SELECT id FROM pq_many ORDER BY v <-> '[1,2,3,4,5,6,7,9]' LIMIT 2000000) x;
SELECT count(*), sum(id) FROM (SELECT id FROM pq_many WHERE kind = 1 ORDER BY v <-> '[1,2,3,4,5,6,7,9]' LIMIT 2000000) x;
SELECT count(*) FROM (SELECT id FROM pq_many WHERE kind = 7 ORDER BY v <-> '[1,2,3,4,5,6,7,9]' LIMIT 1) x;
SELECT jflow_pq_check('pq_many_v');
-- most are deleted, and the room is used again
DELETE FROM pq_many WHERE id % 10 <> 0;
CALL pq_many_all_see();
VACUUM (FREEZE) pq_many;
SELECT pages AS before FROM jflow_pq_info('pq_many_v') \gset
INSERT INTO pq_many SELECT i, i % 3, '[1,2,3,4,5,6,7,8]' FROM generate_series(1000001, 1050000) i;
-- VACUUM has learned anew, beside pages that are given back later
SELECT pages - :before < 1000 AS bounded, tuples FROM jflow_pq_info('pq_many_v');
SELECT count(*), sum(id) FROM (SELECT id FROM pq_many ORDER BY v <-> '[1,2,3,4,5,6,7,9]' LIMIT 2000000) x;
DELETE FROM pq_many;
CALL pq_many_all_see();
VACUUM (FREEZE) pq_many;
SELECT count(*) FROM (SELECT id FROM pq_many ORDER BY v <-> '[1,2,3,4,5,6,7,9]' LIMIT 1) x;
SELECT jflow_pq_check('pq_many_v');
DROP TABLE pq_many;
DROP PROCEDURE pq_many_all_see;
