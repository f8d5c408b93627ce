# Does an inverted index keep every row through crashes, replay and standby queries?
# Rows are inserted, deleted, flushed, merged, vacuumed and searched at once while
# the server is killed; then the index must be sound and answer as a sort does, on
# the primary and on a standby that compared every page it replayed.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::RealBin;
use JflowIndex;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "wal_consistency_checking = 'generic'\nwal_keep_size = 2GB\nautovacuum = off\n");
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION v(i int) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS
		$$SELECT ('{' || string_agg(d || ':' || (1 + i * d % 17) / 4.0 - CASE WHEN i % 9 = 0 THEN 3 ELSE 0 END, ',' ORDER BY d) || '}/3000')::sparsevec
		FROM (SELECT DISTINCT 1 + i * j * j % (10 * j * j * j) AS d FROM generate_series(1, 6) j) x
		WHERE (1 + i * d % 17) / 4.0 - CASE WHEN i % 9 = 0 THEN 3 ELSE 0 END <> 0$$;
	-- a vector over three pages
	CREATE FUNCTION long(i int) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS
		$$SELECT format('{%s}/3000', string_agg(d || ':' || 1 + (i + d) % 5, ',' ORDER BY d))::sparsevec FROM generate_series(1, 2500) d$$;
	CREATE TABLE items (id int PRIMARY KEY, v sparsevec(3000), price int);
	INSERT INTO items SELECT i, v(i), i % 50 FROM generate_series(1, 1000) i;
	CREATE INDEX items_v ON items USING inverted (v sparsevec_ip_ops, price);
	CREATE INDEX items_c ON items USING inverted (v sparsevec_cosine_ops) WHERE price < 25;
	CREATE UNLOGGED TABLE volatile (id int, v sparsevec(3000));
	INSERT INTO volatile SELECT id, v FROM items;
	CREATE INDEX volatile_v ON volatile USING inverted (v sparsevec_ip_ops);
});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = -1\nlog_min_messages = debug1\n");
$standby->start;

