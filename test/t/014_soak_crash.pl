# After kills each second and crashes in between, is in the stores what was
# acknowledged, and nothing that was not asked for?
# Clients keep a model of their documents outside of the server.  JFLOW_SOAK_SECONDS
# and JFLOW_SOAK_SEED choose how long and which, JFLOW_SOAK_CRASH how many seconds
# lie between two crashes.
use strict;
use warnings;
use IPC::Open2;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{JFLOW_SOAK_SECONDS} || 25;
my $seed = $ENV{JFLOW_SOAK_SEED} || 1;
my $between = $ENV{JFLOW_SOAK_CRASH} || ($seconds >= 300 ? 60 : 8);
my $nclients = 4;
my $nids = 40;
srand($seed);
note("seed $seed, $seconds seconds");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'jflow'
jflow.max_replicas = 16
jflow.max_requests = 64
jflow.memory_limit = 16MB
max_worker_processes = 40
max_connections = 50
restart_after_crash = on
log_min_messages = log
log_statement = none
});
$node->start;
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE ROLE soak LOGIN;
	CREATE SCHEMA soak AUTHORIZATION soak;
	CREATE VIEW placed AS SELECT flow, min(format('%I.%I', schema, parent)) AS place FROM jflow.shard GROUP BY flow;
	GRANT SELECT ON placed TO soak;
});
my @as_soak = (extra_params => [ '-U', 'soak' ]);
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	SELECT jflow_create('inline');
	SELECT jflow_add('inline', 'ix', uses => 'PQLiteIndexer', uses_with => '{"dim": 2, "metric": "l2", "columns": {"n": "int4"}}', workspace => 'soak', shards => 2, replicas => 0);
	SELECT jflow_create('remote');
	SELECT jflow_add('remote', 'ix', uses => 'PQLiteIndexer', uses_with => '{"dim": 2, "metric": "l2"}', workspace => 'soak', shards => 2, replicas => 2, retries => 2);
	SELECT jflow_start('remote');
	SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'first', text => 'first', embedding => '[0,0]')], 'inline');
}, @as_soak);
$node->safe_psql('postgres', q{SELECT jflow_wait('remote', '60s'); SELECT jflow_post('/index', ARRAY[jflow_doc(id => 'first', text => 'first', embedding => '[0,0]')], 'remote')}, @as_soak);

my $connstr = $node->connstr('postgres') . ' user=soak';
my $models = $node->basedir . '/model';

sub pick { return $_[int(rand(@_))]; }

