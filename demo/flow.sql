SELECT jflow_create('newsgroups');
SELECT jflow_add('newsgroups', 'fast_executor');
SELECT jflow_add('newsgroups', 'slow_executor', uses => 'TfidfVectorizer', replicas => 1);
SELECT jflow_fit('newsgroups', 'slow_executor', 'SELECT text FROM article');
SELECT jflow_start('newsgroups');
