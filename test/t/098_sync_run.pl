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
