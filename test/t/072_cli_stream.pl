# Does a post of any size go through in bounded memory, and does one that was
# canceled, or whose server or client was killed, go on where it was: nothing
# lost, and nothing twice that had been told?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use JflowCli;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
# the client's texts are UTF-8, whatever the environment says
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "autovacuum = off");
$node->start;
prepare_log($node);
my $dir = PostgreSQL::Test::Utils::tempdir;
chdir $dir or die;
my $holder = $node->background_psql('postgres');
$holder->set_query_timer_restart();

# 96 MB in lines of 4 kB: at its end the client waits for the lock, and shows what it needed
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE FUNCTION gate(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
	BEGIN
		IF docs[cardinality(docs)].id = 'last' THEN PERFORM pg_advisory_xact_lock_shared(42); END IF;
		RETURN NULL;
	END $$;
	SELECT jflow_create('gate');
	SELECT jflow_add('gate', 'e', uses => 'gate', replicas => 0)});
open my $fh, '>', 'big.jsonl' or die;
my $text = 'x' x 4000;
print $fh qq({"id":"$_","text":"$text"}\n) for 1 .. 24000;
print $fh qq({"id":"last"}\n);
close $fh or die;
$holder->query_safe('SELECT pg_advisory_lock(42)');
for my $way ('big.jsonl', '-')
{
	my $err = '';
	my $client = start_client($node, $way eq '-' ? 'big.jsonl' : '/dev/null', \$err, 'post', '/x', '-f', 'gate', $way);
	ok(await_lock($node), "a post of 96 MB gets to its end ($way)");
	my $pid = $client->{KIDS}[0]{PID};
	my ($peak) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m;
	cmp_ok($peak, '<', 48 * 1024, "in bounded memory: $peak kB");
	my $server = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'jflow'});
	my $faults = (split / /, slurp_file("/proc/$server/stat") =~ s/^.*\) //sr)[7];
	cmp_ok($faults, '<', 24000, "and the server uses that of one batch again for the next: $faults pages");
	$holder->query_safe('SELECT pg_advisory_unlock(42)');
	ok($client->finish, 'and ends well');
	like($err, qr/^DONE .* 241 steps done.*^24001 documents are stored, 0 were bad$/ms, 'with the number of documents');
	like($err, qr/^Working\.\.\. /m, 'and lines on the way, in a pipe') if $err =~ /Working/;
	$holder->query_safe('SELECT pg_advisory_lock(42)');
}
unlink 'big.jsonl';

# of one document nothing is kept in the server for the next one
$node->safe_psql('postgres', q{ALTER DATABASE postgres SET log_statement = 'all'});
for my $docs (1, 3)
{
	my $offset = -s $node->logfile;
	write_file('few.jsonl', qq({"id":"few","text":"x"}\n) x $docs);
	is((client($node, '', 'post', '/x', '-f', 'gate', '--batch-size', 1, 'few.jsonl'))[0], 0, "a post of $docs batches");
	is(() = slurp_file($node->logfile, $offset) =~ /repeat\(' ', 16777216\)/g, $docs > 1 ? 1 : 0, 'from the second on the server keeps memory');
}
$node->safe_psql('postgres', q{ALTER DATABASE postgres RESET log_statement});

# 95 documents of which the 45th waits
write_file('wait.jsonl', join '', map { "{\"id\":\"$_\",\"text\":\"" . ($_ == 45 ? 'wait' : 'x') . "\"}\n" } 1 .. 95);
my @post = ('post', '/index', '-f', 'log', '--batch-size', 10, '--resume', 'state', 'wait.jsonl');

sub begin_post
{
	my ($err, @args) = @_;
	my $client = start_client($node, '/dev/null', $err, @args);
	await_lock($node) or die 'the post does not wait';
	return $client;
}

