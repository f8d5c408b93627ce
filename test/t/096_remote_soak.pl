# Is every document that was acknowledged there, and once, when servers of a RemoteFlow crash under load, and does a search find all or fail clearly?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'sleep';

my $rounds = $ENV{JFLOW_SOAK_ROUNDS} || 6;
my ($batches, $size) = (4, 25);    # of each poster in a round
my $front = new_node('front');
my %far = map { $_ => new_node($_) } qw(n1 n2);

prepare_database($front);
$front->safe_psql('postgres', "SET client_min_messages = error; CREATE EXTENSION postgres_fdw");
for my $name (sort keys %far)
{
	my $node = $far{$name};
	prepare_database($node);
	owner_sql($node, q{SELECT jflow_create('news'); SELECT jflow_add('news', 'indexer', uses => 'PQLiteIndexer', replicas => 0, uses_with => '{"dim": 2, "metric": "l2"}')});
	$front->safe_psql('postgres', qq{CREATE SERVER $name FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '@{[$node->host]}', port '@{[$node->port]}', dbname 'postgres');
		GRANT USAGE ON FOREIGN SERVER $name TO flow_owner;
		CREATE USER MAPPING FOR flow_owner SERVER $name OPTIONS (user 'flow_owner', password_required 'false')});
}
owner_sql($front, q{SELECT jflow_create('pool'); SELECT jflow_add('pool', 'far', uses => 'RemoteFlow', replicas => 2, uses_with => '{"servers": ["n1", "n2"], "flow": "news"}');
	SELECT jflow_create('inline'); SELECT jflow_add('inline', 'far', uses => 'RemoteFlow', replicas => 0, uses_with => '{"servers": ["n1", "n2"], "flow": "news"}')});
start_flow($front, 'pool');

sub index_docs
{
	my ($flow, $prefix) = @_;
	return "SELECT 'stored $prefix' FROM (SELECT count(*) FROM jflow_post('/index', (SELECT array_agg(jflow_doc(id => '$prefix.' || i, embedding => ARRAY[i, 1]::vector)) FROM generate_series(1, $size) i), '$flow')) x";
}
is(ask($front, index_docs('pool', 'base')), 'stored base', 'documents are there before');
my $search = q{SELECT 'found ' || count(*) FROM jflow_post('/filter', NULL::jflow_doc[], '%s', '{"limit": 100000}') WHERE id LIKE 'base.%%'};

my (%stored, %states, %found);
for my $round (1 .. $rounds)
{
	my @sessions;
	for my $flow (qw(pool inline))
	{
		push @sessions, post_in_background($front, join ";\n", map { index_docs($flow, "$round.$flow.$_") } 1 .. $batches);
		push @sessions, post_in_background($front, join ";\n", (sprintf $search, $flow) x $batches);
	}
	sleep rand 0.5;
	my $victim = $far{ 'n' . (1 + $round % 2) };
	$victim->stop('immediate');
	sleep rand 0.5;
	$victim->start;
	for my $session (@sessions)
	{
		my ($out, $err) = finish_background($session);
		$stored{$1} = 1 while $out =~ /stored (\S+)/g;
		$found{$1}++ while $out =~ /found (\d+)/g;
		$states{$1}++ while $err =~ /ERROR:\s+(\w{5}):/g;
	}
}
note('errors: ' . join ', ', map { "$_ $states{$_}" } sort keys %states);
note('searches: ' . join ', ', map { "$_ $found{$_}" } sort keys %found);
is(join(' ', grep { !/^(08|57P)/ } sort keys %states), '', 'what fails says that a server is away');
is(join(' ', grep { $_ ne $size } sort keys %found), '', 'a search finds all, or fails');

# where both are again
is(ask($front, index_docs('pool', 'last')), 'stored last', 'replicas serve at the end');
is(ask($front, index_docs('inline', 'after')), 'stored after', 'and sessions');
my %there;
for my $node (values %far)
{
	$there{$_}++ for split /\n/, ask($node, q{SELECT id FROM jflow_post('/filter', NULL::jflow_doc[], 'news', '{"limit": 100000}')});
}
is(join(' ', grep { $there{$_} > 1 } sort keys %there), '', 'no document is there twice');
my @missing = grep { !$there{$_} } map { my $batch = $_; map { "$batch.$_" } 1 .. $size } 'base', 'last', 'after', sort keys %stored;
is(join(' ', @missing), '', 'every document that was acknowledged is there: ' . scalar(keys %stored) . ' batches');
is_at_rest($front, 'at the end');
$front->stop;
$_->stop for values %far;
done_testing();
