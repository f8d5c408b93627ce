-- Is everything that a role can hand in limited, open to a cancel, and its own memory's matter?
SET client_min_messages = warning;
CREATE ROLE jflow_large;
CREATE ROLE jflow_small;

-- sizes
SELECT jflow_create('limits', repeat('x', 65537));
SELECT jflow_create('limits', repeat('x', 65536));
SELECT jflow_add('limits', 'e', uses_with => jsonb_build_object('a', repeat('x', 16 * 1024 * 1024)), replicas => 0);
SELECT jflow_add('limits', 'e', requests => jsonb_build_object('/a', repeat('x', 1024 * 1024)), replicas => 0);
SELECT jflow_add('limits', 'e', polling => jsonb_build_object('/a', repeat('x', 1024 * 1024)), replicas => 0);
SELECT jflow_add('limits', 'e', "when" => jsonb_build_object('a', repeat('x', 1024 * 1024)), replicas => 0);
SELECT jflow_add('limits', 'e', requests => jsonb_build_object('/' || repeat('x', 63), NULL), replicas => 0);
SELECT jflow_add('limits', 'e', polling => jsonb_build_object('/' || repeat('x', 63), 'any'), replicas => 0);
SELECT jflow_add('limits', 'e', needs => (SELECT array_agg(i::text) FROM generate_series(1, 1001) i), replicas => 0);
SELECT jflow_add('limits', 'e' || i, uses_with => jsonb_build_object('a', repeat('x', 15 * 1024 * 1024)), replicas => 0) FROM generate_series(1, 5) i;
SELECT jflow_add('limits', 'e', replicas => 0);
SELECT * FROM jflow_post('/x', ARRAY['a'], 'limits', jsonb_build_object('a', repeat('x', 16 * 1024 * 1024)));
SELECT jflow_drop('limits');

-- many executors, each of which needs all before it
SELECT jflow_create('limits');
DO $$
DECLARE names text[] := '{gateway}';
BEGIN
	FOR i IN 1..1000 LOOP
		INSERT INTO jflow.executor (flow, name, "position", uses, class_owner, needs, replicas)
			VALUES ('limits', 'e' || i, i, 'BaseExecutor', '', names, 0);
		names := names || ('e' || i);
	END LOOP;
END $$;
SET statement_timeout = '20s';
SELECT length(jflow_plot('limits')) > 1000000 AS plotted;
SELECT jflow_add('limits', 'more', replicas => 0);
SELECT jflow_drop('limits');
SET statement_timeout = 0;

-- filters: lists are searched, not walked through, and a cancel ends what takes long
CREATE TABLE limits_filter AS SELECT jsonb_build_object('a', jsonb_build_object('$in', jsonb_agg(i || 'x'))) AS f FROM generate_series(1, 100000) i;
SET statement_timeout = '20s';
SELECT count(*) FILTER (WHERE m), count(*) FROM limits_filter,
	LATERAL (SELECT jflow_matches_filter(jflow_doc(tags => jsonb_build_object('a', i || 'x')), f) AS m FROM generate_series(99990, 100009) i) d;
SELECT jflow_create('limits');
SELECT jflow_add('limits', 'e', replicas => 0);
SELECT jflow_matches_filter(jflow_doc(tags => '{"a": 2}'), '{"a": {"$in": [3, "2", 1, null, true, 2.0]}}') AS number,
	jflow_matches_filter(jflow_doc(tags => '{"a": true}'), '{"a": {"$in": [3, "2", 1, null, true, 2.0]}}') AS truth,
	jflow_matches_filter(jflow_doc(tags => '{"a": false}'), '{"a": {"$in": [3, "2", 1, null, true, 2.0]}}') AS falsehood,
	jflow_matches_filter(jflow_doc(tags => '{"a": "2"}'), '{"a": {"$nin": [3, "2", 1]}}') AS nin,
	jflow_matches_filter(jflow_doc(tags => '{"a": null}'), '{"a": {"$in": [null]}}') AS nothing,
	jflow_matches_filter(jflow_doc(tags => '{"a": "2"}'), '{"a": {"$in": []}}') AS empty;
SET statement_timeout = 0;
SELECT jflow_drop('limits');
DROP TABLE limits_filter;

-- what a role defines fills nobody else's memory
SET ROLE jflow_large;
SELECT jflow_create('large' || i) FROM generate_series(1, 3) i;
SELECT jflow_add('large' || i, 'e', uses_with => jsonb_build_object('a', repeat('x', 15000000)), replicas => 0) FROM generate_series(1, 3) i;
\c -
SET client_min_messages = warning;
SET ROLE jflow_small;
SELECT count(*) FROM jflow_flows;
SELECT count(*) FROM jflow_status;
SELECT * FROM jflow_post('/x', ARRAY['a']);
SELECT * FROM jflow_post('/x', ARRAY['a'], 'larger');
SELECT jflow_is_there FROM (SELECT count(*) AS jflow_is_there FROM jflow_executors) e;
RESET ROLE;
SELECT count(*) FROM jflow_flows WHERE flow LIKE 'large_';
SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'jflow flow';

-- a flow that was dropped leaves nothing in the session
DO $$ BEGIN
	FOR i IN 1..50 LOOP
		PERFORM jflow_create('gone' || i);
		PERFORM jflow_add('gone' || i, 'e', uses_with => jsonb_build_object('a', repeat('x', 10000)), replicas => 0);
		PERFORM jflow_post('/x', ARRAY['a'], 'gone' || i);
		PERFORM jflow_drop('gone' || i);
	END LOOP;
END $$;
SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'jflow flow';
SELECT jflow_drop('large' || i) FROM generate_series(1, 3) i;
DROP ROLE jflow_large, jflow_small;
