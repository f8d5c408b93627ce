# What the tests of replicas share: a server with jflow preloaded, a role that
# owns the flows, executor functions, and ways to wait for conditions.
package Jflow;
use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Whoever runs the tests may ignore signals, and what they start would, too.
$SIG{INT} = $SIG{TERM} = 'DEFAULT';

our @EXPORT = qw(new_node prepare_database owner_sql add_flow start_flow ask fails_with
  running_pids wait_state post_in_background finish_background is_at_rest worker_pid start_again kill_and_wait);

# A server with jflow preloaded and enough slots; more settings may follow.
sub new_node
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf', join("\n", "shared_preload_libraries = 'jflow'",
		'max_worker_processes = 24', 'max_connections = 50', 'restart_after_crash = on', 'max_prepared_transactions = 5', 'deadlock_timeout = 200ms',
		'log_line_prefix = \'%m [%p] %b \'', @settings) . "\n");
	$node->start;
	return $node;
}

# The extension, the role flow_owner, and functions of it that many tests use.
sub prepare_database
{
	my ($node, $db) = @_;
	$db = 'postgres' unless defined $db;
	$node->safe_psql(
		$db, q{
		SET client_min_messages = error;
		CREATE EXTENSION jflow CASCADE;
		DO $$ BEGIN
			IF to_regrole('flow_owner') IS NULL THEN CREATE ROLE flow_owner LOGIN; END IF;
		END $$;
		GRANT CREATE ON SCHEMA public TO flow_owner;
		SET ROLE flow_owner;
		CREATE TABLE written (text text, at timestamptz DEFAULT clock_timestamp());
		GRANT SELECT ON written TO PUBLIC;

		CREATE FUNCTION noop(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;

		CREATE FUNCTION shout(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE plpgsql AS $$ BEGIN
			FOR i IN 1..cardinality(docs) LOOP docs[i].text := upper(docs[i].text); END LOOP;
			RETURN docs;
		END $$;

		-- which process ran it
		CREATE FUNCTION whoami(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE plpgsql AS $$ BEGIN
			FOR i IN 1..cardinality(docs) LOOP docs[i].text := pg_backend_pid(); END LOOP;
			RETURN docs;
		END $$;

		-- waits while a session holds the advisory lock that "lock" names
		CREATE FUNCTION gate(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE plpgsql AS $$ BEGIN
			PERFORM pg_advisory_xact_lock_shared(coalesce((parameters->>'lock')::int8, 42));
			RETURN NULL;
		END $$;

		CREATE FUNCTION store(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO public.written SELECT d.text FROM unnest(docs) d;
			RETURN NULL;
		END $$;

		-- stores and then waits like "gate"
		CREATE FUNCTION store_gate(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO public.written SELECT d.text FROM unnest(docs) d;
			PERFORM pg_advisory_xact_lock_shared(coalesce((parameters->>'lock')::int8, 42));
			RETURN NULL;
		END $$;

		CREATE FUNCTION counted(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE plpgsql AS $$ BEGIN
			FOR i IN 1..cardinality(docs) LOOP docs[i].text := (SELECT count(*) FROM public.written); END LOOP;
			RETURN docs;
		END $$;

		CREATE FUNCTION fail(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE plpgsql AS $$ BEGIN
			IF docs[1].text = coalesce(parameters->>'on', docs[1].text) THEN
				RAISE EXCEPTION 'no good: %', docs[1].text
				USING ERRCODE = '22012', DETAIL = 'the detail', HINT = 'the hint';
			END IF;
			RETURN NULL;
		END $$;
	});
	return;
}

# SQL that runs as the owner of the flows, with its NOTICEs and WARNINGs hidden.
sub owner_sql
{
	my ($node, $sql, $db) = @_;
	return $node->safe_psql($db || 'postgres', "SET client_min_messages = error; SET ROLE flow_owner; $sql");
}

# A flow of flow_owner with one executor; "extra" are more arguments of jflow_add.
sub add_flow
{
	my ($node, $flow, $uses, $extra, $db) = @_;
	$extra = defined $extra && $extra ne '' ? ", $extra" : '';
	owner_sql($node, "SELECT jflow_create('$flow'); SELECT jflow_add('$flow', 'e', uses => '$uses'$extra)", $db);
	return;
}

# Start a flow and wait for its replicas.
sub start_flow
{
	my ($node, $flow, $db) = @_;
	owner_sql($node, "SELECT jflow_start('$flow')", $db);
	is($node->safe_psql($db || 'postgres', "SELECT jflow_wait('$flow')"), 't', "flow $flow runs")
	  or diag($node->safe_psql($db || 'postgres', 'SELECT * FROM jflow_status'));
	return;
}

# What a query answers, or the error as "SQLSTATE: message".
sub ask
{
	my ($node, $sql, $db) = @_;
	my ($ret, $out, $err) = $node->psql($db || 'postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 1);
	return $out if $ret == 0;
	return "$1: $2" if $err =~ /(?:ERROR|FATAL):\s+(\w{5}): (.*)/;
	return $err;
}

# Does a query fail with this SQLSTATE, and say something like that?
sub fails_with
{
	my ($node, $sql, $sqlstate, $like, $name, $db) = @_;
	my ($ret, $out, $err) = $node->psql($db || 'postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 1);
	my ($state) = $err =~ /(?:ERROR|FATAL):\s+(\w{5}): /;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($state, $sqlstate, "$name: SQLSTATE") or diag("$out\n$err");
	like($err, $like, "$name: message");
	return;
}

# The pids of replicas that serve, of a flow or of all.
sub running_pids
{
	my ($node, $flow, $db) = @_;
	my $where = defined $flow ? "AND flow = '$flow'" : '';
	return sort { $a <=> $b } split /\n/, $node->safe_psql($db || 'postgres',
		"SELECT pid FROM jflow_stat_replicas WHERE state IN ('idle', 'busy') $where");
}

# Wait until a query is true.
sub wait_state
{
	my ($node, $sql, $name, $db) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $good = $node->poll_query_until($db || 'postgres', $sql);
	ok($good, $name) or diag(eval { $node->safe_psql($db || 'postgres',
		'SELECT * FROM jflow_status; SELECT * FROM jflow_stat_replicas; SELECT * FROM jflow_requests') } // $@);
	return $good;
}

# Start a server whose postmaster was killed: its children take a moment to
# notice, and until then it refuses.
sub start_again
{
	my ($node) = @_;
	for my $attempt (1 .. 1000)
	{
		return 1 if $node->start(fail_ok => 1);
		$node->{_pid} = undef;	# of the stale postmaster.pid
	}
	return 0;
}

# Kill a process of the server with SIGKILL, and wait until all have been
# started again.
sub kill_and_wait
{
	my ($node, $pid) = @_;
	my $offset = -s $node->logfile;
	kill 'KILL', $pid or die "cannot kill $pid: $!";
	$node->wait_for_log(qr/database system is ready to accept connections/, $offset);
	return;
}

# The pid of a worker of this type.
sub worker_pid
{
	my ($node, $type) = @_;
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = '$type' LIMIT 1");
}

# Start SQL in a session of its own, without waiting for it.
sub post_in_background
{
	my ($node, $sql, $db, @params) = @_;
	my $session = $node->background_psql($db || 'postgres', on_error_stop => 0, @params);
	$session->{pid} = $session->query('SELECT pg_backend_pid()');
	$session->query("\\set VERBOSITY verbose");
	$session->{stderr} = '';
	my $seen = $session->query_until(qr/go\n/, "\\echo go\n$sql;\n");
	# an answer that is there already
	$session->{early} = $seen =~ /go\n(.*)/s ? $1 : '';
	return $session;
}

# Wait for what was started; returns what it wrote and its complaints.
sub finish_background
{
	my ($session) = @_;
	my $out = (defined $session->{early} ? $session->{early} : '') . $session->query('');
	my $err = $session->{stderr};
	$session->{stderr} = '';
	$out =~ s/\n\z//;
	eval { $session->quit };
	return ($out, $err);
}

# Is nothing left: slots free, payload memory empty, replicas idle?
sub is_at_rest
{
	my ($node, $name, $db) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$db = $db || 'postgres';
	my $good = $node->poll_query_until($db, q{
		SELECT NOT EXISTS (SELECT FROM jflow_requests)
			AND (SELECT used FROM jflow_memory) = 0
			AND NOT EXISTS (SELECT FROM jflow_stat_replicas WHERE state IN ('busy', 'stopping'))});
	ok($good, "$name: memory, slots and replicas are free");
	diag($node->safe_psql($db, 'SELECT * FROM jflow_memory; SELECT * FROM jflow_requests; SELECT * FROM jflow_stat_replicas'))
	  unless $good;
	return $good;
}

1;
