# What the tests of the client share: running it against a node, and documents.
package JflowCli;
use strict;
use warnings;
use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# as Jflow.pm does: what is ignored stays so in programs that are started
$SIG{INT} = $SIG{TERM} = 'DEFAULT';

our @EXPORT = qw(client client_env start_client write_file read_file prepare_log stored await_lock result_is);

# Where the client finds this node.
sub client_env
{
	my ($node) = @_;
	return (PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres', PGUSER => $node->{_owner} // $ENV{USER} // getpwuid($<),
		PGAPPNAME => 'jflow', LC_ALL => 'C.UTF-8', TERM => 'xterm-256color');
}

# Run the client: its exit code (128 + signal if it died of one), output, complaints.
sub client
{
	my ($node, $input, @args) = @_;
	my ($out, $err) = ('', '');
	local %ENV = (%ENV, client_env($node), ref $input eq 'HASH' ? %$input : ());
	my $in = ref $input eq 'HASH' ? '' : $input // '';
	IPC::Run::run([ 'jflow', @args ], '<', \$in, '>', \$out, '2>', \$err);
	my $code = $? & 127 ? 128 + ($? & 127) : $? >> 8;
	return ($code, $out, $err);
}

# Start it without waiting; its complaints come into $$err.
sub start_client
{
	my ($node, $in, $err, @args) = @_;
	local %ENV = (%ENV, client_env($node));
	return IPC::Run::start([ 'jflow', @args ], '<', $in, '>', \my $out, '2>', $err);
}

sub write_file
{
	my ($name, $text) = @_;
	open my $fh, '>:raw', $name or die "$name: $!";
	print $fh $text;
	close $fh or die "$name: $!";
	return;
}

sub read_file
{
	my ($name) = @_;
	open my $fh, '<:raw', $name or die "$name: $!";
	local $/;
	return scalar <$fh>;
}

# A flow "log" that keeps every document it is sent, in its poster's transaction:
# one with the text "wait" waits for the advisory lock 42, one with "bad" fails.
sub prepare_log
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{
		SET client_min_messages = error;
		CREATE EXTENSION jflow CASCADE;
		CREATE TABLE log (n serial, id text, text text, uri text, tags jsonb, endpoint text);
		CREATE FUNCTION keep(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
		BEGIN
			IF EXISTS (SELECT FROM unnest(docs) d WHERE d.text = 'bad') THEN
				RAISE EXCEPTION 'a bad document' USING ERRCODE = '22012', DETAIL = 'the detail', HINT = 'the hint';
			END IF;
			IF EXISTS (SELECT FROM unnest(docs) d WHERE d.text = 'refused') THEN
				RAISE insufficient_privilege USING MESSAGE = 'not you';
			END IF;
			INSERT INTO public.log (id, text, uri, tags, endpoint)
			SELECT d.id, d.text, d.uri, d.tags, (jflow_context()).endpoint FROM unnest(docs) d;
			IF EXISTS (SELECT FROM unnest(docs) d WHERE d.text = 'wait') THEN
				PERFORM pg_advisory_xact_lock_shared(42);
			END IF;
			RETURN NULL;
		END $$;
		SELECT jflow_create('log');
		SELECT jflow_add('log', 'keep', uses => 'keep', replicas => 0);
	});
	return;
}

# What was stored: an expression over the table "log".
sub stored
{
	my ($node, $what) = @_;
	return $node->safe_psql('postgres', "SELECT $what FROM log");
}

# Wait until a post waits for the lock.
sub await_lock
{
	my ($node) = @_;
	return $node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'jflow' AND wait_event = 'advisory'});
}

# Assert exit code, output and complaints.
sub result_is
{
	my ($result, $code, $out, $err, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($result->[0], $code, "$name: exit code") or diag("$result->[1]$result->[2]");
	like($result->[1], $out, "$name: output") if defined $out;
	like($result->[2], $err, "$name: complaints") if defined $err;
	return;
}

1;
