-- Does the filter language mean what it says?
CREATE TABLE filtered (n serial, doc jflow_doc);
INSERT INTO filtered (doc) VALUES
	(jflow_doc(id => '1', text => 'apple pie', weight => 0.5, tags => '{"price": 10, "brand": "x", "color": {"main": "red"}, "ok": true}')),
	(jflow_doc(id => '2', text => 'Banana', tags => '{"price": 50.0, "brand": "y", "color": {"main": "blue"}, "ok": false}')),
	(jflow_doc(id => '3', granularity => 1::int2, tags => '{"price": "10", "brand": null}')),
	(jflow_doc(id => '4'));
CREATE FUNCTION found(filter jsonb) RETURNS text LANGUAGE sql AS
	'SELECT string_agg(n::text, '','' ORDER BY n) FROM filtered WHERE jflow_matches_filter(doc, filter)';
SELECT f, found(f) FROM (VALUES
	('{}'::jsonb), ('{"price": 10}'), ('{"price": {"$eq": 10.0}}'), ('{"price": "10"}'), ('{"price": {"$ne": 10}}'),
	('{"price": {"$gt": 10}}'), ('{"price": {"$gte": 10, "$lt": 50}}'), ('{"price": {"$lte": 50}}'),
	('{"brand": {"$in": ["x", "z"]}}'), ('{"brand": {"$nin": ["x", "z"]}}'), ('{"brand": {"$in": []}}'),
	('{"brand": null}'), ('{"brand": {"$ne": null}}'), ('{"brand": {"$exists": true}}'), ('{"brand": {"$exists": false}}'),
	('{"ok": true}'), ('{"ok": {"$ne": true}}'), ('{"tags.color.main": "red"}'), ('{"tags__color__main": "blue"}'),
	('{"color.main": "red"}'), ('{"tags.color": {"$exists": true}}'), ('{"tags": {"$exists": false}}'),
	('{"id": {"$gt": "2"}}'), ('{"text": {"$regex": "^a.*e$"}}'), ('{"text": {"$regex": "(?i)^b"}}'),
	('{"weight": 0.5}'), ('{"granularity": {"$gte": 1}}'),
	('{"$or": [{"brand": "x"}, {"id": "4"}]}'), ('{"$and": [{"brand": "x"}, {"price": {"$lt": 11}}]}'),
	('{"$not": {"brand": "x"}}'), ('{"price": {"$not": {"$gt": 10}}}'), ('{"brand": "x", "price": {"$gt": 10}}'),
	('{"$or": {"brand": "x", "id": "4"}}'), ('{"$and": {"brand": "x", "price": {"$lt": 11}}}'),
	('{"$or": {"$and": {"id": "1", "brand": "x"}, "$not": {"id": {"$in": ["1", "2", "3"]}}}}'),
	('{"$not": {"$or": {"brand": "x", "price": {"$gt": 10}}}}'), ('{"$or": {"price": {"$gte": 10, "$lt": 11}, "id": "4"}}'),
	('{"price": {"$gt": "1"}}'), ('{"$or": [{"$and": [{"id": "1"}, {"$not": {"id": "2"}}]}, {"id": {"$in": ["3", 4]}}]}')
) v(f);

-- wrong
SELECT found('[]');
SELECT found('{"a": {"$foo": 1}}');
SELECT found('{"a": {"$gtt": 1}}');
SELECT found('{"$gt": 1}');
SELECT found('{"$or": {}}');
SELECT found('{"$or": []}');
SELECT found('{"$and": [1]}');
SELECT found('{"$and": {}}');
SELECT found('{"$or": 1}');
SELECT found('{"$or": {"$gt": 1}}');
SELECT found('{"$not": []}');
SELECT found('{"a": {}}');
SELECT found('{"a": {"$in": 1}}');
SELECT found('{"a": {"$in": [[1]]}}');
SELECT found('{"a": {"$exists": 1}}');
SELECT found('{"a": {"$gt": true}}');
SELECT found('{"a": {"$eq": {}}}');
SELECT found('{"a": [1]}');
SELECT found('{"a": {"$regex": "("}}');
SELECT found('{"a": {"$regex": 1}}');
SELECT found('{"a": {"$or": []}}');
SELECT found('{"embedding": 1}');
-- deep ones end with an error
SELECT found((repeat('{"$not": ', 6000) || '{"a": 1}' || repeat('}', 6000))::jsonb) IS NOT NULL;
SELECT found((repeat('{"$or": ', 6000) || '{"a": 1}' || repeat('}', 6000))::jsonb) IS NOT NULL;
DROP TABLE filtered;
DROP FUNCTION found;
