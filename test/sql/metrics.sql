-- Is everything counted once, under the right labels, as OpenMetrics wants it?
CREATE ROLE jflow_metrics_owner LOGIN;
CREATE ROLE jflow_metrics_other;
GRANT CREATE ON SCHEMA public TO jflow_metrics_owner;
SET ROLE jflow_metrics_owner;
CREATE FUNCTION metrics_fail(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql
	AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE FUNCTION metrics_noop(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql
	AS $$ BEGIN RETURN docs; END $$;
SELECT jflow_create('metered');
SELECT jflow_add('metered', 'e', requests => '{"/good": "metrics_noop", "/bad \"quoted\"": "metrics_fail"}');
SELECT jflow_create('metered_here');
SELECT jflow_add('metered_here', 'e', requests => '{"/good": "metrics_noop", "/bad": "metrics_fail"}', replicas => 0);
SELECT jflow_start('metered');
SELECT jflow_wait('metered');
SELECT count(*) FROM jflow_post('/good', (SELECT array_agg(i::text) FROM generate_series(1, 250) i), 'metered');
SELECT count(*) FROM jflow_post('/bad "quoted"', ARRAY['a'], 'metered');
SELECT count(*) FROM jflow_post('/good', (SELECT array_agg(i::text) FROM generate_series(1, 250) i), 'metered_here');
SELECT count(*) FROM jflow_post('/good', ARRAY['a'], 'metered_here');
SELECT count(*) FROM jflow_post('/bad', ARRAY['a'], 'metered_here');
-- counters of one family have one type and help, and what came out is what went in
SELECT name, labels, value FROM jflow_metrics
WHERE labels->>'flow' IN ('metered', 'metered_here') AND type = 'counter' ORDER BY name, labels;
SELECT name, labels - 'le' AS labels, max(value), count(*) FROM jflow_metrics
WHERE labels->>'flow' = 'metered' AND type = 'histogram' AND labels ? 'executor' AND name NOT LIKE '%_sum'
GROUP BY 1, 2 ORDER BY 1, 2;
-- buckets are cumulative
SELECT bool_and(value >= before) AS cumulative FROM (
	SELECT value, lag(value, 1, 0) OVER (PARTITION BY name, labels - 'le' ORDER BY (labels->>'le')::float8) AS before
	FROM jflow_metrics WHERE name LIKE 'jflow%_bucket' AND labels->>'flow' = 'metered') b;
SELECT labels->>'state' AS state, value FROM jflow_metrics WHERE name = 'jflow_replicas' AND labels->>'flow' = 'metered' ORDER BY 1;
SELECT name, labels->>'kind' AS kind, value > 0 AS positive FROM jflow_metrics
WHERE labels ->> 'kind' = 'limit' ORDER BY 1;
SELECT count(DISTINCT (name, type, help)) = count(DISTINCT name) AS consistent FROM jflow_metrics;
SELECT pid, role, post, age FROM jflow_requests;
-- others see what all share, and nothing of the flow
SET ROLE jflow_metrics_other;
SELECT count(*) FROM jflow_metrics WHERE labels ? 'flow';
SELECT count(*) > 0 AS shared FROM jflow_metrics;
RESET ROLE;
SELECT jflow_drop('metered');
SELECT jflow_drop('metered_here');
DROP FUNCTION metrics_fail, metrics_noop;
REVOKE CREATE ON SCHEMA public FROM jflow_metrics_owner;
DROP ROLE jflow_metrics_owner, jflow_metrics_other;
