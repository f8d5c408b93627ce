-- Does an ordered scan find each row once, whichever of its versions is the live one?
SET client_min_messages = warning;
SET enable_seqscan = off;
SET enable_sort = off;
CREATE TABLE pq_versions (id int, note text, v vector(1)) WITH (fillfactor = 50, autovacuum_enabled = off);
INSERT INTO pq_versions SELECT i, '', ARRAY[i]::vector FROM generate_series(1, 8000) i;
SELECT jflow_train('versions', 'SELECT v FROM pq_versions', 'l2');
CREATE INDEX pq_versions_v ON pq_versions USING pq (v vector_l2_ops) WITH (codebook = 'versions');
CREATE VIEW found AS SELECT count(*) AS rows, count(DISTINCT id) AS ids, max(id) FROM
	(SELECT id FROM pq_versions ORDER BY v <-> '[1]' LIMIT 100000) x;
TABLE found;
-- heap-only versions: the index leads to the first of a chain
UPDATE pq_versions SET note = 'again' WHERE id % 3 = 0;
TABLE found;
UPDATE pq_versions SET note = 'and again' WHERE id % 2 = 0;
TABLE found;
-- new vectors: entries of their own
UPDATE pq_versions SET v = ARRAY[id + 0.25]::vector WHERE id % 5 = 0;
TABLE found;
VACUUM (FREEZE) pq_versions;
TABLE found;
UPDATE pq_versions SET note = 'after vacuum', v = ARRAY[id]::vector WHERE id % 5 < 2;
TABLE found;
SELECT jflow_pq_check('pq_versions_v');
-- an index with a codebook is calibrated on its own table
SELECT codebook, dims, calibration IS NOT NULL AS calibrated FROM jflow_pq_info('pq_versions_v');
DROP VIEW found;
DROP TABLE pq_versions;
