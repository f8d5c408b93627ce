# Does a sync come up paused in a restored or copied database, find there what is not in step, and go on
# after a promotion?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
$node->safe_psql('postgres', 'CREATE DATABASE d OWNER flow_owner');
prepare_database($node, 'd');
owner_sql($node, q{
	CREATE FUNCTION encode(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1..cardinality(docs) LOOP docs[i].embedding := ARRAY[length(docs[i].text), 1]::vector; END LOOP;
		RETURN docs;
	END $$;
	CREATE TABLE item (id text PRIMARY KEY, text text);
	INSERT INTO item SELECT 'k' || i, 'first ' || i FROM generate_series(1, 300) i;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'encoder', uses => 'public.encode');
	SELECT jflow_add('f', 'store', uses => 'PQLiteIndexer', workspace => 'public', uses_with => '{"dim": 2, "metric": "l2"}');
	SELECT jflow_sync('s', 'f', 'item', '{"text": "text"}')}, 'd');
start_flow($node, 'f', 'd');
my $difference = q{(SELECT id, text, ARRAY[length(text), 1]::vector::text FROM item EXCEPT ALL SELECT id, text, embedding::text FROM f_store)
	UNION ALL (SELECT id, text, embedding::text FROM f_store EXCEPT ALL SELECT id, text, ARRAY[length(text), 1]::vector::text FROM item)};

sub is_in_step
{
	my ($server, $db, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_state($server, "SELECT jflow_sync_run('s')", "$name: the sync comes to an end", $db);
	is($server->safe_psql($db, $difference), '', "$name: the store is what the table is");
	return;
}
is_in_step($node, 'd', 'at first');

# a change that the dump has in its queue alone
owner_sql($node, q{SELECT jflow_sync_pause('s')}, 'd');
owner_sql($node, q{UPDATE item SET text = 'queued' WHERE id = 'k1'; DELETE FROM item WHERE id = 'k2'; INSERT INTO item VALUES ('new', 'new')}, 'd');
my $dir = PostgreSQL::Test::Utils::tempdir();
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/a.dump", $node->connstr('d') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored OWNER flow_owner');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$dir/a.dump" ], 'restore');
is($node->safe_psql('restored', q{SELECT nextval('jflow.sync_number') > max(id) FROM jflow.sync}), 't', 'no number of a sync is given again');
owner_sql($node, q{SELECT jflow_stop('f')}, 'd');
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE d OWNER flow_owner');

for my $db ('restored', 'clone')
{
	start_flow($node, 'f', $db);
	is($node->safe_psql($db, q{SELECT state, last_error FROM jflow_sync_status}),
		'paused|the database was restored or copied; call jflow_sync_resume', "$db: the sync is paused, and says what to do");
	fails_with($node, q{SELECT jflow_sync_run('s')}, '55000', qr/HINT:.*jflow_sync_resume/, "$db: to run it", $db);
	owner_sql($node, q{UPDATE item SET text = 'after the copy' WHERE id = 'k3'; DELETE FROM item WHERE id = 'k4'}, $db);
	owner_sql($node, q{SELECT jflow_sync_resume('s')}, $db);
	is_in_step($node, $db, $db);
	is($node->safe_psql($db, q{SELECT docs FROM jflow_stat_endpoints WHERE executor = 'store' AND endpoint = '/index'}),
		'3', "$db: only what was not in step was posted");
	owner_sql($node, q{UPDATE item SET text = 'followed' WHERE id = 'k5'}, $db);
	is_in_step($node, $db, "$db, followed");
}
owner_sql($node, q{SELECT jflow_start('f'); SELECT jflow_sync_resume('s')}, 'd');
is_in_step($node, 'd', 'where they were copied from');

# a promotion in the middle
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'jflow.standby_replicas = on');
$standby->start;
owner_sql($node, q{SELECT jflow_stop('f')}, 'd');
owner_sql($node, q{UPDATE item SET text = 'before the promotion' WHERE id LIKE 'k1%'; SELECT jflow_start('f')}, 'd');
is($node->safe_psql('d', q{SELECT jflow_wait('f')}), 't', 'the primary works it off');
$node->wait_for_catchup($standby);
is($standby->safe_psql('d', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jflow sync'}), '0', 'no sync works on a standby');
is($standby->safe_psql('d', q{SELECT name FROM jflow_sync_status}), 's', 'which can be asked');
$node->stop('immediate');
$standby->promote;
wait_state($standby, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jflow sync' AND datname = 'd'}, 'it does after the promotion', 'd');
is_in_step($standby, 'd', 'after the promotion');
$standby->stop;
done_testing();
