# Can a server that a RemoteFlow asks, and that does not speak as it should, do more to who asks than fail his post?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

# ----- a server that is none: what it does is the name of the database -----

my $socket = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1', Proto => 'tcp') or plan skip_all => "no socket: $!";
my $port = $socket->sockport;
my $good = '{}';    # the answer, with MARK for what is bad in it

# Not exit, which would clean up what is the test's.
sub leave { POSIX::_exit(0); }

sub message { return $_[0] . pack('N', length($_[1]) + 4) . $_[1]; }

sub receive
{
	my ($client, $n) = @_;
	my $data = '';
	while (length $data < $n)
	{
		my $got = sysread($client, $data, $n - length $data, length $data);
		leave() unless $got;
	}
	return $data;
}

sub put
{
	my ($client, $data) = @_;
	while (length $data)
	{
		my $sent = syswrite($client, $data);
		leave() unless $sent;
		substr($data, 0, $sent, '');
	}
	return;
}

sub row { return message('D', pack('n N', 1, length $_[0]) . $_[0]); }

sub say_of { return message($_[0], join('', map { "$_\0" } @{ $_[1] }) . "\0"); }

my $rows_follow = message('T', pack('n', 1) . "a\0" . pack('N n N n N n', 0, 0, 25, 65535, 4294967295, 0));

sub answer
{
	my ($mode) = @_;
	my $begin = message('1', '') . message('2', '') . $rows_follow;
	my $end = message('C', "SELECT 1\0") . message('Z', 'I');
	my $value = $good;
	$value =~ s/MARK/$mode eq 'bytes' ? "\xc3" : 'text'/e;
	return message('1', '') . message('2', '') . message($1 eq 'in' ? 'G' : $1 eq 'out' ? 'H' : 'W', pack('C n n', 0, 1, 0)) if $mode =~ /^copy(.*)/;
	return say_of('E', ['SERROR', 'VERROR', 'C22012', 'M' . ('x' x 5_000_000), "D\xff\xfe", "Hdo \xc3", "W\xe2\x82"]) . message('Z', 'I') if $mode eq 'says';
	return join('', map { say_of('N', ['SNOTICE', 'VNOTICE', 'C00000', "Mnotice \xe2\x82", 'H' . ('y' x 100_000)]) } 1 .. 100) . $begin . row($value) . $end if $mode eq 'notices';
	return join('', map { message('A', pack('N', 1) . "channel\0" . ('z' x 7000) . "\0") } 1 .. 1000) . $begin . row($value) . $end if $mode eq 'notify';
	return $begin . message('D', pack('n N', 1, 4294967295)) . $end if $mode eq 'null';
	return $begin . $end if $mode eq 'none';
	return message('1', '') . message('2', '') . message('n', '') . message('C', "SET\0") . message('Z', 'I') if $mode eq 'command';
	return $begin . row('{NULL}') . $end if $mode eq 'nulls';
	return $begin . row("{$value,$value}") . $end if $mode eq 'twodim';
	return $begin . row('{"(' . ('(' x 100_000) . ')"}') . $end if $mode eq 'deep';
	return $begin . row($value) . $end;
}

sub serve
{
	my ($client) = @_;
	my $mode;
	for (;;)
	{
		my $startup = receive($client, unpack('N', receive($client, 4)) - 4);
		my $code = unpack('N', $startup);
		if ($code == 80877103 || $code == 80877104) { put($client, 'N'); next; }
		leave() if $code == 80877102;
		($mode) = $startup =~ /\0database\0([^\0]*)/;
		last;
	}
	put($client, message('R', pack('N', 3)));
	for (my $ready = 0;;)
	{
		my $type = receive($client, 1);
		my $body = receive($client, unpack('N', receive($client, 4)) - 4);
		if ($type eq 'p')
		{
			put($client, message('R', pack('N', 0)) . join('', map { message('S', $_) } "server_version\00015.0\0", "client_encoding\0UTF8\0", "standard_conforming_strings\0on\0")
				  . message('K', pack('N N', 1, 1)) . message('Z', 'I'));
		}
		elsif ($type eq 'Q') { put($client, $rows_follow . row($mode eq 'other' ? 'f' : 't') . message('C', "SELECT 1\0") . message('Z', 'I')); }
		elsif ($type eq 'S' && $mode eq 'rows')
		{
			put($client, message('1', '') . message('2', '') . $rows_follow);
			my $rows = row($good) x 1000;
			put($client, $rows) for 1 .. 100_000;    # a hundred GB, or until nobody listens
		}
		elsif ($type eq 'S' && $mode eq 'goes') { leave(); }
		elsif ($type eq 'S' && $mode ne 'silent') { put($client, answer($mode)); }
	}
}

