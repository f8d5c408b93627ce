# Do queries like the rows stay cheap, whatever those unlike them need, for many rows, too?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nmax_parallel_maintenance_workers = 0\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION jflow CASCADE;
	SELECT setseed(0.3);
	CREATE FUNCTION noise(width float8) RETURNS vector LANGUAGE sql VOLATILE AS
		'SELECT array_agg(2 * width * (random() + random() + random() - 1.5))::vector FROM generate_series(1, 64)';
	CREATE TABLE clusters AS SELECT i, noise(1) AS e FROM generate_series(1, 100) i;
	CREATE TABLE t (id int, e vector(64));
	INSERT INTO t SELECT n, c.e + noise(0.3) FROM generate_series(1, 10000) n JOIN clusters c ON c.i = 1 + n % 100;
	-- between the clusters there is nothing, and a taxicab distance is another one
	CREATE INDEX t_e ON t USING pq (e vector_l1_ops);
});
my @queries = split /\n/, $node->safe_psql('postgres', 'SELECT e FROM t WHERE id % 250 = 0 ORDER BY id');

# What scans for so many rows look at, on the mean.
sub candidates
{
	my ($goal, $k) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', join('', "SET enable_seqscan = off; SET jflow.explain_scans = on; SET jflow.pq_recall = $goal;\n",
			map { "SELECT count(*) FROM (SELECT FROM t ORDER BY e <+> '$_' LIMIT $k) x;\n" } @queries));
	my @seen = $err =~ /Candidates: (\d+)/g;
	my $sum = 0;
	$sum += $_ for @seen;
	is(scalar @seen, scalar @queries, "each scan for $k rows tells what it has done");
	return $sum / @queries;
}
for my $goal (0.9, 0.95)
{
	my $seen = candidates($goal, 1000);
	cmp_ok($seen, '<', 5500, "a thousand rows at the goal $goal");
	note("candidates: $seen");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM jsonb_array_elements((SELECT unlike FROM jflow_pq_info('t_e'))) p
	WHERE (p->>'strange')::float8 IS NULL OR p->>'recall' IS NULL OR p->>'probes' IS NULL}), '0', 'which queries are unlike the rows is shown for each goal');
$node->stop;
done_testing();
