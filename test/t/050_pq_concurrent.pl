# Are pq indexes right that were built and rebuilt concurrently while others
# write, vacuum and search?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nmax_parallel_workers_per_gather = 0\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION v(i int) RETURNS vector LANGUAGE sql IMMUTABLE AS
		'SELECT array_agg(sin(i * j * 0.37 + j) + cos(i * 0.11 * j))::vector FROM generate_series(1, 16) j';
	CREATE TABLE items (id serial PRIMARY KEY, kind int, v vector(16));
	INSERT INTO items (kind, v) SELECT i % 10, v(i) FROM generate_series(1, 3000) i;
});

my $insert = $node->basedir . '/insert.sql';
append_to_file($insert, q{
	\set i random(1, 1000000)
	INSERT INTO items (kind, v) SELECT :i % 10, v(:i + n) FROM generate_series(1, 5) n;
	UPDATE items SET v = v(:i + 7), kind = kind + 1 WHERE id = :i % 3000 + 1;
	UPDATE items SET kind = kind + 1 WHERE id = (:i + 5) % 3000 + 1;
	DELETE FROM items WHERE id = (:i + 3) % 3000 + 1;
});
my $search = $node->basedir . '/search.sql';
append_to_file($search, q{
	\set i random(1, 1000000)
	SET enable_seqscan = off;
	SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> v(:i) LIMIT 10) x;
});

my ($out, $err) = ('', '');
my $load = IPC::Run::start(
	[
		'pgbench', '-n', '-c', '3', '-T', '600', '-f', "$insert\@2", '-f', "$search\@1",
		'-h', $node->host, '-p', $node->port, 'postgres' ],
	'>', \$out, '2>', \$err);
$node->poll_query_until('postgres', 'SELECT count(*) > 3200 FROM items') or die 'no load';

# rows that the index has, against those that the table has, in one snapshot
sub whole
{
	my ($index, $what) = @_;
	my $order = $index eq 'items_h' ? q{(v::halfvec(16)) <=> '[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]'} : 'v <-> v(7)';
	my $answer = $node->safe_psql(
		'postgres', qq{
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		CREATE TEMP TABLE every AS SELECT id FROM items;
		SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;
		CREATE TEMP TABLE found AS SELECT id FROM items ORDER BY $order LIMIT 10000000;
		SELECT count(*) - count(DISTINCT id), (SELECT count(*) FROM every WHERE id NOT IN (SELECT id FROM found)),
			(SELECT count(*) FROM found WHERE id NOT IN (SELECT id FROM every)) FROM found;
		COMMIT});
	is($answer, '0|0|0', "$what: every row once");
	ok($node->safe_psql('postgres', "SELECT jflow_pq_check('$index')") > 3000, "$what: the index is sound");
}

$node->safe_psql('postgres', 'CREATE INDEX CONCURRENTLY items_v ON items USING pq (v vector_l2_ops, kind)');
whole('items_v', 'created concurrently');
$node->safe_psql('postgres', 'VACUUM (FREEZE) items');
$node->safe_psql('postgres', 'CREATE INDEX CONCURRENTLY items_h ON items USING pq ((v::halfvec(16)) halfvec_cosine_ops)');
whole('items_h', 'created concurrently beside another');
for my $round (1 .. 2)
{
	$node->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY items_v');
	$node->safe_psql('postgres', 'VACUUM (FREEZE) items');
	whole('items_v', "rebuilt concurrently, round $round");
}
$node->safe_psql('postgres', 'REINDEX TABLE CONCURRENTLY items');
whole('items_h', 'all rebuilt concurrently');
$node->safe_psql('postgres', 'ANALYZE items; VACUUM (PARALLEL 2) items');
whole('items_v', 'vacuumed with workers');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_index WHERE NOT indisvalid}), '0', 'no invalid index is left');

ok($load->pumpable, 'the load ran to the end');
$load->signal('TERM');
$load->finish;
unlike($err, qr/ERROR|FATAL|PANIC/, 'and no statement of it failed');

# The filter column agrees with the table when all is quiet: no backend of the load
# ends its last statement, or learns, and VACUUM neither leaves the few dead rows
# that are not worth a scan of the indexes nor passes over a page that is pinned.
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid()})
  or die 'the load does not end';
$node->safe_psql('postgres', 'VACUUM (FREEZE, INDEX_CLEANUP on) items');
is( $node->safe_psql(
		'postgres', q{SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;
	SELECT string_agg((SELECT count(*) FROM (SELECT id FROM items WHERE kind = k ORDER BY v <-> v(7) LIMIT 1000000) x)::text, ',') FROM generate_series(0, 12) k}),
	$node->safe_psql('postgres', q{SELECT string_agg((SELECT count(*) FROM items WHERE kind = k)::text, ',') FROM generate_series(0, 12) k}),
	'filters keep the rows that they should');
is($node->safe_psql('postgres', q{SELECT jflow_pq_check('items_v') = count(*) FROM items}), 't', 'VACUUM removed all dead entries');
$node->stop;
done_testing();
