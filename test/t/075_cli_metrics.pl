# Does jflow metrics --listen answer Prometheus, and nobody else wrongly; do the dashboard and the alert rules ask what is there?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use IO::Select;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use JflowCli;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jflow'\njflow.allow_superuser_flows = on\nmax_worker_processes = 20");
$node->start;
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION nothing(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE sql AS 'SELECT NULL::jflow_doc[]';
	SELECT jflow_create('shop');
	SELECT jflow_add('shop', 'first', 'nothing');
	SELECT jflow_add('shop', 'here', 'nothing', replicas => 0);
	SELECT jflow_start('shop');
	SELECT jflow_wait('shop', '180s');
});
my $post = q{SELECT count(*) FROM jflow_post('/index', ARRAY['a', 'b'], 'shop')};
$node->safe_psql('postgres', $post);

# both formats
my ($code, $out, $err) = client($node, '', 'metrics');
like($out, qr/^# TYPE jflow_requests counter\n(?:.*\n)*jflow_requests_total\{.*executor="first",flow="shop",outcome="ok"\} 1\n(?:.*\n)*# EOF\n$/m, 'OpenMetrics');
($code, $out, $err) = client($node, '', 'metrics', '--format=prometheus');
like($out, qr/^# TYPE jflow_requests_total counter\n/m, 'the older format');
unlike($out, qr/EOF/, 'has no end');
my $older = $out;
result_is([ client($node, '', 'metrics', '--format', 'xml') ], 1, qr/^$/, qr/unknown format "xml"/, 'a format that is none');

# what cannot be listened at
result_is([ client($node, '', 'metrics', '--listen', $_) ], 1, qr/^$/, qr/could not listen|wants HOST:PORT/, "listen at $_")
	for ('127.0.0.1:', ':9187', '127.0.0.1:99999x', '[::1', '203.0.113.7:1');

my $complaints = '';
my $server = start_client($node, \my $in, \$complaints, 'metrics', '--listen', '127.0.0.1:0');
$server->pump until $complaints =~ /listening at 127\.0\.0\.1:(\d+)\n/;
my ($port) = $complaints =~ /:(\d+)\n/;
result_is([ client($node, '', 'metrics', '--listen', $port) ], 1, qr/^$/, qr/could not listen at "$port": Address already in use/, 'a port that is taken');

# Send bytes, and return all that comes back.
sub ask
{
	my ($request) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 60) or die "connect: $@";
	local $SIG{PIPE} = 'IGNORE';
	print $socket $request;
	$socket->flush;
	local $/;
	my $answer = <$socket>;
	return $answer // '';
}
my $get = "GET /metrics HTTP/1.1\r\nHost: x\r\n";
like(ask("$get\r\n"), qr/^HTTP\/1\.1 200 OK\r\nContent-Type: text\/plain; version=0\.0\.4.*\r\n\r\n# TYPE .*jflow_requests_total\{/s, 'a scrape');
my $answer = ask("${get}aCCept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n");
like($answer, qr{^HTTP/1\.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1\.0\.0.*# EOF\n$}s, 'a scrape by Prometheus');
my ($length, $body) = $answer =~ /Content-Length: (\d+)\r\n.*?\r\n\r\n(.*)$/s;
is(length $body, $length, 'of the length that it says');
like(ask("HEAD /metrics HTTP/1.0\r\n\r\n"), qr{^HTTP/1\.1 200 OK\r\n.*\r\n\r\n$}s, 'HEAD');
like(ask("GET /metrics?x=1 HTTP/1.1\n\n"), qr{^HTTP/1\.1 200 }, 'a query, and bare line ends');
like(ask("GET / HTTP/1.1\r\n\r\n"), qr{^HTTP/1\.1 404 }, 'another page');
like(ask("GET /metricsx HTTP/1.1\r\n\r\n"), qr{^HTTP/1\.1 404 }, 'one that begins alike');
like(ask("POST /metrics HTTP/1.1\r\n\r\n"), qr{^HTTP/1\.1 405 .*Allow: GET, HEAD\r\n}s, 'another method');
like(ask("GET /metrics\r\n\r\n"), qr{^HTTP/1\.1 400 }, 'no version');
like(ask("\r\n\r\n"), qr{^HTTP/1\.1 400 }, 'nothing');
like(ask("\0\0\r\n\r\n"), qr{^HTTP/1\.1 400 }, 'zero bytes');
like(ask("GET /metrics HTTP/1.1\r\nX: " . 'x' x 8200), qr{^HTTP/1\.1 431 }, 'a request without end');
IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)->close for 1 .. 3;
like(ask("GET /metrics HTTP/1.1\r\n"), qr{^HTTP/1\.1 408 }, 'one that does not end is not waited for');
like(ask("$get\r\n"), qr{^HTTP/1\.1 200 }, 'after all of them');

# who is slow, sends without end, or takes nothing, keeps nobody waiting; those who come first are dropped when there are too many
{
	local $SIG{PIPE} = 'IGNORE';
	my $connect = sub { return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 60) };
	my $answered;
	for (1 .. 20)
	{
		my $slow = $connect->();
		$answered = ask("$get\r\n");
		last unless IO::Select->new($slow)->can_read(0);	# on a slow machine its time may be over
		$answered = 'only after one who came first';
	}
	like($answered, qr{^HTTP/1\.1 200 }, 'a scrape does not wait for one who says nothing');
	my @slow;
	for my $begin ('', "GET /metr", "$get\r\n", "POST / HTTP/1.1\r\n\r\n" . 'x' x 50000)
	{
		push @slow, map { $connect->() } 1 .. 10;
		$_->autoflush, print $_ $begin for @slow[ -10 .. -1 ];
	}
	like(ask("$get\r\n"), qr{^HTTP/1\.1 200 }, 'beside those who are slow');
	push @slow, map { $connect->() } 1 .. 100;
	like(ask("$get\r\n"), qr{^HTTP/1\.1 200 }, 'and beside many');
	is(scalar(grep { !defined } @slow), 0, 'all of which could connect');
	like(ask("POST /metrics HTTP/1.1\r\n\r\n" . 'x' x 50000), qr{^HTTP/1\.1 405 .*allowed\n$}s, 'an answer reaches who has sent more than was read');
	my $last = $slow[-1];
	like(scalar(<$last>), qr{^HTTP/1\.1 408 }, 'the last one is told when its time is over');
}

# a connection that is lost between two scrapes, a database that goes away and comes back
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 180000) FROM pg_stat_activity WHERE application_name = 'jflow' AND pid <> pg_backend_pid()});
like(ask("$get\r\n"), qr{^HTTP/1\.1 200 }, 'after its connection was ended');
$node->stop;
like(ask("$get\r\n"), qr{^HTTP/1\.1 503 .*the database does not answer\n$}s, 'without a database');
$node->start;
$node->poll_query_until('postgres', q{SELECT jflow_wait('shop', '1s')}) or die;
$node->safe_psql('postgres', $post);
like(ask("$get\r\n"), qr/^HTTP\/1\.1 200 .*jflow_requests_total\{[^}]*flow="shop"[^}]*\} 1\n/s, 'with it again');

