-- Which polling holds for an endpoint: does every rule come before the next?
SET client_min_messages = warning;
CREATE FUNCTION name_shard(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
LANGUAGE sql AS $$ SELECT array_agg(jflow_doc(id => d.id || '/' || (jflow_context()).shard, text => (jflow_context()).shard::text)) FROM unnest(docs) d $$;
SELECT jflow_define('Polled', '{"*": "name_shard"}');
UPDATE jflow.class SET polling = '{"/update": "all", "/index": "all", "/search": "any", "/own": "all"}' WHERE class = 'Polled';

-- eight documents: to each of three shards, to one, or to several by their ids
CREATE FUNCTION polling_of(polling jsonb, endpoint text, uses text DEFAULT 'Polled') RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
	PERFORM jflow_drop('p', if_exists => true);
	PERFORM jflow_create('p');
	PERFORM jflow_add('p', 'e', uses => polling_of.uses, shards => 3, polling => polling_of.polling, replicas => 0);
	SELECT CASE WHEN count(*) = 24 THEN 'all' WHEN count(DISTINCT text) = 1 THEN 'any' ELSE 'hash' END INTO r
	FROM jflow_post(endpoint, (SELECT array_agg(jflow_doc(id => i::text)) FROM generate_series(1, 8) i), 'p');
	RETURN r;
END $$;
SELECT p AS polling, polling_of(p, '/index') AS "/index", polling_of(p, '/search') AS "/search", polling_of(p, '/update') AS "/update",
	polling_of(p, '/own') AS "/own", polling_of(p, '/other') AS "/other", polling_of(p, '/other', 'name_shard') AS "/other, no class"
FROM (VALUES (NULL::jsonb), ('"any"'), ('"ALL"'), ('"Hash"'), ('{"*": "all"}'), ('{"*": "HASH"}'), ('{"/x": "all"}'), ('{}'),
	('{"/index": "all", "/search": "any", "/update": "any", "/own": "hash", "/other": "hash", "*": "all"}')) v(p);
SELECT jflow_drop('p'), jflow_undefine('Polled');
DROP FUNCTION polling_of, name_shard;
