# Does a pq index keep every row through crashes, replay and standby queries?
# Rows are inserted, deleted, vacuumed and searched at once while the server is
# killed; then the index must be sound and hold exactly the table's rows, on the
# primary and on a standby that compared every page it replayed.
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
$primary->append_conf('postgresql.conf', "wal_consistency_checking = 'generic'\nwal_keep_size = 2GB\nmaintenance_work_mem = 64MB\n");
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION v(i int) RETURNS vector LANGUAGE sql IMMUTABLE AS
		'SELECT array_agg(sin(i * j * 0.37 + j) + cos(i * 0.11 * j))::vector FROM generate_series(1, 24) j';
	CREATE TABLE items (id int PRIMARY KEY, v vector(24), price int) WITH (autovacuum_enabled = off);
	INSERT INTO items SELECT i, v(i), i % 50 FROM generate_series(1, 3000) i;
	CREATE INDEX items_v ON items USING pq (v vector_l2_ops, price);
	CREATE INDEX items_h ON items USING pq ((v::halfvec(24)) halfvec_cosine_ops);
	CREATE UNLOGGED TABLE volatile (id int, v vector(24));
	INSERT INTO volatile SELECT id, v FROM items;
	CREATE INDEX volatile_v ON volatile USING pq (v vector_l2_ops);
});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $ordered = q{SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;
	SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || coalesce(sum(id), 0)
	FROM (SELECT id FROM items ORDER BY v <-> v(7) LIMIT 1000000) x};
my $all = q{SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || coalesce(sum(id), 0) FROM items};
my $top = q{SET enable_seqscan = off; SELECT string_agg(id::text, ',') FROM
	(SELECT id FROM items WHERE price < 20 ORDER BY v <-> v(11) LIMIT 20) x};

my $seed = $ENV{INDEX_SEED} || time;
srand($seed);
note("seed $seed");
for my $round (1 .. 3)
{
	my $some = 200 + int(rand(4000));
	my @scripts;
	for my $part (0 .. 1)
	{
		my $base = $round * 100000 + $part * 10000;
		push @scripts, [ map {
			my $i = $base + $_;
			("INSERT INTO items SELECT i, v(i), i % 50 FROM generate_series($i * 10, $i * 10 + 9) i;",
				"DELETE FROM items WHERE id % 3 = 0 AND id % 7 = " . ($_ % 7) . " AND id > 1000;",
				"SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> v($_) LIMIT 50) x;")
		} 1 .. 900 ];
	}
	push @scripts, [ ('VACUUM items;') x 5000 ];
	kill_under_load($primary, $standby, name => "round $round", scripts => \@scripts, rows => $some,
		enough => "SELECT count(*) > $some FROM items WHERE id >= ${round}000000",
		meanwhile => "SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> v($round) LIMIT 500) x");
	ok($primary->safe_psql('postgres', "SELECT jflow_pq_check('items_v') >= (SELECT count(*) FROM items)") eq 't',
		"round $round: the index is sound");
	$primary->safe_psql('postgres', "SELECT jflow_pq_check('items_h')");
	is($primary->safe_psql('postgres', $ordered), $primary->safe_psql('postgres', $all),
		"round $round: an ordered scan returns the table's rows");
	$primary->wait_for_catchup($standby);
	is($standby->safe_psql('postgres', $top), $primary->safe_psql('postgres', $top),
		"round $round: the standby answers alike");
}
$primary->safe_psql('postgres', 'VACUUM (FREEZE) items');
ok($primary->safe_psql('postgres', "SELECT jflow_pq_recall('items_v', 50)") > 0.85, 'recall holds after the load');
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $ordered), $primary->safe_psql('postgres', $all), 'the standby has all rows');

# a cursor of the standby that is half-way while VACUUM is replayed, and stays
# valid as the primary is told of it
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nwal_receiver_status_interval = 1\nmax_standby_streaming_delay = -1\n");
$standby->reload;
$primary->poll_query_until('postgres', 'SELECT backend_xmin IS NOT NULL FROM pg_stat_replication') or die 'no feedback';
$primary->safe_psql('postgres', q{
	-- the sum of the next n numbers of a cursor
	CREATE FUNCTION rest(c refcursor, n int) RETURNS int8 LANGUAGE plpgsql AS $$
	DECLARE
		id int;
		sum int8 := 0;
	BEGIN
		FOR i IN 1 .. n LOOP
			FETCH c INTO id;
			EXIT WHEN NOT FOUND;
			sum := sum + id;
		END LOOP;
		RETURN sum;
	END $$});
my $sum = $primary->safe_psql('postgres', 'SELECT sum(id) FROM items');
$primary->wait_for_catchup($standby);
my $reader = $standby->background_psql('postgres');
$reader->query_safe($_) for 'SET enable_seqscan = off', 'SET enable_sort = off', 'BEGIN ISOLATION LEVEL REPEATABLE READ',
  'DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> v(7)';
my $first = $reader->query_safe("SELECT rest('c', 20)");
# feedback of the cursor's snapshot has arrived once the primary's horizon is not younger
my $horizon = $standby->safe_psql('postgres', "SELECT backend_xmin FROM pg_stat_activity WHERE state = 'idle in transaction'");
$primary->poll_query_until('postgres', "SELECT backend_xmin::text::int8 <= $horizon FROM pg_stat_replication") or die 'no feedback';
$primary->safe_psql('postgres', 'DELETE FROM items WHERE id % 2 = 0');
$primary->safe_psql('postgres', 'VACUUM (FREEZE) items');
$primary->safe_psql('postgres', 'INSERT INTO items SELECT i, v(i), i % 50 FROM generate_series(9000001, 9001000) i');
$primary->safe_psql('postgres', 'VACUUM (FREEZE) items');
$primary->wait_for_catchup($standby);
is($first + $reader->query_safe("SELECT rest('c', 1000000)"), $sum, 'a cursor on the standby returns the rows of its snapshot while VACUUM is replayed');
$reader->quit;
$primary->safe_psql('postgres', 'VACUUM (FREEZE) items');
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $ordered), $primary->safe_psql('postgres', $all), 'and another the rows of now');
is($standby->safe_psql('postgres', q{SELECT jflow_pq_check('items_v') >= count(*) FROM items}), 't', 'the index is sound on the standby');

unlike(slurp_file($standby->logfile), qr/inconsistent page|PANIC/, 'replayed pages are like the written ones');
is($primary->safe_psql('postgres', "SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM volatile ORDER BY v <-> v(1) LIMIT 10) x"),
	'0', 'an unlogged index is empty after a crash');
$standby->stop;
$primary->stop;
done_testing();
