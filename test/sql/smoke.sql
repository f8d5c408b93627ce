SELECT jflow_create('smoke');
SELECT jflow_add('smoke', 'a', replicas => 0);
SELECT text FROM jflow_post('/foo', ARRAY['hello', 'world'], flow => 'smoke');