# Go on after the lock was given back: everything is there once.
sub finish_post
{
	my ($name, @args) = @_;
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	my @r = client($node, '', @args);
	is($r[0], 0, "$name: the post goes on") or diag($r[2]);
	is(stored($node, q{count(*), count(DISTINCT id), string_agg(id, ',') = string_agg(id, ',' ORDER BY id::int)} =~ s/string_agg\(id, ','\)/string_agg(id, ',' ORDER BY n)/r),
		'95|95|t', "$name: nothing is lost, nothing is there twice, all is in order");
	@r = client($node, '', @args);
	like($r[2], qr/^0 documents are stored/m, "$name: once more has nothing to do");
	$node->safe_psql('postgres', 'TRUNCATE log RESTART IDENTITY');
	unlink 'state';
	$holder->query_safe('SELECT pg_advisory_lock(42)');
	return;
}

# canceled
for my $signal (qw(INT TERM))
{
	my $err = '';
	my $client = begin_post(\$err, @post);
	$client->signal($signal);
	$client->finish;
	is($? & 127, $signal eq 'INT' ? 2 : 15, "SIG$signal ends the client by that signal");
	like($err, qr/^CANCELED .*^jflow: canceled: 40 documents are stored, the last of them wait\.jsonl:40$/ms, 'it says what is stored');
	is(stored($node, 'count(*)'), 40, 'and that is so');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'jflow' AND state = 'active'}), 'the server does not go on');
	finish_post("SIG$signal", @post);
}

# the server is killed, with one batch waiting and another behind it
{
	my $err = '';
	my $client = begin_post(\$err, @post);
	$node->stop('immediate');
	$client->finish;
	is($? >> 8, 2, 'exit code when the server is killed');
	like($err, qr/^jflow: whether the documents from wait\.jsonl:41 to wait\.jsonl:50 are stored is not known\n.*^jflow: stopped: 40 documents are stored/ms, 'it says what is not known');
	eval { $holder->quit };
	$node->start;
	$holder = $node->background_psql('postgres');
	$holder->set_query_timer_restart();
	$holder->query_safe('SELECT pg_advisory_lock(42)');
	finish_post('a killed server', @post);
}

# the connection is terminated
{
	my $err = '';
	my $client = begin_post(\$err, @post);
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jflow'});
	$client->finish;
	is($? >> 8, 2, 'exit code when the session is terminated');
	finish_post('a terminated session', @post);
}

# the client is killed
{
	my $err = '';
	my $client = begin_post(\$err, @post);
	ok($node->poll_query_until('postgres', qq{SELECT pg_read_file('$dir/state', 0, 10000, true) ~ '"docs":40'}), 'the state file tells what is stored');
	$client->signal('KILL');
	$client->finish;
	ok($node->poll_query_until('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jflow' UNION ALL SELECT true LIMIT 1}), 'its session is ended');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'jflow'}), 'and gone');
	finish_post('a killed client', @post);
}

