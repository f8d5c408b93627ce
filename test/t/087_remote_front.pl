# Does a front of flows on other servers live as any database does: on a standby, after a dump and restore, after a promotion behind one of its servers, and beside transactions in its way?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $front = new_node('front');
my $far = new_node('far');
my @nodes = qw(n1 n2);

# Two servers, one of which has the types of vectors in another schema.
prepare_database($front);
$far->safe_psql('postgres', q{CREATE ROLE flow_owner LOGIN});
$far->safe_psql('postgres', "CREATE DATABASE $_") for @nodes;
$far->safe_psql('n2', 'CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO PUBLIC; CREATE EXTENSION vector SCHEMA elsewhere');
for my $db (@nodes)
{
	prepare_database($far, $db);
	owner_sql($far, q{SELECT jflow_create('news'); SELECT jflow_add('news', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2, "metric": "l2"}');
		CREATE SEQUENCE runs;
		CREATE FUNCTION unsteady(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
			IF nextval('public.runs') <= (parameters->>'failing')::int THEN RAISE 'in the way' USING ERRCODE = '40001'; END IF;
			RETURN docs; END $$;
		SELECT jflow_create('unsteady'); SELECT jflow_add('unsteady', 'e', uses => 'unsteady', replicas => 0);
		SELECT jflow_create('slow'); SELECT jflow_add('slow', 'e', uses => 'gate', replicas => 0)}, $db);
}

# Both are reached by the hosts of the far cluster and of its standby, of which one takes writes.
my $standby = PostgreSQL::Test::Cluster->new('far_standby');
my $host = join ',', $far->host, $standby->host;
my $port = join ',', $far->port, $standby->port;
$front->safe_psql('postgres', "SET client_min_messages = error; CREATE EXTENSION postgres_fdw");
$front->safe_psql('postgres', qq{CREATE SERVER $_ FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname '$_', connect_timeout '5', target_session_attrs 'read-write');
	GRANT USAGE ON FOREIGN SERVER $_ TO flow_owner;
	CREATE USER MAPPING FOR flow_owner SERVER $_ OPTIONS (user 'flow_owner', password_required 'false')}) for @nodes;
owner_sql($front, q{SELECT jflow_create('news'); SELECT jflow_add('news', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["n1", "n2"], "flow": "news"}');
	SELECT jflow_create('pool'); SELECT jflow_add('pool', 'far', uses => 'RemoteFlow', replicas => 2, retries => 2, uses_with => '{"servers": ["n1", "n2"], "flow": "news"}');
	SELECT jflow_create('unsteady'); SELECT jflow_add('unsteady', 'far', uses => 'RemoteFlow', retries => 2, uses_with => '{"servers": ["n1"], "flow": "unsteady"}');
	SELECT jflow_create('slow'); SELECT jflow_add('slow', 'far', uses => 'RemoteFlow', uses_with => '{"servers": ["n1"], "flow": "slow"}')});
start_flow($front, $_) for qw(pool unsteady slow);