SKIP:
{
	my $bin = $ENV{JFLOW_PROMETHEUS};
	my $files = $ENV{JFLOW_MONITORING};
	skip 'SKIPPED LOUDLY: no prometheus could be had, so neither dashboard nor rules are tried', 1 unless $bin && $files;
	my $dir = PostgreSQL::Test::Utils::tempdir;

	my ($said, $wrong) = ('', '');
	ok(IPC::Run::run([ "$bin/promtool", 'check', 'metrics' ], '<', \$older, '>', \$said, '2>', \$wrong), 'promtool has nothing to say of the metrics') or diag($said, $wrong);
	ok(IPC::Run::run([ "$bin/promtool", 'check', 'rules', "$files/alerts.yml" ], '>', \$said, '2>', \$wrong), 'nor of the rules') or diag($said, $wrong);
	ok(IPC::Run::run([ "$bin/promtool", 'test', 'rules', "$files/alerts_test.yml" ], '>', \$said, '2>', \$wrong), 'each of which fires when it should') or diag($said, $wrong);
	my $rules = read_file("$files/alerts.yml");
	my $tests = read_file("$files/alerts_test.yml");
	like($tests, qr/alertname: $_\n +exp_alerts:/, "$_ is made to fire") for $rules =~ /- alert: (\w+)/g;
	my @samples = split /\n/, $older;
	for my $asked ($rules =~ /(\bjflow_\w+(?:\{[^}]*\})?)(?= |\[|\)|\/)/g)
	{
		my ($name, $label, $value) = $asked =~ /^(\w+)(?:\{(\w+)(?:="|=~")([^"|]*))?/;
		next if $name =~ /^jflow_(?:status|config|scale|stat_replicas|metrics)$/;	# of the words to people
		next if $value && $value eq 'error';	# no post has failed yet
		ok((grep { /^$name\{/ && (!$label || /\b$label="$value"/) } @samples), "there is $asked");
	}

	my $web = PostgreSQL::Test::Cluster::get_free_port();
	write_file("$dir/prometheus.yml", "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: ['$files/alerts.yml']\n"
		  . "scrape_configs: [{job_name: jflow, static_configs: [{targets: ['127.0.0.1:$port']}]}]\n");
	my $prometheus = IPC::Run::start([ "$bin/prometheus", "--config.file=$dir/prometheus.yml", "--storage.tsdb.path=$dir/data",
		"--web.listen-address=127.0.0.1:$web", '--log.level=error' ], '<', \my $none, '>', \my $log, '2>&1');

	# The rows of a query, or why there are none.
	my $query = sub
	{
		my ($expr) = @_;
		$expr =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge;
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $web) or return 'no connection';
		print $socket "GET /api/v1/query?query=$expr HTTP/1.0\r\n\r\n";
		local $/;
		my ($json) = (<$socket> // '') =~ /\r\n\r\n(.*)$/s;
		my $result = eval { decode_json($json // '') } or return 'no JSON';
		return $result->{status} eq 'success' ? $result->{data}{result} : $result->{error};
	};
	my $wait = sub
	{
		my ($expr) = @_;
		for (1 .. 600)
		{
			$node->safe_psql('postgres', $post);
			my $rows = $query->($expr);
			return 1 if ref $rows && @$rows;
			select undef, undef, undef, 0.3;
		}
		return 0;
	};
	ok($wait->('up{job="jflow"} == 1 and on () (rate(jflow_posts_total[1m]) > 0)'), 'it scrapes') or diag($log // '');

	my $dashboard = decode_json(read_file("$files/grafana.json"));
	for my $panel (@{ $dashboard->{panels} })
	{
		for my $target (@{ $panel->{targets} })
		{
			my $expr = $target->{expr};
			$expr =~ s/\$__rate_interval/1m/g;
			$expr =~ s/\$(?:instance|flow)\b/.*/g;
			unlike($expr, qr/\$/, "$panel->{title}: no variable that is not known");
			my $rows = $query->($expr);
			# no failed call, and no class that counts, is here
			my $may_be_empty = $panel->{title} =~ /^(?:Failed calls|Events of executors)$/;
			ok(ref $rows && (@$rows || $may_be_empty), "$panel->{title}: $target->{refId}") or diag(ref $rows ? "nothing: $expr" : "$rows: $expr");
		}
	}
	my $missing = $query->('ALERTS{alertstate="firing"}');
	is_deeply($missing, [], 'no alert fires');
	$prometheus->kill_kill;
}

$server->signal('TERM');
$server->finish;
is($? & 127, 15, 'a signal ends it');
like($complaints, qr/^jflow: (?:error: )?.*\n/m, 'it has told why a scrape failed');
$node->stop;
done_testing();
