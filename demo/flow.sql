SELECT jflow_create('news');
SELECT jflow_add('news', 'fast_executor', replicas => 0);
SELECT jflow_add('news', 'slow_executor', uses => 'TfidfVectorizer', replicas => 0);
SELECT jflow_fit('news', 'slow_executor', 'SELECT text FROM post');
