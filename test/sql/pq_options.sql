-- Are options, definitions and settings checked?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_options;
SET search_path = pq_options, public;
CREATE TABLE items (id int, embedding vector(8), h halfvec(8), s sparsevec(8), anything vector, price int, name text, tags jsonb);
INSERT INTO items SELECT i, v, v::halfvec, v::sparsevec, v, i, i FROM (
	SELECT i, (SELECT array_agg((i * 37 + j * j * 13) % 101) FROM generate_series(1, 8) j)::vector AS v FROM generate_series(1, 300) i) t;

-- values out of range
CREATE INDEX ON items USING pq (embedding vector_l2_ops) WITH (lists = -1);
CREATE INDEX ON items USING pq (embedding vector_l2_ops) WITH (lists = 1000000);
CREATE INDEX ON items USING pq (embedding vector_l2_ops) WITH (lists = many);
CREATE INDEX ON items USING pq (embedding vector_l2_ops) WITH (subvectors = -1);
CREATE INDEX ON items USING pq (embedding vector_l2_ops) WITH (subvectors = 100000);
CREATE INDEX ON items USING pq (embedding vector_l2_ops) WITH (bits = 8);
CREATE INDEX ON items USING pq (embedding vector_l2_ops) WITH (codebook = 'no such');
DROP INDEX items_embedding_idx;
CREATE INDEX ON items USING pq (embedding vector_l2_ops) WITH (nonsense = 1);

-- definitions that make no sense
CREATE INDEX ON items USING pq (anything vector_l2_ops);
CREATE INDEX ON items USING pq (embedding);
CREATE INDEX ON items USING pq (price);
CREATE INDEX ON items USING pq (price, embedding vector_l2_ops);
CREATE INDEX ON items USING pq (embedding vector_l2_ops, h halfvec_l2_ops);
CREATE INDEX ON items USING pq (embedding vector_l2_ops, tags);
CREATE INDEX ON items USING pq (embedding halfvec_l2_ops);
CREATE UNIQUE INDEX ON items USING pq (embedding vector_l2_ops);
CREATE INDEX ON items USING pq (embedding vector_l2_ops) INCLUDE (price);
\set VERBOSITY sqlstate
CREATE INDEX ON items USING pq (embedding vector_l2_ops DESC);
CREATE INDEX ON items USING pq (embedding vector_l2_ops NULLS FIRST);
\set VERBOSITY default
ALTER TABLE items ADD EXCLUDE USING pq (embedding vector_l2_ops WITH <->);

-- an expression gives a column its dimensions
CREATE INDEX items_cast ON items USING pq ((anything::vector(8)) vector_l2_ops);
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY anything::vector(8) <-> '[1,2,3,4,5,6,7,8]' LIMIT 3;
SELECT count(*) FROM (SELECT id FROM items ORDER BY anything::vector(8) <-> '[1,2,3,4,5,6,7,8]' LIMIT 1000) t;
INSERT INTO items (id, anything) VALUES (301, '[1,2,3]');
DROP INDEX items_cast;

-- a partial index serves queries that imply its predicate
CREATE INDEX items_part ON items USING pq (embedding vector_l2_ops) WHERE price > 200;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE price > 200 ORDER BY embedding <-> '[1,2,3,4,5,6,7,8]' LIMIT 3;
SELECT count(*), min(price) FROM (SELECT price FROM items WHERE price > 200 ORDER BY embedding <-> '[1,2,3,4,5,6,7,8]' LIMIT 1000) t;
DROP INDEX items_part;

-- options that are honoured, kept, and changed by ALTER INDEX and REINDEX
CREATE INDEX items_pq ON items USING pq (embedding vector_l2_ops) WITH (lists = 7, subvectors = 2, bits = 4);
SELECT lists, subvectors, version FROM jflow_pq_info('items_pq');
SELECT reloptions FROM pg_class WHERE relname = 'items_pq';
ALTER INDEX items_pq SET (lists = 3, subvectors = 4);
SELECT lists, subvectors FROM jflow_pq_info('items_pq');
SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <-> '[1,2,3,4,5,6,7,8]' LIMIT 1000) t;
REINDEX INDEX items_pq;
SELECT lists, subvectors FROM jflow_pq_info('items_pq');
ALTER INDEX items_pq RESET (lists, subvectors);
ALTER INDEX items_pq SET (lists = 100000000);
ALTER INDEX items_pq SET (bits = 3);
REINDEX INDEX items_pq;
SELECT lists > 0 AS chosen, subvectors > 0 AS chosen FROM jflow_pq_info('items_pq');

-- queries that do not fit
SELECT id FROM items ORDER BY embedding <-> '[1,2,3]' LIMIT 1;
SELECT id FROM items ORDER BY embedding <-> '[1,2,3,4,5,6,7,NaN]' LIMIT 1;
SELECT id FROM items ORDER BY embedding <-> '[1,2,3,4,5,6,7,Infinity]' LIMIT 1;
SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <-> NULL LIMIT 1000) t;
RESET enable_seqscan;

-- bounds of the settings
SHOW jflow.pq_probes;
SHOW jflow.pq_recall;
SHOW jflow.pq_refine;
SHOW jflow.pq_iterative_scan;
SET jflow.pq_probes = -1;
SET jflow.pq_probes = 1000000;
SET jflow.pq_recall = 1.5;
SET jflow.pq_recall = -0.1;
SET jflow.pq_refine = -1;
SET jflow.pq_iterative_scan = sideways;

-- every setting within its bounds gives an answer
SET enable_seqscan = off;
DO $$
DECLARE
	n int;
	probes int;
	goal float8;
	refine int;
	mode text;
BEGIN
	FOREACH probes IN ARRAY '{0,1,2,65536}'::int[] LOOP
		FOREACH goal IN ARRAY '{0,0.5,0.99,1}'::float8[] LOOP
			FOREACH refine IN ARRAY '{0,1,1000}'::int[] LOOP
				FOREACH mode IN ARRAY '{off,strict,relaxed}'::text[] LOOP
					PERFORM set_config('jflow.pq_probes', probes::text, true), set_config('jflow.pq_recall', goal::text, true),
						set_config('jflow.pq_refine', refine::text, true), set_config('jflow.pq_iterative_scan', mode, true);
					SELECT count(*) INTO n FROM (SELECT id FROM items ORDER BY embedding <-> '[1,2,3,4,5,6,7,8]' LIMIT 10) t;
					IF n <> 10 AND mode = 'relaxed' OR n > 10 THEN
						RAISE WARNING 'probes %, recall %, refine %, mode %: % rows', probes, goal, refine, mode, n;
					END IF;
				END LOOP;
			END LOOP;
		END LOOP;
	END LOOP;
END $$;
DROP SCHEMA pq_options CASCADE;
