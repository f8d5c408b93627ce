# Does a flow become a picture where Graphviz is installed, and an error that
# says so where it is not?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql(
	'postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	SELECT jflow_create('f');
	SELECT jflow_add('f', $$a"]; ü <script> `touch escaped` $(touch escaped) '$$, replicas => 0);
});

my ($ret, $out, $err) = $node->psql('postgres', q{\set VERBOSITY verbose
	SELECT jflow_plot('f', 'svg')});
if (system('command -v dot >/dev/null 2>&1') == 0)
{
	is($ret, 0, 'dot draws the flow');
	like($out, qr/<svg.*ü &lt;script&gt;.*<\/svg>/s, 'as SVG, in which names are text');
}
else
{
	like($err, qr/0A000: program "dot" is not installed/, 'the error says what is missing');
	like($err, qr/HINT:  Install Graphviz/, 'and what to do');
}
my $left = $node->safe_psql('postgres',
	q{SELECT count(*) FROM pg_ls_dir('.') n WHERE n = 'escaped' UNION ALL SELECT count(*) FROM pg_ls_tmpdir()});
is($left, "0\n0", 'nothing was run, and no file is left');

$node->stop;
done_testing();
