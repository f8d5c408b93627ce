# Do flows of the same name run side by side in some of very many databases, more
# than there are entries for, without any list of databases, and do databases
# without flows cost nothing?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'max_worker_processes = 16', 'fsync = off');
prepare_database($node);
my $databases = 300;		# there are entries for 64
my @started = (3, 30, 66, 151, 299);
$node->safe_psql('postgres', join("\n", 'CREATE DATABASE small TEMPLATE template0;',
	map { "CREATE DATABASE db$_ TEMPLATE small STRATEGY wal_log;" } 1 .. $databases));
for my $n (@started, 5)
{
	my $db = "db$n";
	prepare_database($node, $db);
	owner_sql($node, qq{CREATE FUNCTION name(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
		LANGUAGE plpgsql AS \$\$ BEGIN docs[1].text := current_database(); RETURN docs; END \$\$}, $db);
	add_flow($node, 'f', 'name', '', $db);
}
start_flow($node, 'f', "db$_") for @started;
for my $round ('at first', 'after a restart', 'after a crash')
{
	# a post waits until its database has had its turn
	is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}, "db$started[-1]"), "db$started[-1]", "$round: the last one serves at once");
	for my $n (@started)
	{
		is(ask($node, q{SELECT jflow_wait('f')}, "db$n"), 't', "$round: db$n runs");
		is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}, "db$n"), "db$n", "$round: db$n answers for itself");
		is(ask($node, q{SELECT count(*) FROM jflow_stat_replicas}, "db$n"), '1', "$round: db$n sees its own replica only");
	}
	is($node->safe_psql('postgres', q{SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_stat_activity WHERE backend_type = 'jflow replica'}),
		join(' ', sort map { "db$_" } @started), "$round: nothing runs elsewhere");
	ok($node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'jflow scout')}),
		"$round: scouts leave");
	$node->restart if $round eq 'at first';
	if ($round eq 'after a restart')
	{
		my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jflow replica' LIMIT 1});
		kill_and_wait($node, $pid);
	}
}
$node->stop;
done_testing();
