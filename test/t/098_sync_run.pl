# Does jflow_sync_run come to an end where the worker cannot start, waits for its caller's locks, or always finds
# something new to do?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);

# a worker that must not run
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE FUNCTION nothing(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT docs';
	CREATE TABLE thing (id int PRIMARY KEY, text text);
	INSERT INTO thing VALUES (1, 'one');
	SELECT jflow_create('root');
	SELECT jflow_add('root', 'e', uses => 'public.nothing', replicas => 0);
	SELECT jflow_start('root');
	SELECT jflow_sync('root', 'root', 'thing', '{"text": "text"}')});
fails_with($node, q{SELECT jflow_sync_run('root', '170 s')}, '55000', qr/the worker of sync "root" does not run.*DETAIL:.*superuser/s, 'a flow of a superuser');
is($node->safe_psql('postgres', q{SELECT state, last_error ~ 'superuser' FROM jflow_sync_status}), 'stopped|t', 'the view says why, too');
$node->safe_psql('postgres', q{SELECT jflow_stop('root')});
fails_with($node, q{SELECT jflow_start('root')}, '55000', qr/flow "root" cannot be started/, 'to start a flow whose sync could not run');
is($node->safe_psql('postgres', q{SELECT jflow_unsync('root'); SELECT jflow_start('root')}), "\n0", 'one without');

# a caller with a lock that the worker, or a replica, waits for
$node->safe_psql('postgres', 'GRANT CREATE ON SCHEMA public TO flow_owner');
owner_sql($node, q{
	CREATE TABLE kept (id text);
	CREATE FUNCTION keep(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.kept SELECT d.id FROM unnest(docs) d; RETURN docs; END $$;
	CREATE TABLE item (id int PRIMARY KEY, text text);
	CREATE TABLE other (id int PRIMARY KEY, text text);
	SELECT jflow_create('here'), jflow_create('there');
	SELECT jflow_add('here', 'e', uses => 'public.keep', replicas => 0), jflow_add('there', 'e', uses => 'public.keep', replicas => 1);
	SELECT jflow_sync('here', 'here', 'item', '{"text": "text"}', mode => 'manual'), jflow_sync('there', 'there', 'other', '{"text": "text"}', mode => 'manual');
	SELECT jflow_start('here'), jflow_start('there');
	INSERT INTO item VALUES (1, 'one');
	INSERT INTO other VALUES (2, 'two')});
for my $sync ('here', 'there')
{
	fails_with($node, qq{SET ROLE flow_owner; BEGIN; LOCK TABLE kept IN SHARE MODE; SELECT jflow_sync_run('$sync', '170 s')},
		'40P01', qr/The worker of sync "$sync" waits for a lock of this session/, "$sync: a lock that is waited for");
	is(owner_sql($node, qq{SELECT jflow_sync_run('$sync', '170 s')}), 't', "$sync: without the lock all is well");
}
is($node->safe_psql('postgres', 'SELECT count(DISTINCT id) FROM kept'), 2, 'all rows have arrived');

# a caller whose snapshot is older than what the worker does
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	is(owner_sql($node, qq{UPDATE item SET text = '$level'; BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM item;
		SELECT jflow_sync_run('here', '170 s'); COMMIT}), "1\nt", "$level: what was changed before has arrived");
}

# one who forgets the sync while what its worker has posted is refused at the end
owner_sql($node, q{
	CREATE TABLE late (id text);
	CREATE FUNCTION keep_late(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.late SELECT d.id FROM unnest(docs) d; RETURN docs; END $$;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(77); RAISE EXCEPTION 'refused'; END $$;
	CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
	CREATE TABLE one (id int PRIMARY KEY, text text);
	INSERT INTO one VALUES (1, 'one');
	SELECT jflow_create('late');
	SELECT jflow_add('late', 'e', uses => 'public.keep_late', replicas => 0)});
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(77)');
owner_sql($node, q{SELECT jflow_sync('late', 'late', 'one', '{"text": "text"}'); SELECT jflow_start('late')});
my $waits = q{SELECT count(*) = 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.backend_type = '%s' AND l.locktype = '%s'};
wait_state($node, sprintf($waits, 'jflow sync', 'advisory'), 'the worker waits in a deferred trigger');
my $forgets = $node->background_psql('postgres');
$forgets->query_safe('SET ROLE flow_owner');
$forgets->query_until(qr/go/, "\\echo go\nBEGIN; SELECT jflow_unsync('late');\n");
wait_state($node, sprintf($waits, 'client backend', 'object'), 'another forgets its sync, and waits for it');
$gate->query_safe('SELECT pg_advisory_unlock(77)');
$forgets->query_safe('SELECT 1');
wait_state($node, sprintf($waits, 'jflow sync', 'object') . q{ OR EXISTS (SELECT FROM jflow.sync_row r WHERE r.sync = (SELECT max(id) FROM jflow.sync))},
	'the worker waits for the other');
$forgets->query_safe('COMMIT');
wait_state($node, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'jflow: late/%')}, 'the worker leaves');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jflow.sync_row WHERE sync NOT IN (SELECT id FROM jflow.sync)}), 0, 'and leaves nothing');
$_->quit for $gate, $forgets;

# rows that change as soon as they have been posted
owner_sql($node, q{
	CREATE FUNCTION change(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS
		$$ BEGIN UPDATE public.busy SET text = text::int + 1 WHERE id::text IN (SELECT d.id FROM unnest(docs) d); RETURN docs; END $$;
	CREATE TABLE busy (id int PRIMARY KEY, text text);
	SELECT jflow_create('busy');
	SELECT jflow_add('busy', 'e', uses => 'public.change', replicas => 0);
	SELECT jflow_sync('busy', 'busy', 'busy', '{"text": "text"}');
	SELECT jflow_start('busy');
	INSERT INTO busy SELECT i, 0 FROM generate_series(1, 10) i});
is(owner_sql($node, q{SELECT jflow_sync_run('busy', '170 s')}), 't', 'what goes on changing is not waited for');
is($node->safe_psql('postgres', q{SELECT count(*) FROM busy WHERE text > '0'}), 10, 'what has changed before has been posted');
$node->stop;
done_testing();
