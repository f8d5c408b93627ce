# What does a crash between any two steps of an inverted index's life leave: after
# an append, an item over several pages, a freeze, each page of a segment, a merge,
# the freeing of pages, VACUUM?
# All of it is done once; then the log is replayed up to records of each kind and
# order, as if the server had crashed there, and the index has to be sound, to
# answer as a sort does, and to go on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

my $steps = $ENV{INVERTED_STEPS} || 16;
my $seed = $ENV{INDEX_SEED} || time;
srand($seed);
note("seed $seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nfull_page_writes = off\nwal_keep_size = 1GB\nmax_wal_size = 1GB\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION v(i int) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS
		$$SELECT format('{%s:%s,%s:%s,%s:%s}/3000', 1 + i % 7, (i % 5 - 2) * 0.5 + 0.1, 10 + i % 90, 1 + i % 3, 100 + i % 1900, 2)::sparsevec$$;
	CREATE FUNCTION long(i int) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS
		$$SELECT format('{%s}/3000', string_agg(d || ':' || 1 + (i + d) % 5, ',' ORDER BY d))::sparsevec FROM generate_series(1, 2500) d$$;
	CREATE TABLE items (id int, v sparsevec(3000), price int);
	INSERT INTO items SELECT i, v(i), i % 50 FROM generate_series(1, 300) i;
	CREATE INDEX items_v ON items USING inverted (v sparsevec_ip_ops, price)});
my $file = $node->safe_psql('postgres', q{SELECT pg_relation_filepath('items_v')});
$node->stop;
PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir, $node->backup_dir . '/base');

# eight flushes make a level full, so that it is merged
$node->start;
my $start = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
for my $round (1 .. 9)
{
	$node->safe_psql('postgres', "INSERT INTO items SELECT i, v(i), i % 50 FROM generate_series(${round}000, ${round}080) i");
	$node->safe_psql('postgres', "INSERT INTO items VALUES (-$round, long($round), $round)") if $round % 4 == 0;
	$node->safe_psql('postgres', "DELETE FROM items WHERE id % 11 = $round");
	$node->safe_psql('postgres', 'VACUUM (FREEZE) items');
}
is($node->safe_psql('postgres', q{SELECT segments < 9 FROM jflow_inverted_info('items_v')}), 't', 'segments were merged');
my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
$node->stop('immediate');

# the index's records, each by the kinds of page that it changes
my $kinds = slurp_file($node->data_dir . "/$file");
my @names = qw(none meta pending head docs map postings skips dictionary branch free);
my ($filenode) = $file =~ m{/(\d+)$};
my ($dump) = run_command([ 'pg_waldump', '-p', $node->data_dir . '/pg_wal', '--start', $start, '--end', $end ]);
my @records;
for my $line (split /\n/, $dump)
{
	my ($lsn) = $line =~ m{lsn: ([0-9A-F]+/[0-9A-F]+)} or next;
	my @blocks = $line =~ m{blkref #\d+: rel \d+/\d+/$filenode blk (\d+)}g or next;
	push @records, [ $lsn, join('+', sort map { $_ ? $names[unpack('v', substr($kinds, 8192 * $_ + 8188, 2))] || 'page' : 'meta' } @blocks) ];
}
cmp_ok(scalar(@records), '>', 300, scalar(@records) . ' records are of the index');

# the first of each kind behind each kind, and others by chance
my (%seen, @first, @others);
for my $i (1 .. $#records)
{
	if ($seen{"$records[$i - 1][1] $records[$i][1]"}++) { push @others, $records[$i] }
	else { push @first, $records[$i] }
}
push @first, splice(@others, rand @others, 1) while @others && @first < $steps;
splice(@first, rand @first, 1) while @first > $steps;

my $by_index = 'SET enable_seqscan = off; SET enable_sort = off;';
my $by_sort = 'SET enable_indexscan = off;';
my @questions = (
	q{SELECT count(*), count(DISTINCT id), sum(id), md5(string_agg(d::text, ',')) FROM (SELECT id, (v <#> v(7)) + 0.0 AS d FROM items ORDER BY v <#> v(7) LIMIT 1000000) x},
	q{SELECT string_agg(d::text, ',') FROM (SELECT (v <#> v(11)) + 0.0 AS d FROM items WHERE price < 20 ORDER BY v <#> v(11) LIMIT 30) x});

# how a copy of the server as it was at first fares when it replays so much
sub wrong_after
{
	my ($n, $lsn) = @_;
	my $copy = PostgreSQL::Test::Cluster->new("copy$n");
	my @wrong;

	$copy->init_from_backup($node, 'base');
	unlink glob($copy->data_dir . '/pg_wal/0*');
	PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir . '/pg_wal', $copy->data_dir . '/pg_wal/from', filterfn => sub { return $_[0] !~ /archive_status|summaries/ });
	rename $_, $copy->data_dir . '/pg_wal/' . (split m{/}, $_)[-1] for glob($copy->data_dir . '/pg_wal/from/0*');
	$copy->append_conf('postgresql.conf', "recovery_target_lsn = '$lsn'\nrecovery_target_action = 'promote'\nfull_page_writes = on\n");
	$copy->set_standby_mode;
	$copy->start;
	$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or return 'recovery does not end';
	my $check = sub {
		my ($when) = @_;
		my ($code, undef, $err) = $copy->psql('postgres', q{SELECT jflow_inverted_check('items_v')});
		push @wrong, "$when: $err" if $code;
		push @wrong, "$when: answers differ"
		  if $copy->safe_psql('postgres', $by_index . join(';', @questions)) ne $copy->safe_psql('postgres', $by_sort . join(';', @questions));
	};
	$check->('at once');
	$copy->safe_psql('postgres', 'INSERT INTO items SELECT i, v(i), i % 50 FROM generate_series(20001, 20050) i');
	$check->('after inserts');
	$copy->safe_psql('postgres', 'DELETE FROM items WHERE id % 13 = 0');
	$copy->safe_psql('postgres', 'VACUUM (FREEZE) items') for 1 .. 2;
	$check->('after VACUUM');
	push @wrong, 'VACUUM leaves what no row is of' if $copy->safe_psql('postgres', q{SELECT jflow_inverted_check('items_v') = count(*) FROM items}) ne 't';
	$copy->stop('immediate');
	$copy->clean_node;
	return join('; ', @wrong);
}
my $n = 0;
is(wrong_after($n, $_->[0]), '', 'crash behind record ' . ++$n . ", $_->[1], at $_->[0]") for @first;
done_testing();
