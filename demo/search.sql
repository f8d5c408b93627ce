-- The search flow: a tokenizer, and an indexer whose documents are in two shards.
SELECT jflow_create('search');
SELECT jflow_add('search', 'fast_executor', replicas => 0);
SELECT jflow_add('search', 'slow_executor', uses => 'TfidfVectorizer', replicas => 0,
	uses_with => '{"max_features": 5215}');
SELECT terms AS dim FROM jflow_fit('search', 'slow_executor', 'SELECT text FROM article') \gset
SELECT jflow_add('search', 'pqlite_executor', uses => 'jinahub://PQLiteIndexer', replicas => 0, shards => 2,
	uses_with => jsonb_build_object('dim', :dim, 'metric', 'cosine', 'columns', '{"label": "text"}'::jsonb),
	workspace => 'workspace',
	polling => '{"/index": "ANY", "/search": "ALL", "*": "ALL"}');
