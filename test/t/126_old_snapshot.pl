# Is a snapshot that VACUUM no longer keeps rows for (old_snapshot_threshold) refused by scans, instead of losing rows?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
plan skip_all => 'this version has no old_snapshot_threshold' if $node->pg_version >= 17;
$node->init;
# a minute, the least that VACUUM heeds
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nold_snapshot_threshold = 1\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION jflow CASCADE');
my %methods = (
	pq => [ 'vector_l2_ops', '<->', q{ARRAY[sin(i), cos(i * 0.7), sin(i * 1.3), i % 7]::vector(4)}, q{'[0,0,0,0]'} ],
	inverted => [ 'sparsevec_ip_ops', '<#>', q{format('{%s:%s}/100', 1 + i % 100, 1 + i % 13)::sparsevec(100)}, q{'{1:1}/100'} ]);
my %readers;
for my $method (sort keys %methods)
{
	my ($class, $operator, $row, $query) = @{ $methods{$method} };
	for my $rows (500, 5000)
	{
		my $table = "${method}_$rows";
		$node->safe_psql('postgres', "CREATE TABLE $table AS SELECT i AS id, $row AS e FROM generate_series(1, $rows) i; CREATE INDEX ON $table USING $method (e $class)");
		my $psql = $node->background_psql('postgres', on_error_stop => 0);
		$psql->set_query_timer_restart();
		my $search = "SELECT count(*) FROM (SELECT FROM $table ORDER BY e $operator $query LIMIT $rows / 2) x";
		$psql->query($_) for 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SET enable_seqscan = off', 'SET enable_sort = off';
		my $seen = $psql->query($search);
		is($seen, $rows / 2, "$table: a snapshot");
		$readers{$table} = { psql => $psql, search => $search, before => $seen, seen => $seen };
		# some of the rows that it sees go, as soon as VACUUM takes it for old
		$node->safe_psql('postgres', "DELETE FROM $table WHERE id % 5 > 0");
	}
}
for (1 .. 360)
{
	my $waiting = 0;
	for my $table (sort keys %readers)
	{
		my $reader = $readers{$table};
		next if $reader->{seen} ne $reader->{before};
		# old is what another was begun long after
		$node->safe_psql('postgres', "SELECT pg_current_xact_id(); VACUUM $table");
		$reader->{seen} = $reader->{psql}->query($reader->{search});
		$waiting++;
	}
	last unless $waiting;
	sleep 1;
}
for my $table (sort keys %readers)
{
	my $psql = $readers{$table}{psql};
	is($readers{$table}{seen}, '', "$table: no rows are left out");
	like($psql->{stderr}, qr/snapshot too old/, "$table: it is too old");
	$psql->{stderr} = '';
	$psql->quit;
}
$node->stop;
done_testing();
