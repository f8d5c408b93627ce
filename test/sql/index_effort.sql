-- Does a scan of a pq or inverted index tell what it has done, to who may know it?
SET client_min_messages = warning;
CREATE ROLE jflow_effort_user;

CREATE TABLE effort AS SELECT i AS id, ARRAY[sin(i), cos(i * i), sin(i * 3)]::vector(3) AS v,
	format('{%s:1,%s:2}/50', i % 50 + 1, (i * 7 + 3) % 50 + 1)::text AS terms FROM generate_series(1, 3000) i;
ALTER TABLE effort ALTER terms TYPE sparsevec(50) USING CASE WHEN split_part(terms, ':', 1) = '{' || split_part(split_part(terms, ',', 2), ':', 1) THEN '{1:1}/50' ELSE terms END::sparsevec;
CREATE INDEX effort_pq ON effort USING pq (v vector_l2_ops) WITH (lists = 16);
CREATE INDEX effort_inverted ON effort USING inverted (terms sparsevec_ip_ops);
ANALYZE effort;
SET enable_seqscan = off;
SET enable_sort = off;

-- Run a query, and catch what its scans tell: numbers, checked against each other.
CREATE FUNCTION effort_of(query text, OUT lists int, OUT candidates int, OUT fetched int, OUT rounds int, OUT rest text) LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	lists := substring(plan FROM '(?:Lists Probed|Terms Searched): (\d+)');
	candidates := substring(plan FROM 'Candidates: (\d+)');
	fetched := substring(plan FROM 'Rows Fetched: (\d+)');
	rounds := substring(plan FROM 'Rounds: (\d+)');
	rest := substring(plan FROM 'Calibrated: true') || coalesce(substring(plan FROM 'All Entries Read'), '');
END $$;
CREATE VIEW efforts AS SELECT * FROM (VALUES
	('near', 'SELECT id FROM effort ORDER BY v <-> ''[0.5,0.5,0.5]'' LIMIT 10'),
	('terms', 'SELECT id FROM effort ORDER BY terms <#> ''{3:1,9:1}/50'' LIMIT 10')) q (name, query);
-- EXPLAIN has it where the server lets an extension add to it: since version 18
SELECT name, CASE WHEN current_setting('server_version_num')::int < 180000 THEN lists IS NULL
	ELSE lists BETWEEN 1 AND 16 AND candidates >= 10 AND fetched >= 10 AND rounds >= 1 END AS told FROM efforts, effort_of(query);

-- in every version a setting makes it a notice
SHOW jflow.explain_scans;
SET client_min_messages = notice;
\set VERBOSITY terse
SET jflow.explain_scans = on;
SELECT count(*) FROM (SELECT id FROM effort ORDER BY v <-> '[0.5,0.5,0.5]' LIMIT 10) q;
SELECT count(*) FROM (SELECT id FROM effort ORDER BY terms <#> '{3:1,9:1}/50' LIMIT 10) q;
-- a scan of which no row was asked for has nothing to tell, nor has another method's
SELECT count(*) FROM (SELECT id FROM effort ORDER BY v <-> '[0.5,0.5,0.5]' LIMIT 0) q;
SELECT count(*) FROM pg_class WHERE oid = 'effort'::regclass;
-- all rescans are one scan
SELECT sum(n) FROM (VALUES ('[1,0,0]'::vector), ('[0,1,0]')) q (v), LATERAL (SELECT count(*) AS n FROM (SELECT id FROM effort ORDER BY effort.v <-> q.v LIMIT 10) r) s;
-- the owner's function tells nobody else what it has scanned
CREATE FUNCTION effort_hidden() RETURNS int8 LANGUAGE sql SECURITY DEFINER AS
	$$SELECT count(*) FROM (SELECT id FROM effort ORDER BY v <-> '[0.5,0.5,0.5]' LIMIT 10) q$$;
SET ROLE jflow_effort_user;
SET jflow.explain_scans = on;
SELECT effort_hidden();
RESET ROLE;
SET jflow.explain_scans = off;
SELECT count(*) FROM (SELECT id FROM effort ORDER BY v <-> '[0.5,0.5,0.5]' LIMIT 10) q;

SET client_min_messages = warning;
DROP TABLE effort CASCADE;
DROP FUNCTION effort_hidden, effort_of;
DROP ROLE jflow_effort_user;
