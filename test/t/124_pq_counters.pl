# Do posting pages of a pq index count right what is inserted while rows come and go, and
# does the index learn anew where other rows have come, and only there?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nmax_parallel_workers_per_gather = 0\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION x(i int, j int) RETURNS float8 LANGUAGE sql IMMUTABLE RETURN
		hashint8extended(i::int8 * 4096 + j, 7) / 9223372036854775808.0;
	-- row i near one of 100 places: no outlier, but the wider, the more often its code is strange
	CREATE FUNCTION around(i int, width float8) RETURNS vector LANGUAGE sql IMMUTABLE AS
		'SELECT array_agg(sin((i % 100) * 0.7301 * j + j * j) + width * x(i, j))::vector FROM generate_series(1, 16) j';
	CREATE TABLE t (id int, e vector(16));
	CREATE SEQUENCE made;
	INSERT INTO t SELECT i, around(i, 0.1) FROM generate_series(1, 6000) i;
	SELECT setval('made', 6000);
	-- few lists, so that each has full pages
	CREATE INDEX t_e ON t USING pq (e vector_l2_ops) WITH (lists = 8);
});
my @writers = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 3;

# The learners' end, and what the index says of itself then.
sub settle
{
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow pq learner'}) or die;
	return $node->safe_psql('postgres', q{SELECT generation FROM jflow_pq_info('t_e')});
}

# Posting pages of the lists, as they are on disk: entries inserted, those of them that
# are strange, and what cannot be.
sub counts
{
	my $facts = q{SELECT generation, lists, pg_relation_filepath('t_e') FROM jflow_pq_info('t_e')};
	my ($before, $file) = ('');
	# while nobody learns
	while ($before ne (my $now = $node->safe_psql('postgres', $facts)))
	{
		$before = $now;
		$node->safe_psql('postgres', 'CHECKPOINT');
		$file = slurp_file($node->data_dir . '/' . (split /\|/, $now)[2]);
	}
	my ($generation, $lists) = split /\|/, $before;
	my @pages;
	for my $block (1 .. length($file) / 8192 - 1)
	{
		my $page = substr($file, 8192 * $block, 8192);
		my ($owner, $of, undef, $kind) = unpack('VVVv', substr($page, 8176));
		push @pages, [ $block, unpack('Vv4', substr($page, 24)) ] if $kind == 5 && $of == $generation && $owner < $lists;
	}
	# one that another page follows was full
	my ($slots) = map { $_->[2] } grep { $_->[1] != 0xFFFFFFFF } @pages;
	my ($inserted, $strange, @wrong) = (0, 0);
	for (@pages)
	{
		my ($block, $next, $used, $live, $page_inserted, $page_strange) = @$_;
		push @wrong, "block $block: $used used, $live live, $page_inserted inserted, $page_strange strange"
		  if $used > $slots || $live > $used || $page_inserted > $slots || $page_strange > $page_inserted;
		$inserted += $page_inserted;
		$strange += $page_strange;
	}
	return ($inserted, $strange, join('; ', @wrong));
}

# A third of the rows goes, VACUUM takes them, and as many come, by two sessions at
# once, while a third session takes back what it has inserted.
sub churn
{
	my ($width) = @_;
	my $insert = "INSERT INTO t SELECT i, around(i::int, $width) FROM (SELECT nextval('made') AS i FROM generate_series(1, 1000)) x";
	$node->safe_psql('postgres', "DELETE FROM t WHERE ctid IN (SELECT ctid FROM t ORDER BY id LIMIT 2000)");
	$node->safe_psql('postgres', 'VACUUM t');
	my @does = ($insert, $insert, "BEGIN; $insert; ROLLBACK");
	$writers[$_]->query_until(qr/begun/, "\\echo begun\n$does[$_];\n") for 0 .. 2;
	$_->query_safe('SELECT 1') for @writers;
}

my ($inserted, $strange, $wrong) = counts();
is("$inserted $strange $wrong", '0 0 ', 'what an index is built from is not counted');
my $first = settle();
for my $round (1 .. 12)
{
	churn(0.1);
	($inserted, $strange, $wrong) = counts();
	is($wrong, '', "no page counts what cannot be, round $round");
}
# rows that were inserted and taken back are still there
$node->safe_psql('postgres', 'VACUUM t');
is($node->safe_psql('postgres', q{SELECT jflow_pq_check('t_e')}), 6000, 'every row is there');
cmp_ok($inserted, '>', 0, 'inserts are counted');
cmp_ok($strange, '<', 0.15 * $inserted, 'few rows are strange');
is(settle(), $first, 'rows of one kind come and go, and the index learns nothing');

for my $round (1 .. 25)
{
	last if settle() ne $first;
	churn(0.25);
	(undef, undef, $wrong) = counts();
	is($wrong, '', "nor does one that counts other rows, round $round");
	$node->safe_psql('postgres', 'VACUUM t');
}
cmp_ok(settle(), '>', $first, 'it learns from those');
churn(0.25) for 1 .. 3;
$node->safe_psql('postgres', 'VACUUM t');
my $then = settle();
$node->safe_psql('postgres', 'VACUUM t') for 1 .. 3;
is(settle(), $then, 'and not again where nothing comes');
churn(0.25) for 1 .. 9;
is(settle(), $then, 'nor where more of them come');
$node->safe_psql('postgres', 'VACUUM t');
is($node->safe_psql('postgres', q{SELECT jflow_pq_check('t_e')}), 6000, 'every row is there');
is((counts())[2], '', 'and counts are right');
$_->quit for @writers;
done_testing();
