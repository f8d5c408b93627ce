SELECT jflow_create('news');
SELECT jflow_add('news', 'fast_executor');
SELECT jflow_add('news', 'slow_executor', uses => 'TfidfVectorizer', replicas => 1);
SELECT jflow_fit('news', 'slow_executor', 'SELECT text FROM post');
SELECT jflow_start('news');