# One client.  For each document it keeps which texts it may have ('' for none);
# after a failure that may be the old or the new, and a request that was given up
# may still be carried out later, until a crash ends everything.
sub client
{
	my ($client) = @_;
	my (%may, %late, $in, $out, $pid);
	my ($number, $answered) = (0, 0);
	my $epoch = '';
	my $end = time() + $seconds;
	local $SIG{PIPE} = 'IGNORE';
	srand($seed * 100 + $client);

	# (result or undef, whether the connection is there)
	my $ask = sub {
		my ($sql) = @_;
		my $failed = 0;
		my $result = '';
		$pid = open2($out, $in, 'psql', '-X', '-q', '-A', '-t', '-d', $connstr) unless $pid;
		print $in "$sql\n\\echo mark :ERROR\n";
		$in->flush;
		while (my $line = <$out>)
		{
			chomp $line;
			return ($1 eq 'true' ? undef : $result, 1) if $line =~ /^mark (\w+)/;
			$result = $line;
		}
		close $in;
		close $out;
		waitpid($pid, 0);
		$pid = undef;
		return (undef, 0);
	};
	open(STDERR, '>', '/dev/null');
	while (time() < $end)
	{
		my ($now) = $ask->('SELECT pg_postmaster_start_time() || \' \' || (SELECT min(pid) FROM pg_stat_activity WHERE backend_type = \'checkpointer\');');
		if (!defined $now)
		{
			select(undef, undef, undef, 0.1);
			next;
		}
		%late = () if $now ne $epoch;
		$epoch = $now;

		my $flow = pick('inline', 'remote', 'remote');
		my %ids = map { ("$client-" . int(rand($nids)), 1) } 1 .. pick(1, 1, 3, 10);
		my @ids = sort keys %ids;
		my $text = "$client/" . ++$number;
		my $what = pick('/index', '/index', '/index', '/delete');
		my $docs = join(', ', map {
			my ($n) = /-(\d+)/;
			$what eq '/delete' ? "jflow_doc(id => '$_')" : "jflow_doc(id => '$_', text => '$text', embedding => '[$client,$n]', tags => '{\"n\": $n}')" } @ids);
		my $post = "SELECT count(*) FROM jflow_post('$what', ARRAY[$docs], '$flow', request_size => " . pick(1, 100) . ")";
		my $back = $flow eq 'inline' && rand() < 0.2;
		# as one message: a COMMIT of its own would end what has failed without an error
		my ($result, $connected) = $ask->($back ? "BEGIN; $post; ROLLBACK;" : rand() < 0.2 ? "BEGIN\\; SAVEPOINT s\\; $post\\; RELEASE s\\; COMMIT;" : "$post;");
		my $new = $what eq '/delete' ? '' : $text;
		next if $back;
		if (!defined $result && $connected)
		{
			# an error in the transaction block leaves it open
			my ($ended) = $ask->('ROLLBACK;');
			next if $flow eq 'inline';
		}
		$answered++ if defined $result;
		for my $id (@ids)
		{
			my $key = "$flow $id";
			$may{$key} = defined $result ? { $new => 1 } : { %{ $may{$key} || { '' => 1 } }, $new => 1 };
			$may{$key}{$_} = 1 for keys %{ $late{$key} || {} };
			$late{$key}{$new} = 1 if !defined $result && $flow eq 'remote';
		}
	}
	open(my $file, '>', "$models$client") or die;
	print $file "answered $answered\n";
	print $file join('|', $_, sort keys %{ $may{$_} }), "\n" for sort keys %may;
	close $file;
	POSIX::_exit(0);
}

my @children;
for my $client (1 .. $nclients)
{
	my $child = fork();
	client($client) if $child == 0;
	push @children, $child;
}

# a statement of the disturber's; that it fails is no matter
sub disturb { $node->psql('postgres', $_[0], timeout => 60, @{ $_[1] || [] }); return; }

my (%did, $crashes);
my $end = time() + $seconds;
my $next_crash = time() + $between;
while (time() < $end)
{
	my $now = time();
	if ($now > $next_crash)
	{
		if (rand() < 0.5)
		{
			# as when a process of the server's crashes
			my $victim = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type IN ('jflow replica', 'jflow launcher', 'client backend', 'checkpointer') AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1});
			kill 'KILL', $victim if $victim;
			$did{'kill -9'}++;
		}
		else
		{
			$node->stop('immediate');
			$node->start;
			$did{'immediate stop'}++;
		}
		$crashes++;
		$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
		$next_crash = time() + $between;
	}
	my ($name, $sql) = @{ pick(
		['terminate a replica', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jflow replica' ORDER BY random() LIMIT 1}],
		['terminate a replica', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jflow replica' ORDER BY random() LIMIT 1}],
		['terminate a client', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'soak' AND backend_type = 'client backend' ORDER BY random() LIMIT 1}],
		['terminate another process', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('jflow launcher', 'jflow scout', 'jflow mover') ORDER BY random() LIMIT 1}],
		['cancel', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'soak' ORDER BY random() LIMIT 1}],
		['scale', sprintf(q{SELECT jflow_scale('remote', 'ix', %d)}, pick(1, 2, 3))],
		['change shards', sprintf(q{SELECT jflow_scale('remote', 'ix', shards => %d)}, pick(1, 2, 3))],
		['change shards inline', sprintf(q{SELECT jflow_scale('inline', 'ix', shards => %d)}, pick(1, 2, 3))],
		['restart', q{SELECT jflow_restart('remote', 'ix')}],
		['index', q{SELECT unnest(ARRAY[format('DROP INDEX IF EXISTS soak.soak_%s', flow), format('CREATE INDEX soak_%s ON %s USING pq (embedding vector_l2_ops)', flow, place)]) FROM placed \gexec}],
		['vacuum', q{SELECT format('VACUUM %s', place) FROM placed \gexec}],
		['stop and start', q{SELECT jflow_stop('remote'); SELECT jflow_start('remote')}]) };
	disturb($sql);
	$did{$name}++;
	my $rest = 1 - (time() - $now);
	select(undef, undef, undef, $rest) if $rest > 0;
}
waitpid($_, 0) for @children;
note(join(', ', map { "$_: $did{$_}" } sort keys %did));
cmp_ok($crashes || 0, '>=', $seconds > $between + 1 ? 1 : 0, 'the server crashed, and came back');