my $by_index = 'SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;';
my $by_sort = 'SET enable_indexscan = off; SET enable_bitmapscan = off;';
my @questions = (
	q{SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || coalesce(sum(id), 0) || ' ' || md5(string_agg(d::text, ','))
		FROM (SELECT id, v <#> v(7) AS d FROM items ORDER BY v <#> v(7) LIMIT 1000000) x},
	q{SELECT string_agg(d::text, ',') FROM (SELECT v <#> v(11) + 0.0 AS d FROM items WHERE price < 20 ORDER BY v <#> v(11) LIMIT 30) x},
	q{SELECT string_agg(d::text, ',') FROM (SELECT v <=> v(12) AS d FROM items WHERE price < 25 ORDER BY v <=> v(12) LIMIT 30) x});
# -0 is 0
$questions[0] =~ s/v <#> v\(7\) AS d/(v <#> v(7)) + 0.0 AS d/;
$questions[1] =~ s/v <#> v\(11\) \+ 0\.0 AS d/(v <#> v(11)) + 0.0 AS d/;

sub answers_right
{
	my ($node, $name) = @_;
	is($node->safe_psql('postgres', $by_index . join(';', @questions)), $primary->safe_psql('postgres', $by_sort . join(';', @questions)), $name);
}

my $seed = $ENV{INDEX_SEED} || time;
srand($seed);
note("seed $seed");
for my $round (1 .. 3)
{
	my $some = 100 + int(rand(2000));
	my @scripts;
	for my $part (0 .. 1)
	{
		my $base = $round * 100000 + $part * 20000;
		push @scripts, [ map {
			my $i = $base + $_;
			("INSERT INTO items SELECT i, v(i), i % 50 FROM generate_series($i * 10, $i * 10 + 9) i;",
				$_ % 10 ? () : "INSERT INTO items VALUES (-$i, long($i), 3);",
				"DELETE FROM items WHERE id % 3 = 0 AND id % 7 = " . ($_ % 7) . " AND id > 500 AND id % 11 = " . ($_ % 11) . ";",
				"SELECT count(*) FROM (SELECT id FROM items ORDER BY v <#> v($_) LIMIT 50) x;")
		} 1 .. 3000 ];
	}
	push @scripts, [ ('VACUUM items;') x 5000 ];
	kill_under_load($primary, $standby, name => "round $round", scripts => \@scripts, rows => $some,
		enough => "SELECT count(*) > $some FROM items WHERE id >= ${round}000000",
		meanwhile => "SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM items ORDER BY v <#> v($round) LIMIT 500) x");
	ok($primary->safe_psql('postgres', "SELECT jflow_inverted_check('items_v') >= (SELECT count(*) FROM items)") eq 't',
		"round $round: the index is sound");
	$primary->safe_psql('postgres', "SELECT jflow_inverted_check('items_c')");
	answers_right($primary, "round $round: it answers as a sort does");
	$primary->wait_for_catchup($standby);
	answers_right($standby, "round $round: so does the standby");
}
$primary->safe_psql('postgres', 'VACUUM (FREEZE) items');
ok($primary->safe_psql('postgres', "SELECT jflow_inverted_check('items_v') = (SELECT count(*) FROM items)") eq 't', 'after VACUUM it is sound');
answers_right($primary, 'and answers as a sort does');

# what crashes left is found: the pages that are free can be used again
my $pages = $primary->safe_psql('postgres', "SELECT pages FROM jflow_inverted_info('items_v')");
$primary->safe_psql('postgres', 'INSERT INTO items SELECT i, v(i), i % 50 FROM generate_series(900001, 903000) i');
$primary->safe_psql('postgres', 'DELETE FROM items WHERE id BETWEEN 900001 AND 903000');
$primary->safe_psql('postgres', 'VACUUM (FREEZE) items');
cmp_ok($primary->safe_psql('postgres', "SELECT pages FROM jflow_inverted_info('items_v')"), '<=', $pages + 300, 'pages are used again');

# a cursor of the standby, while pages that it has yet to read are used again
$primary->safe_psql('postgres', q{
	CREATE TABLE fresh (id int, v sparsevec(3000));
	CREATE INDEX fresh_v ON fresh USING inverted (v sparsevec_ip_ops);
	INSERT INTO fresh SELECT i, v(i) FROM generate_series(1, 9000) i;
	-- the ids that a cursor has left, in their order, and the distances
	CREATE FUNCTION rest(c refcursor, n int, OUT rows int, OUT sum int8, OUT ordered bool) LANGUAGE plpgsql AS $$
	DECLARE
		id int;
		d float8;
		before float8 := '-infinity';
	BEGIN
		rows := 0;
		sum := 0;
		ordered := true;
		FOR i IN 1 .. n LOOP
			FETCH c INTO id, d;
			EXIT WHEN NOT FOUND;
			rows := rows + 1;
			sum := sum + id;
			ordered := ordered AND coalesce(d, 'NaN') >= before;
			before := coalesce(d, 'NaN');
		END LOOP;
	END $$});
$primary->wait_for_catchup($standby);
my @readers;
for my $first (0, 10, 300, 6000)
{
	my $reader = $standby->background_psql('postgres');
	$reader->query_safe($_) for 'SET enable_seqscan = off', 'SET enable_sort = off', 'BEGIN ISOLATION LEVEL REPEATABLE READ',
	  'DECLARE c CURSOR FOR SELECT id, v <#> v(7) FROM fresh ORDER BY v <#> v(7)';
	# the snapshot is taken, and the first rows are read
	$reader->query_safe('SELECT count(*) FROM fresh');
	push @readers, [ $reader, $first, $first ? $reader->query_safe("SELECT sum FROM rest('c', $first)") : 0 ];
}
$primary->safe_psql('postgres', 'INSERT INTO fresh SELECT i, v(i) FROM generate_series(10001, 60000) i');
$primary->wait_for_catchup($standby);
my $sum = 9000 * 9001 / 2;
for my $reader (@readers)
{
	my ($psql, $first, $before) = @$reader;
	is($psql->query_safe("SELECT rows || ' ' || sum + $before || ' ' || ordered FROM rest('c', 1000000)"), (9000 - $first) . " $sum true",
		"a cursor of which $first rows were read goes on with the rest");
	$psql->quit;
}
like(slurp_file($standby->logfile), qr/scan of inverted index "fresh_v" starts again/, 'scans have met pages that were used again');
is($standby->safe_psql('postgres', q{SELECT jflow_inverted_check('fresh_v')}), '59000', 'the index is sound on the standby');

unlike(slurp_file($standby->logfile), qr/inconsistent page|PANIC/, 'replayed pages are like the written ones');
is($primary->safe_psql('postgres', "SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM volatile ORDER BY v <#> v(1) LIMIT 10) x"),
	'0', 'an unlogged index is empty after a crash');
$standby->stop;
$primary->stop;
done_testing();
