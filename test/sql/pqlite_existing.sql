-- Can a table that exists be the store?
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE SCHEMA shop;
CREATE TABLE shop.products (sku int PRIMARY KEY, title varchar(20) NOT NULL, price numeric(8,2), stock int2, added date DEFAULT '2024-01-01', embedding halfvec(3), secret point);
INSERT INTO shop.products (sku, title, price, stock, embedding)
	SELECT i, 'product ' || i, i * 1.5, i % 7, format('[%s,1,0]', i)::halfvec FROM generate_series(1, 20) i;
INSERT INTO shop.products (sku, title) VALUES (100, 'no embedding');
SELECT jflow_create('shop');
SELECT jflow_add('shop', 'catalog', uses => 'PQLiteIndexer', replicas => 0,
	uses_with => '{"table": "shop.products", "id": "sku", "field": "embedding", "text": "title", "metric": "l2"}');
SELECT m.* FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[4,1,0]')], 'shop', parameters => '{"limit": 2}') d, unnest(d.matches) m;
SELECT m.id FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[4,1,0]')], 'shop', parameters => '{"limit": 3, "filter": {"price": {"$gt": 9.75}, "stock": {"$in": [0, 1, 2]}, "added": {"$lt": "2024-02-01"}, "text": {"$regex": "^prod"}}}') d, unnest(d.matches) m;
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[4,1,0]')], 'shop', parameters => '{"filter": {"prize": 1}}');
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[4,1,0]')], 'shop', parameters => '{"filter": {"added": {"$lt": "soon"}}}');
SELECT id, text FROM jflow_post('/index', ARRAY[jflow_doc(id => '4', text => 'replaced', embedding => '[4,1,0]', tags => '{"price": 1, "stock": 9}'), jflow_doc(id => '50', text => 'new', embedding => '[50,1,0]')], 'shop');
SELECT * FROM shop.products WHERE sku IN (4, 50) ORDER BY sku;
SELECT id FROM jflow_post('/update', ARRAY[jflow_doc(id => '50', tags => '{"price": 2.5}'), jflow_doc(id => '51', text => 'x')], 'shop');
SELECT id, text, embedding, tags FROM jflow_post('/fetch', ARRAY[jflow_doc(id => '50'), jflow_doc(id => '100')], 'shop');
SELECT id FROM jflow_post('/delete', ARRAY[jflow_doc(id => '50'), jflow_doc(id => '51')], 'shop');
SELECT id FROM jflow_post('/filter', NULL::jflow_doc[], 'shop', parameters => '{"filter": {"id": {"$in": ["1", "100"]}}}');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'x', text => 't', embedding => '[1,1,0]')], 'shop');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => '7', text => 't', embedding => '[1,1,0]', tags => '{"colour": 1}')], 'shop');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => '7', embedding => '[1,1,0]')], 'shop');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => '7', text => 'far too long for this column', embedding => '[1,1,0]')], 'shop');
SELECT jflow_post('/index', ARRAY[jflow_doc(id => '7', text => 't', embedding => '[1,1,0,1]')], 'shop');
SELECT jflow_scale('shop', 'catalog', shards => 2);

-- which ids are one and the same is for their type to say
SELECT id FROM jflow_post('/index', ARRAY[jflow_doc(id => '60', text => 'first', embedding => '[4,1,0]'), jflow_doc(id => '060', text => 'second', embedding => '[4,1,0]'),
	jflow_doc(id => ' 60', text => 'last', embedding => '[4,1,0]')], 'shop');
SELECT sku, title FROM shop.products WHERE sku = 60;
ALTER TABLE shop.products DROP CONSTRAINT products_pkey;
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => '61', text => 'first', embedding => '[4,1,0]'), jflow_doc(id => '061', text => 'last', embedding => '[4,1,0]')], 'shop');
SELECT sku, title FROM shop.products WHERE sku = 61;
SELECT id FROM jflow_post('/update', ARRAY[jflow_doc(id => '061', text => 'one'), jflow_doc(id => '61', text => 'two')], 'shop');
SELECT sku, title FROM shop.products WHERE sku = 61;
SELECT id FROM jflow_post('/delete', ARRAY[jflow_doc(id => '061'), jflow_doc(id => '61'), jflow_doc(id => '60')], 'shop');
ALTER TABLE shop.products ADD PRIMARY KEY (sku);