ok($node->poll_query_until('postgres', q{SELECT jflow_wait('remote', '10s')}), 'the wanted replicas run')
  or diag($node->safe_psql('postgres', 'SELECT * FROM jflow_status; SELECT * FROM jflow_stat_replicas'));
ok($node->poll_query_until('postgres', q{SELECT used = 0 AND requests = 0 AND waiting = 0 FROM jflow_memory}), 'payload memory and slots are free')
  or diag($node->safe_psql('postgres', 'SELECT * FROM jflow_memory; SELECT * FROM jflow.requests()'));
ok($node->poll_query_until('postgres', q{SELECT bool_and(state = 'live') FROM jflow.shard}), 'all rows are where they belong')
  or diag($node->safe_psql('postgres', 'SELECT * FROM jflow.shard'));

# what is there, by the table, by id, and by search
my (%is, %wrong);
for my $flow ('inline', 'remote')
{
	my $place = $node->safe_psql('postgres', "SELECT place FROM placed WHERE flow = '$flow'");
	is($node->safe_psql('postgres', "SELECT count(*) - count(DISTINCT id) FROM $place"), '0', "$flow: no document is there twice");
	for (split /\n/, $node->safe_psql('postgres', "SELECT id || '|' || text FROM $place WHERE id <> 'first'"))
	{
		my ($id, $text) = split /\|/;
		$is{"$flow $id"} = $text;
	}
	is($node->safe_psql('postgres', qq{SET client_min_messages = error;
		SELECT count(*) FROM $place t WHERE (SELECT string_agg(f.text, ',') FROM jflow_post('/fetch', ARRAY[jflow_doc(id => t.id)], '$flow') f) IS DISTINCT FROM t.text}, @as_soak),
		'0', "$flow: each is fetched");
	is($node->safe_psql('postgres', qq{SET client_min_messages = error;
		SELECT count(*) FROM $place t WHERE NOT EXISTS (SELECT FROM jflow_post('/search', ARRAY[jflow_doc(embedding => t.embedding)], '$flow', '{"limit": 1}') f WHERE f.matches[1].id = t.id)}, @as_soak),
		'0', "$flow: each is found");
}
my @damaged;
for my $index (split /\n/, $node->safe_psql('postgres', q{SELECT c.oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
	WHERE a.amname = 'pq' AND c.relkind = 'i' AND i.indisvalid}))
{
	my ($status, $out, $err) = $node->psql('postgres', "SELECT jflow_pq_check($index)");
	push @damaged, "$index: $err" if $status != 0;
}
is_deeply(\@damaged, [], 'indexes are sound');
my ($answered, $known) = (0, 0);
for my $client (1 .. $nclients)
{
	for (split /\n/, slurp_file("$models$client"))
	{
		if (/^answered (\d+)/) { $answered += $1; next; }
		my ($key, @may) = split /\|/, $_, -1;
		my $is = delete $is{$key} // '';
		$known++;
		$wrong{$key} = "is '$is', may be " . join(' or ', map { "'$_'" } @may) unless grep { $_ eq $is } @may;
	}
}
is_deeply(\%wrong, {}, 'each document is as the model says');
is_deeply(\%is, {}, 'and there are no others');
cmp_ok($answered, '>', 20, "$answered posts succeeded, about $known documents");
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal (?!9)/, 'nothing but we killed a process');
$node->stop;
done_testing();
