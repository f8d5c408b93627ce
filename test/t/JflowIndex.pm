# What tests of index methods begin with: damaged files, and servers that are killed
# under load.
package JflowIndex;
use strict;
use warnings;
use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(damage kill_under_load);

# Ways to damage a page of 8,192 bytes, given its file.
sub any { return int(rand($_[0])) }
sub noise { return join('', map { chr(any(256)) } 1 .. $_[0]) }
my %ways = (
	'a byte' => sub { my $p = shift; substr($p, any(8192), 1) = noise(1); return $p },
	'20 bytes' => sub { my $p = shift; substr($p, any(8192), 1) = noise(1) for 1 .. 20; return $p },
	'bytes near its start' => sub { my $p = shift; substr($p, 24 + any(100), 1) = noise(1) for 1 .. 5; return $p },
	'a run of ones' => sub { my $p = shift; substr($p, any(8192 - 64), 64) = "\xff" x 64; return $p },
	'a run of zeros' => sub { my $p = shift; substr($p, any(8192 - 64), 64) = "\0" x 64; return $p },
	'noise throughout' => sub { return noise(8192) },
	'noise behind its header' => sub { my $p = shift; substr($p, 24, 8192 - 32) = noise(8192 - 32); return $p },
	'a hole, which the server thinks is sound' => sub { my $p = shift; substr($p, 12, 2) = pack('v', 24); return $p },
	'zeros throughout' => sub { return "\0" x 8192 },
	'another page' => sub { my ($p, $file) = @_; return substr($file, 8192 * any(length($file) / 8192), 8192) });