-- two flows cannot store into it
SELECT jflow_create('shop2');
SELECT jflow_add('shop2', 'catalog', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"table": "shop.products", "id": "sku", "field": "embedding"}');
SELECT jflow_post('/delete', ARRAY[jflow_doc(id => '7')], 'shop2');
SELECT jflow_drop('shop2');

-- what cannot be a store
CREATE VIEW shop.v AS SELECT * FROM shop.products;
CREATE TABLE shop.hashed (id int, e vector(2)) PARTITION BY HASH (id);
SELECT jflow_create('wrong');
SELECT jflow_add('wrong', e, uses => 'PQLiteIndexer', replicas => 0, shards => CASE e WHEN 'e4' THEN 2 ELSE 1 END, uses_with => w) FROM (VALUES
	('e1', '{"table": "shop.none", "id": "sku", "field": "embedding"}'::jsonb), ('e2', '{"table": "shop.v", "id": "sku", "field": "embedding"}'),
	('e3', '{"table": "shop.products", "id": "nr", "field": "embedding"}'), ('e4', '{"table": "shop.hashed", "id": "id", "field": "e"}'),
	('e5', '{"table": "shop.products", "id": "sku", "field": "title"}'), ('e6', '{"table": "shop.products", "id": "sku", "field": "embedding", "text": "price"}'),
	('e7', '{"table": "shop.products", "id": "sku", "field": "embedding", "dim": 4}')) x(e, w);
SELECT jflow_add('wrong', 'e8', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"table": "shop.products", "id": "sku", "field": "embedding", "columns": {"secret": "point"}}');
SELECT jflow_post('/fetch', ARRAY['x'], 'wrong', target_executor => 'e1');
SELECT jflow_post('/fetch', ARRAY['x'], 'wrong', target_executor => 'e2');
SELECT jflow_post('/fetch', ARRAY['x'], 'wrong', target_executor => 'e3');
SELECT jflow_post('/fetch', ARRAY['x'], 'wrong', target_executor => 'e4');
SELECT jflow_post('/fetch', ARRAY['x'], 'wrong', target_executor => 'e5');
SELECT jflow_post('/fetch', ARRAY['x'], 'wrong', target_executor => 'e6');
SELECT jflow_post('/fetch', ARRAY['x'], 'wrong', target_executor => 'e7');

-- partitioned by list: the key decides where a row goes
CREATE TABLE shop.items (id text, region text NOT NULL, name text, meta jsonb, e vector(2)) PARTITION BY LIST (region);
CREATE TABLE shop.items_eu PARTITION OF shop.items FOR VALUES IN ('de', 'fr');
CREATE TABLE shop.items_us PARTITION OF shop.items FOR VALUES IN ('us');
SELECT jflow_create('items');
SELECT jflow_add('items', 'i', uses => 'PQLiteIndexer', replicas => 0, shards => 2,
	uses_with => '{"table": "shop.items", "id": "id", "field": "e", "text": "name", "tags": "meta", "columns": {"region": "text"}}');
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', text => 'A', embedding => '[1,2]', tags => '{"region": "de", "x": 1}'), jflow_doc(id => 'b', text => 'B', embedding => '[2,1]', tags => '{"region": "us"}')], 'items');
SELECT tableoid::regclass, * FROM shop.items ORDER BY id;
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => 'a', text => 'AA', embedding => '[1,2]', tags => '{"region": "us"}')], 'items');
SELECT tableoid::regclass, * FROM shop.items ORDER BY id;
SELECT m.id, m.tags FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,2]')], 'items') d, unnest(d.matches) m;
SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'c', text => 'C', embedding => '[1,2]', tags => '{"region": "cn"}')], 'items');
SELECT jflow_scale('items', 'i', shards => 3);
CREATE TABLE shop.items_cn PARTITION OF shop.items FOR VALUES IN ('cn');
SELECT jflow_post('/search', ARRAY[jflow_doc(embedding => '[1,2]')], 'items');

-- nothing is dropped with the flow
SELECT jflow_drop(flow, drop_data => true) FROM jflow_flows ORDER BY flow;
SELECT count(*) FROM shop.products;
SELECT count(*) FROM shop.items;
SELECT count(*) FROM jflow.shard;
DROP SCHEMA shop CASCADE;
