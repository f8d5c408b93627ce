# Do statements on databases and on the extension work while flows are started,
# and do replicas come back, or stay away, as they should?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'jflow'
jflow.allow_superuser_flows = on
max_worker_processes = 40
});
$node->start;

my $define = q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION work(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
		BEGIN PERFORM pg_sleep((parameters->>'sleep')::float8); docs[1].text := current_database(); RETURN docs; END $$;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'e', uses => 'work', replicas => 2);
	SELECT jflow_start('f');
};
my $post = q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')};
my $replicas = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jflow replica' AND datname = };

for my $db ('one', 'two')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, $define);
	$node->safe_psql($db, q{SELECT jflow_wait('f')});
	is($node->safe_psql($db, $post), $db, "replicas serve database $db");
}

# rename and copy
$node->safe_psql('postgres', 'ALTER DATABASE one RENAME TO uno');
is($node->safe_psql('uno', $post), 'uno', 'a database is renamed, and its replicas come back');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE uno');
is($node->safe_psql('uno', $post), 'uno', 'a database is copied, and its replicas come back');
like(($node->psql('copy', $post))[2], qr/flow "f" is not started/, 'in the copy flows are stopped');
is($node->safe_psql('copy', q{SELECT jflow_start('f'); } . $post), "2\ncopy", 'but can be started');

# drop: one that fails, with a request running, and for good
my $session = $node->background_psql('copy');
my ($ret, $out, $err) = $node->psql('postgres', 'DROP DATABASE copy');
like($err, qr/is being accessed by other users/, 'a drop that fails');
$session->quit;
is($node->safe_psql('copy', $post), 'copy', 'leaves a database whose replicas come back');
($ret, $out, $err) = $node->psql('postgres', q{CREATE ROLE nobody LOGIN; SET ROLE nobody; DROP DATABASE copy});
like($err, qr/must be owner/, 'who may not drop a database');
is($node->safe_psql('postgres', "$replicas 'copy'"), '2', 'does not stop its replicas');
$node->safe_psql('postgres', 'DROP DATABASE copy');
is($node->safe_psql('postgres', "$replicas 'copy'"), '0', 'a database is dropped');
$node->safe_psql('two', q{SELECT jflow_wait('f')});
$node->safe_psql('postgres', 'DROP DATABASE two WITH (FORCE)');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_database WHERE datname = 'two'}), '0', 'or with force');

# the extension
$node->safe_psql('uno', 'BEGIN; DROP EXTENSION jflow CASCADE; ROLLBACK');
is($node->safe_psql('uno', $post), 'uno', 'a drop of the extension that is rolled back');
$node->safe_psql('uno', q{SET client_min_messages = error; DROP FUNCTION work; DROP EXTENSION jflow CASCADE});
is($node->safe_psql('postgres', "$replicas 'uno'"), '0', 'the extension is dropped');
$node->safe_psql('uno', $define);
is($node->safe_psql('uno', $post), 'uno', 'and created again');

# a restore comes up stopped
my $dump = $node->backup_dir;
mkdir $dump;
$node->command_ok(['pg_dump', '-Fc', '-f', "$dump/uno.dump", $node->connstr('uno')], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok(['pg_restore', '-d', $node->connstr('restored'), "$dump/uno.dump"], 'restore');
like(($node->psql('restored', $post))[2], qr/flow "f" is not started/, 'restored flows are stopped');

# few worker slots
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->restart;
$node->poll_query_until('uno', q{SELECT running = 1 AND last_error LIKE '%max_worker_processes%' FROM jflow_status}) or die;
is($node->safe_psql('uno', q{SELECT wanted, running, failing FROM jflow_status}), '2|1|1', 'too few worker slots are told');
is($node->safe_psql('uno', $post), 'uno', 'and those that run serve');
$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
$node->restart;
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jflow launcher'}) or die;

# a standby
$node->append_conf('postgresql.conf', "max_worker_processes = 40\njflow.standby_replicas = on");
$node->restart;
$node->safe_psql('uno', q{SELECT jflow_wait('f')});
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'hot_standby_feedback = on');
$standby->start;
$standby->poll_query_until('uno', q{SELECT running = 2 FROM jflow_status}) or die;
is($standby->safe_psql('uno', $post), 'uno', 'replicas run on a standby, if asked for');
$node->stop;
$standby->promote;
is($standby->safe_psql('uno', $post), 'uno', 'and go on after a promotion');
$standby->stop;
done_testing();