# damage(%test): many small indexes are damaged at once, each on one kind of page and
# in one way, while the server is down; then each is searched, filtered, inserted
# into, vacuumed, checked and at last rebuilt.  Of the access method it is told:
#
#   method    its name, as in jflow_METHOD_check
#   kinds     of its pages, by their numbers from 1
#   more      those that are damaged more often: what steers most decisions, and what
#             no checksum covers
#   vector    of row i, an expression
#   distance  the operator that an index orders by
#   table     a function that returns SQL for a table, given its name and number: a
#             copy of "seed" with an index NAME_v of v and kind
#   other     one more query of %t, true if the answer is right
sub damage
{
	my (%test) = @_;
	my $seed = $ENV{INDEX_SEED} || time;
	srand($seed);
	note("seed $seed");
	my @damages = map { my $kind = $_; map { [ $kind, $_ ] } sort keys %ways } @{ $test{kinds} };
	# what steers most decisions, and what no checksum covers, more often
	push @damages, map { [ $_, 'a byte' ], [ $_, '20 bytes' ], [ $_, 'bytes near its start' ] } @{ $test{more} };

	my $node = PostgreSQL::Test::Cluster->new('main');
	$node->init;
	$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\n");
	$node->start;
	my $setup = q{
		SET client_min_messages = error;
		CREATE EXTENSION jflow CASCADE;
		CREATE TABLE seed AS SELECT i AS id, i % 10 AS kind, %vector AS v FROM generate_series(1, 1600) i;
		CREATE TABLE outcome (n int, step text, sqlstate text, message text, answer text);

		-- what a statement answers about table n, or why it does not
		CREATE FUNCTION attempt(n int, step text, statement text) RETURNS void LANGUAGE plpgsql AS $$
		DECLARE
			answer text;
			detail text;
		BEGIN
			EXECUTE replace(statement, '%t', 't' || n) INTO answer;
			INSERT INTO outcome VALUES (n, step, '00000', '', answer);
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			INSERT INTO outcome VALUES (n, step, SQLSTATE, SQLERRM || '|' || detail, NULL);
		END $$;
		CREATE FUNCTION attempt_all(n int, round text) RETURNS void LANGUAGE sql AS $$
			SELECT attempt(n, round || step, statement) FROM (VALUES
				('scan', 'SELECT (SELECT (count(*), count(DISTINCT id), sum(id)) FROM (SELECT id FROM %t ORDER BY v %distance (SELECT v FROM seed WHERE id = 7) LIMIT 100000) x)
					= (SELECT (count(*), count(DISTINCT id), sum(id)) FROM %t)'),
				('filter', 'SELECT (SELECT (count(*), sum(id)) FROM (SELECT id FROM %t WHERE kind < 3 ORDER BY v %distance (SELECT v FROM seed WHERE id = 9) LIMIT 100000) x)
					= (SELECT (count(*), sum(id)) FROM %t WHERE kind % 10 < 3)'),
				('few', 'SELECT count(*) = 10 FROM (SELECT id FROM %t ORDER BY v %distance (SELECT v FROM seed WHERE id = 11) LIMIT 10) x'),
				('other', '%other'),
				('info', 'SELECT jflow_%method_info(''%t_v'') IS NOT NULL'),
				('check', 'SELECT jflow_%method_check(''%t_v'')')) s (step, statement)
		$$;
	};
	$setup =~ s/%(vector|distance|other|method)/$test{$1}/g;
	$node->safe_psql('postgres', $setup);
	my $last = $#damages;
	$node->safe_psql('postgres', join('', map { $test{table}->("t$_", $_) } 0 .. $last));
	my %path = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
		q{SELECT substr(relname, 2, length(relname) - 3), pg_relation_filepath(oid) FROM pg_class WHERE relname ~ '^t\d+_v$'});
	$node->stop;

	my @block;
	for my $n (0 .. $last)
	{
		my ($kind, $way) = @{ $damages[$n] };
		my $name = $node->data_dir . "/$path{$n}";
		my $file = slurp_file($name);
		my @pages = grep { unpack('v', substr($file, 8192 * $_ + 8188, 2)) == (grep { $test{kinds}[ $_ - 1 ] eq $kind } 1 .. @{ $test{kinds} })[0] } 0 .. length($file) / 8192 - 1;
		$block[$n] = $pages[ any(scalar @pages) ];
		substr($file, 8192 * $block[$n], 8192) = $ways{$way}->(substr($file, 8192 * $block[$n], 8192), $file);
		open(my $fh, '>:raw', $name) or die;
		print $fh $file;
		close $fh;
	}
	$node->start;

	# a session per step: should one end a server process, the others still run
	my @sessions = (
		"SELECT attempt_all(n, '') FROM generate_series(0, $last) n",
		"SELECT attempt(n, 'insert', 'INSERT INTO %t SELECT 10000 + id, kind, v FROM seed WHERE id <= 150 RETURNING 1') FROM generate_series(0, $last) n",
		join(';', map { "DELETE FROM t$_ WHERE id % 2 = 0" } 0 .. $last),
		join("\n", map { "VACUUM t$_;" } 0 .. $last),
		"SELECT attempt_all(n, 'later ') FROM generate_series(0, $last) n");
	$node->psql('postgres', "SET client_min_messages = error; SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off; SELECT;\n$_;", on_error_stop => 0)
	  for @sessions;
	my $log = slurp_file($node->logfile);
	unlike($log, qr/terminated by signal|PANIC|TRAP/, 'no damage crashes the server');
	is($node->safe_psql('postgres', q{SELECT count(DISTINCT step) FROM outcome}), 13, 'every step was taken');

	my $where = sub { my ($n) = @_; return "$damages[$n][0] page $block[$n] of t$n: $damages[$n][1]" };
	my %allowed = map { $_ => 1 } qw(00000 XX001 XX002);
	# a damaged version number is one of a format to come
	my @odd = grep { !$allowed{ (split /\|/)[2] } && !/^\d+\|[a-z ]+\|0A000\|index "t\d+_v" has format version/ } split /\n/, $node->safe_psql('postgres', 'SELECT n, step, sqlstate, message FROM outcome');
	is(join("\n", map { $where->((split /\|/)[0]) . " $_" } @odd), '', 'all errors say that data or index are corrupted');

	# an answer that is wrong is one that the check would have told of
	my @wrong = split /\n/, $node->safe_psql('postgres', q{
		SELECT n, step FROM outcome o WHERE answer = 'false' AND step ~ 'scan|filter|few|other'
			AND EXISTS (SELECT FROM outcome c WHERE c.n = o.n AND c.step = CASE WHEN o.step ~ 'later' THEN 'later check' ELSE 'check' END AND c.sqlstate = '00000')});
	is(join("\n", map { $where->((split /\|/)[0]) . " $_" } @wrong), '', 'no wrong answer from an index that passes the check');
	my @found = split /\n/, $node->safe_psql('postgres', q{SELECT n, message FROM outcome WHERE step = 'check' AND sqlstate <> '00000'});
	my $located = grep { my ($n, $message) = split /\|/, $_, 2; $message =~ /(?:index "t${n}_v" is corrupted(?: at block \d+|\|It leads)|invalid page in block \d+|has format version)/ } @found;
	my $caught = @found;
	cmp_ok($caught, '>=', @damages / 2, "jflow_$test{method}_check notices damage ($caught of " . @damages . ')');
	is($located, $caught, 'and says where');
	# the tables are whole, and a rebuilt index is
	$node->safe_psql('postgres', join("\n", map { "REINDEX INDEX t${_}_v;" } 0 .. $last));
	$node->safe_psql('postgres', q{SET enable_seqscan = off; SET enable_sort = off;
		TRUNCATE outcome; } . "SELECT attempt(n, 'rebuilt', 'SELECT (SELECT count(DISTINCT id) FROM (SELECT id FROM %t ORDER BY v $test{distance} (SELECT v FROM seed WHERE id = 7) LIMIT 100000) x) = count(*) AND jflow_$test{method}_check(''%t_v'') = count(*) FROM %t') FROM generate_series(0, $last) n");
	is($node->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE answer = 'true') FROM outcome}), $last + 1, 'REINDEX mends every index');
	$node->stop;
}

# load($node, @statements): start psql with statements, which end when the server dies
sub load
{
	my ($node, @statements) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
	append_to_file($file, join("\n", @statements));
	return IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file, '-o', '/dev/null' ],
		'2>', '/dev/null');
}

# kill_under_load($node, $standby, %round): let scripts run until enough has come, and
# the standby answer meanwhile; then kill the server, and start it again.
#
#   name      of the round
#   scripts   each a list of statements
#   enough    a query that is true once enough has come, and
#   rows      how many these are
#   meanwhile a query for the standby
sub kill_under_load
{
	my ($node, $standby, %round) = @_;
	my @load = map { load($node, @$_) } @{ $round{scripts} };

	ok($node->poll_query_until('postgres', $round{enough}), "$round{name}: $round{rows} rows have come");
	$standby->safe_psql('postgres', $round{meanwhile}) for 1 .. 3;
	is(scalar(grep { $_->pumpable } @load), scalar(@load), "$round{name}: the server is killed under load");
	$node->stop('immediate');
	$_->finish for @load;
	$node->start;
}

1;