sub index_docs
{
	my ($flow, $from, $to) = @_;
	return "SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => 'd' || i, embedding => ARRAY[i, i % 7]::vector)) FROM generate_series($from, $to) i), '$flow')";
}
sub nearest { my ($flow) = @_; return qq{SELECT string_agg(m.id, ' ') FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q', embedding => '[40,5]')], '$flow', '{"limit": 3}') d, unnest(d.matches) m} }
sub stored { my ($flow) = @_; return qq{SELECT count(*) FROM jflow_post('/filter', NULL::jflow_doc[], '$flow', '{"limit": 1000}')} }

is(ask($front, index_docs('news', 1, 100)), 100, 'documents are stored, also where vectors are in another schema');
is(ask($front, nearest('news')), 'd40 d39 d41', 'and found');

# transactions in the way there, as here
my $unsteady = sub { my ($endpoint, $failing) = @_;
	$far->safe_psql('n1', 'ALTER SEQUENCE runs RESTART');
	return ask($front, qq{SELECT count(*) FROM jflow_post('$endpoint', ARRAY['x'], 'unsteady', parameters => '{"failing": $failing}')}) };
is($unsteady->('/index', 2), 1, 'what a server could not serialize is run again');
is($far->safe_psql('n1', 'SELECT last_value FROM runs'), 3, 'as often as it needs');
like($unsteady->('/index', 9), qr/^40001/, 'and no more than retries say');
is($far->safe_psql('n1', 'SELECT last_value FROM runs'), 3, 'the first run and two again');
like($unsteady->('/anything', 1), qr/^40001/, 'not where the endpoint is not idempotent');

# a cancel of the post ends the statement there, which runs for a replica
my $gate = $far->background_psql('n1');
$gate->query_safe('SELECT pg_advisory_lock(42)');
my $running = q{SELECT count(*) = %d FROM pg_stat_activity WHERE datname = 'n1' AND state = 'active' AND wait_event = 'advisory'};
my $post = post_in_background($front, q{SELECT jflow_post('/x', ARRAY['x'], 'slow')});
ok($far->poll_query_until('n1', sprintf $running, 1), 'a statement runs there');
$front->safe_psql('postgres', "SELECT pg_cancel_backend($post->{pid})");
my (undef, $err) = finish_background($post);
like($err, qr/57014/, 'its post is cancelled');
ok($far->poll_query_until('n1', sprintf $running, 0), 'and the statement there ends');
$gate->quit;
is_at_rest($front, 'after a cancel');

# a standby as front
$front->backup('b');
my $reader = PostgreSQL::Test::Cluster->new('front_standby');
$reader->init_from_backup($front, 'b', has_streaming => 1);
$reader->append_conf('postgresql.conf', 'jflow.standby_replicas = on');
$reader->start;
$front->wait_for_catchup($reader);
is(ask($reader, q{SELECT jflow_wait('pool')}), 't', 'replicas run on a standby');
for my $flow (qw(news pool))
{
	is(ask($reader, nearest($flow)), 'd40 d39 d41', "$flow: a standby searches");
	is(ask($reader, stored($flow)), 100, "$flow: and filters");
	is(ask($reader, qq{SELECT count(*) FROM jflow_post('/fetch', ARRAY[jflow_doc(id => 'd1'), jflow_doc(id => 'd2')], '$flow')}), 2, "$flow: and fetches");
	fails_with($reader, index_docs($flow, 1, 2), '25006', qr/read-only|recovery/, "$flow: but does not write");
}
is(ask($front, index_docs('news', 101, 110)), 10, 'what the other front writes');
is(ask($reader, stored('news')), 110, 'a standby sees at once, since it is not on either');
$reader->stop;

# a dump of the front
my $dump = PostgreSQL::Test::Utils::tempdir() . '/front.dump';
$front->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $front->connstr('postgres') ], 'a front is dumped');
$front->safe_psql('postgres', 'CREATE DATABASE restored');
$front->command_ok([ 'pg_restore', '--exit-on-error', '-d', $front->connstr('restored'), $dump ], 'and restored');
is(ask($front, q{SELECT uses_with->'nodes', shards FROM jflow_executors WHERE flow = 'news'}, 'restored'), '["n1", "n2"]|2', 'with the names by which documents find their server');
is(ask($front, nearest('news'), 'restored'), 'd40 d39 d41', 'what is stored is found');
is(ask($front, index_docs('news', 1, 110), 'restored'), 110, 'and stored again');
is(ask($front, stored('news')), 110, 'where it was');

# a standby behind the servers is promoted
$far->backup('b');
$standby->init_from_backup($far, 'b', has_streaming => 1);
$standby->start;
$far->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = '*'});
$far->reload;
$far->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'});
is(ask($front, index_docs('pool', 111, 150)), 40, 'what is committed is on the standby, too');
$front->safe_psql('postgres', qq{CREATE SERVER read_$_ FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname '$_', target_session_attrs 'prefer-standby');
	GRANT USAGE ON FOREIGN SERVER read_$_ TO flow_owner;
	CREATE USER MAPPING FOR flow_owner SERVER read_$_ OPTIONS (user 'flow_owner', password_required 'false')}) for @nodes;
owner_sql($front, q{SELECT jflow_create('read'); SELECT jflow_add('read', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["read_n1", "read_n2"], "nodes": ["n1", "n2"], "flow": "news"}')});
ok($front->poll_query_until('postgres', stored('read'), '150'), 'the standby is read');
is(ask($front, nearest('read')), 'd40 d39 d41', 'and searched');
fails_with($front, index_docs('read', 1, 2), '25006', qr/read-only|recovery/, 'but not written to');
my $session = $front->background_psql('postgres', on_error_stop => 0);
is($session->query_safe(stored('news')), 150, 'a session is connected');
$far->stop('immediate');
like(ask($front, stored('news')), qr/^0800[16]: .*/, 'without a primary there is an error');
$standby->promote;
is(ask($front, stored('news')), 150, 'after the promotion nothing is lost');
is($session->query_safe(stored('news')), 150, 'for a session that was connected, too');
is(ask($front, nearest('pool')), 'd40 d39 d41', 'and for replicas');
is(ask($front, index_docs('pool', 151, 160)), 10, 'which write');
is(ask($front, stored('news')), 160, 'to the new primary');
$session->quit;

$front->stop;
$standby->stop;
done_testing();
