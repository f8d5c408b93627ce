# Do rows move between shards while replicas serve posts, whatever is killed, with
# none lost, doubled or missed by a search?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 8000;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'jflow'
max_worker_processes = 20
jflow.restart_delay_max = 1s
});
$node->start;
$node->safe_psql('postgres', qq{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE ROLE owner LOGIN;
	GRANT CREATE ON DATABASE postgres TO owner;
	SET ROLE owner;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'store', uses => 'PQLiteIndexer', shards => 1, replicas => 1, uses_with => '{"dim": 1, "metric": "l2"}');
	SELECT jflow_start('f');
});

sub sql { return $node->safe_psql('postgres', "SET client_min_messages = error; SET ROLE owner; $_[0]"); }
sub settled { return $node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM jflow.shard WHERE state <> 'live'}); }

# nothing but the documents, each once, and each where its shard is
sub whole
{
	my ($shards, $what) = @_;
	is(sql("SELECT count(*), count(DISTINCT id), count(DISTINCT tableoid) FROM jflow_data_owner.f_store"),
		"$rows|$rows|$shards", "$what: each document is there once, in $shards leaves");
	is(sql(qq{SELECT count(*), count(DISTINCT m.id) FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[1]')], 'f',
		'{"limit": 100000}') d, unnest(d.matches) m}), "$rows|$rows", "$what: a search finds each once");
}

is(sql("SELECT jflow_wait('f')"), 't', 'the flow runs');
sql(qq{SELECT docs FROM jflow_post_query('/index',
	'SELECT i::text AS id, ARRAY[i]::vector AS embedding FROM generate_series(1, $rows) i', 'f')});
whole(1, 'before');

# under searches and writes, with movers terminated now and then
my $search = qq{SET client_min_messages = error;
SELECT 1 / (count(DISTINCT m.id) = $rows AND count(*) = $rows)::int FROM jflow_post('/search',
	ARRAY[jflow_doc(embedding => '[1]')], 'f', '{"limit": 100000}') d, unnest(d.matches) m;
};
my $write = qq{\\set a random(1, $rows)
SET client_min_messages = error;
SELECT count(*) FROM jflow_post('/index', ARRAY[jflow_doc(id => :a::text, embedding => ARRAY[:a]::vector)], 'f');
};
for my $shards (3, 2)
{
	is(sql("SELECT jflow_scale('f', 'store', shards => $shards)"), $shards, "scaled to $shards shards at once");
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jflow mover'});
	sql("SELECT jflow_wait('f')");
	$node->pgbench('--no-vacuum --client=3 --transactions=15', 0, [qr{processed: 45/45}], [qr{^$}],
		"searches during the move to $shards shards are whole, and writes succeed",
		{ "013_search_$shards" => $search, "013_write_$shards" => $write });
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jflow mover'});
	ok(settled(), "all rows arrive in $shards shards");
	whole($shards, "after $shards shards");
}

# a crash of the whole server in the middle
sql("SELECT jflow_scale('f', 'store', shards => 4)");
$node->stop('immediate');
$node->start;
ok(settled(), 'the move goes on after a crash, without help');
is(sql("SELECT jflow_wait('f')"), 't', 'and so does the flow');
whole(4, 'after a crash');

# the mover is gone when it is not needed
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow mover'}),
	'no mover is left');
sql("SELECT jflow_stop('f')");
is(sql("SELECT jflow_scale('f', 'store', shards => 1)"), 1, 'the rows of a stopped flow are moved at once');
is(sql("SELECT count(*), count(DISTINCT id), count(DISTINCT tableoid) FROM jflow_data_owner.f_store"), "$rows|$rows|1",
	'each is there once');

$node->stop;
done_testing();