# the answers: those of both parts of a post are there, and no half of a line
{
	write_file('answers.jsonl', join '', map { $_ == 45 ? "oops\n" : qq({"id":"$_"}\n) } 1 .. 95);
	my @answers = ('post', '/index', '-f', 'log', '-q', '--batch-size', 10, '--resume', 'state', '-o', 'answers', 'answers.jsonl');
	client($node, '', @answers);
	like(read_file('state'), qr/"docs":44\b/, 'a post that stops');
	write_file('answers', read_file('answers') . '{"id": "45", "te');
	write_file('answers.jsonl', read_file('answers.jsonl') =~ s/oops/{"id":"45"}/r);
	finish_post('answers', @answers[ 0 .. 3 ], @answers[ 5 .. $#answers ]);
	is(join(',', read_file('answers') =~ /^\{"id": "(\d+)".*\}$/mg), join(',', 1 .. 95), 'answers of a post that was resumed');
	is(scalar(() = read_file('answers') =~ /\n/g), 95, 'and nothing else');
}

# a bad line stops it; mended, it goes on
write_file('mend.jsonl', join '', map { $_ == 45 ? "oops\n" : "{\"id\":\"$_\"}\n" } 1 .. 95);
my @mend = ('post', '/index', '-f', 'log', '--resume', 'state', 'mend.jsonl');
result_is([ client($node, '', @mend) ], 3, undef, qr/^jflow: mend\.jsonl:45: .*the last of them mend\.jsonl:44$/ms, 'a bad line');
write_file('mend.jsonl', read_file('mend.jsonl') =~ s/oops/{"id":"45"}/r);
finish_post('a mended line', @mend);

# the same for other kinds of input
my $rows = join '', map { "$_,\"two\nlines\"\n" } 1 .. 95;
write_file('rows.csv', "id,text\n" . $rows =~ s/^45,"two/45,"/mr =~ s/45,"\nlines"/45,bad/r);
my @csv = ('post', '/index', '-f', 'log', '--resume', 'state', 'rows.csv');
result_is([ client($node, '', @csv) ], 3, undef, qr/^jflow: rows\.csv:90: ERROR:  22012.*the last of them rows\.csv:88$/ms, 'a bad row of a CSV');
write_file('rows.csv', "id,text\n$rows");
finish_post('a CSV', @csv);

my @stdin = ('post', '/index', '-f', 'log', '--resume', 'state');
my $lines = join '', map { "{\"id\":\"$_\"}\n" } 1 .. 95;
result_is([ client($node, $lines =~ s/"id":"60"/"id":"60","text":"bad"/r, @stdin) ], 3, undef, qr/^jflow: stdin:60: /m, 'a bad line of the standard input');
result_is([ client($node, $lines, @stdin) ], 0, undef, qr/^36 documents are stored/m, 'the standard input again goes on behind what is stored');
is(stored($node, 'count(*), count(DISTINCT id)'), '95|95', 'all of it once');
result_is([ client($node, $lines =~ s/"95"/"96"/r, @stdin) ], 1, undef, qr/cannot resume at stdin:95: it has another document there\nHINT/, 'another input is refused');
$node->safe_psql('postgres', 'TRUNCATE log RESTART IDENTITY');
unlink 'state';

mkdir 'folder';
mkdir "folder/$_" for 1 .. 3;
write_file("folder/" . ($_ % 3 + 1) . "/$_.txt", $_ == 45 ? 'bad' : 'x') for 10 .. 99;
my @folder = ('post', '/index', '-f', 'log', '--resume', 'state', 'folder', 'wait.jsonl');
result_is([ client($node, '', @folder) ], 3, undef, qr{^jflow: folder/1/45\.txt:1: ERROR}m, 'a bad file in a folder');
write_file('folder/1/45.txt', 'good');
$holder->query_safe('SELECT pg_advisory_unlock_all()');
result_is([ client($node, '', @folder) ], 0, undef, undef, 'the folder goes on');
is(stored($node, 'count(*), count(DISTINCT id)'), '185|185', 'all files, and those behind the folder, once');

# state files that do not fit
result_is([ client($node, '', 'post', '/other', '--resume', 'state', 'folder', 'wait.jsonl') ], 1, undef, qr/is of another post: its endpoint was "\/index"/, 'another endpoint');
result_is([ client($node, '', 'post', '/index', '--resume', 'state', 'folder', 'mend.jsonl') ], 1, undef, qr/another post: its input was "wait.jsonl"/, 'other files');
result_is([ client($node, '', 'post', '/index', '--resume', 'state', 'folder') ], 1, undef, qr/another post: its input/, 'fewer files');
write_file('state', 'nonsense');
result_is([ client($node, '', 'post', '/index', '--resume', 'state', 'folder') ], 1, undef, qr/"state" is no state file/, 'a file that is none');

# documents that trickle in are not held back
{
	$node->safe_psql('postgres', 'TRUNCATE log');
	my ($in, $out, $err) = (qq({"id":"first"}\n), '', '');
	local %ENV = (%ENV, client_env($node));
	my $client = IPC::Run::start([ 'jflow', 'post', '/index', '-f', 'log' ], '<', \$in, '>', \$out, '2>', \$err);
	$client->pump while length $in;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM log}), 'a document is stored while the input is open');
	$in = qq({"id":"second"}\n);
	$client->pump while length $in;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM log}), 'and the next one');
	$client->finish;
	like($err, qr/^2 documents are stored/m, 'and the end is told');
}

eval { $holder->quit };
chdir '/';
$node->stop;
done_testing();
