-- What is asked of the objects of objects.sql: every release gives the same answers.
SET client_min_messages = error;
SET search_path = kept, public;
SET jflow.pq_recall = 1;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET TimeZone = 'UTC';
SET ROLE keeper;

-- no index has been made anew
SELECT c.oid::regclass, a.amname, pg_relation_filenode(c.oid), x.indisvalid FROM pg_class c JOIN pg_index x ON x.indexrelid = c.oid
	JOIN pg_am a ON a.oid = c.relam WHERE a.amname IN ('pq', 'inverted') ORDER BY 1::text;
SELECT indexrelid::regclass, CASE WHEN amname = 'pq' THEN jflow_pq_check(indexrelid) ELSE jflow_inverted_check(indexrelid) END
	FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = c.relam
	WHERE amname IN ('pq', 'inverted') AND c.relkind = 'i' ORDER BY 1::text;
SELECT indexrelid::regclass, version, type, metric, dims, lists, codebook FROM pg_index, jflow_pq_info(indexrelid)
	WHERE indexrelid IN (SELECT c.oid FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE amname = 'pq' AND relkind = 'i') ORDER BY 1::text;

-- the nearest rows by each operator, and with each filter column
SELECT format('SELECT %L, ARRAY(SELECT id FROM item WHERE %s ORDER BY %I %s %L LIMIT 6)', o || f, f, c, o,
	CASE c WHEN 's' THEN terms(77)::text ELSE point(77.7, 6)::vector::text END)
	FROM (VALUES ('v', '<->'), ('v', '<#>'), ('v', '<=>'), ('v', '<+>'), ('h', '<->'), ('h', '<#>'), ('h', '<=>'), ('h', '<+>'),
		('s', '<->'), ('s', '<#>'), ('s', '<=>'), ('s', '<+>')) op(c, o), (VALUES ('i4 > 10')) filter(f)
	UNION ALL
	SELECT format('SELECT %L, ARRAY(SELECT id FROM item WHERE %s ORDER BY %s LIMIT 4)', f || k, f, k)
	FROM (VALUES ('i2 = 3'), ('i4 < 50'), ('i8 > 100000000000'), ('f4 <= 9'), ('f8 BETWEEN 3 AND 20'), ('b'), ('c IN (''a'', ''d'')'),
		('n < 11.5'), ('o = ANY (''{5,50,150}'')'), ('d > ''2020-06-01'''), ('t < ''00:01'''), ('ts < ''2020-01-05'''),
		('tz >= ''2020-01-05 00:00+00'''), ('tx = ''text 5'''), ('vc = ''vc 6'''), ('bc = ''c1'''), ('by = decode(md5(''9''), ''hex'')'),
		('u = md5(''10'')::uuid'), ('e = ''calm''')) filter(f),
		(VALUES ('v <-> ''[1,-1,1,0,0.5,1]'''), ('s <#> ''' || (SELECT s::text FROM item WHERE id = 13) || '''')) k(k)
\gexec
SELECT ARRAY(SELECT id FROM many ORDER BY v <-> '[1,0,1,0.5]' LIMIT 12), ARRAY(SELECT id FROM many_high ORDER BY v <=> '[1,0,1,0.5]' LIMIT 12);
SELECT count(*) FROM (SELECT FROM fleeting ORDER BY v <-> '[1,0,1,0.5]') x;

-- what flows are, what they answer, what they have stored
SELECT jflow_save(flow) FROM jflow_flows ORDER BY flow;
SELECT flow, owner, description FROM jflow_flows ORDER BY 1;
SELECT * FROM jflow_grants ORDER BY 1, 2;
SELECT class, owner, requests FROM jflow_classes WHERE NOT builtin ORDER BY 1;
SELECT executor, count(*), md5(string_agg(t::text, ',' ORDER BY index)) FROM (VALUES ('lexical', 'encoder'), ('ranked', 'encoder'), ('notes', 'encoder')) e(flow, executor),
	jflow_terms(flow, executor) t GROUP BY flow, executor ORDER BY 1, 2;
SELECT id, text FROM jflow_post('/shout', ARRAY[jflow_doc(id => '1', text => 'one', tags => '{"lang": "en"}'),
	jflow_doc(id => '2', text => 'two', tags => '{"lang": "de"}')], 'own');
SELECT sparse_embedding FROM jflow_post('/x', ARRAY[jflow_doc(id => 'x', text => 'word3 about filler1')], 'lexical');
SELECT id, round(score::numeric, 4), text FROM jflow_search('word3 number', 5, 'lexical');
SELECT id, round(score::numeric, 4), tags FROM jflow_search('word3 number', 5, 'lexical', '{"lang": "de"}');
SELECT id, round(score::numeric, 4) FROM jflow_search('word5 filler2', 5, 'ranked', parameters => '{"group_by": "parent_id"}');
SELECT m.id, round(m.score::numeric, 4), m.tags FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[1,0,1,0.5]')], 'dense',
	parameters => '{"limit": 6, "filter": {"price": {"$lt": 150}}}') d, unnest(d.matches) m;
SELECT m.id, round(m.score::numeric, 4), m.text FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[1,0,1,0.5]')], 'existing',
	parameters => '{"limit": 6}') d, unnest(d.matches) m;
SELECT relation, count(*), sum(rows) FROM (SELECT c.oid::regclass::text AS relation, (xpath('//n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s',
	c.oid::regclass), false, true, '')))[1]::text::int8 AS rows FROM pg_class c WHERE relnamespace = 'jflow_data_keeper'::regnamespace AND relkind IN ('r', 'p')) x
	GROUP BY relation ORDER BY 1;
SELECT id, round(score::numeric, 4), text FROM jflow_search('word3', 4, 'notes');
SELECT id, round(score::numeric, 4) FROM jflow_search('word3', 4, 'memos');
SELECT name, flow, source, mode, state = 'stopped' AS stopped, CASE mode WHEN 'manual' THEN pending END, failed FROM jflow_sync_status ORDER BY 1;
SELECT name, id, sqlstate, message FROM jflow_sync_errors ORDER BY 1;