my $node = new_node('front');
$node->safe_psql('postgres', q{CREATE DATABASE utf8 TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'});
prepare_database($node, 'utf8');
$good = $node->safe_psql('utf8', q{SELECT ARRAY[jflow_doc(id => 'a', text => 'MARK')]});
my $server = fork;
defined $server or die;
if ($server == 0)
{
	$SIG{CHLD} = 'IGNORE';
	$SIG{PIPE} = 'IGNORE';
	$SIG{TERM} = 'DEFAULT';
	alarm 600;
	while (my $client = $socket->accept)
	{
		my $child = fork;
		if (defined $child && $child == 0) { close $socket; alarm 600; serve($client); leave(); }
		close $client;
	}
	leave();
}
close $socket;

# ----- who asks -----

$node->safe_psql('utf8', 'SET client_min_messages = error; CREATE EXTENSION postgres_fdw');
my $test = sub {
	my ($mode, $sqlstate, $like, $name) = @_;
	$node->safe_psql('utf8', qq{CREATE SERVER "$mode" FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '$port', dbname '$mode', sslmode 'disable', connect_timeout '60');
		GRANT USAGE ON FOREIGN SERVER "$mode" TO flow_owner;
		CREATE USER MAPPING FOR flow_owner SERVER "$mode" OPTIONS (user 'x', password 'y')});
	owner_sql($node, qq{SELECT jflow_create('$mode'); SELECT jflow_add('$mode', 'far', uses => 'RemoteFlow', uses_with => '{"servers": ["$mode"], "flow": "f"}', replicas => 0)}, 'utf8');
	my $timed_out;
	my ($ret, $out, $err) = $node->psql('utf8', qq{\\set VERBOSITY verbose\nSET ROLE flow_owner; SELECT coalesce(text, '-') FROM jflow_post('/search', ARRAY[jflow_doc(id => 'q')], '$mode', timeout => '20 s')},
		timeout => 150, timed_out => \$timed_out, on_error_stop => 1);
	my ($state) = $err =~ /(?:ERROR|FATAL):\s+(\w{5}): /;
	ok(!$timed_out, "$name: ends");
	is($state || 'none', $sqlstate, "$name: SQLSTATE") or diag(substr("$out\n$err", 0, 500));
	ok("$out\n$err" =~ $like, "$name: message") or diag(substr("$out\n$err", 0, 500));
	ok(length $err < 500_000, "$name: is not endless");
	return "$out\n$err";
};
$test->('good', 'none', qr/^text$/m, 'one that speaks as it should');
$test->('other', '55000', qr/has no jflow/, 'one without the extension');
$test->("copy$_", '08006', qr/something else than an answer/, "copy $_") for qw(in out both);
$test->('rows', '08006', qr/something else than an answer/, 'rows without end');
$test->('bytes', '22021', qr/invalid byte sequence/, 'an answer that is no text');
my $said = $test->('says', '22012', qr/xxxxx/, 'an error that is no text');
ok($said !~ /[\x80-\xff]/, 'and it is shown as far as it is one');
$said = $test->('notices', 'none', qr/^text$/m, 'many notices that are no texts');
ok($said !~ /[\x80-\xff]/, 'and they are shown as far as they are');
$test->('notify', 'none', qr/^text$/m, 'notifications that nobody listens to');
$test->($_, 'HV00K', qr/has given no answer/, "an answer with $_") for qw(null none command);
$test->('nulls', '22004', qr/./, 'documents that are NULL');
$test->('twodim', 'none', qr/./, 'an array of arrays');
$test->('deep', '22P02', qr/malformed/, 'a value that is none');
$test->('goes', '08006', qr/was lost/, 'one that goes away');
$test->('silent', '57014', qr/./, 'one that says nothing');
is($node->safe_psql('postgres', 'SELECT 1'), 1, 'the server is up');
unlike(slurp_file($node->logfile), qr/terminated by signal/, 'and has not been down');

kill 'TERM', $server;
waitpid $server, 0;
$node->stop;
done_testing();
