# The stand-in for services behind HTTP (test/service), started once for a test.
package JflowService;
use strict;
use warnings;
use Exporter 'import';
use HTTP::Tiny;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(start_service start_tls service_url service_stats add_server ask_service);

my ($pid, $port, $tls_pid);

sub start_service
{
	my $file = PostgreSQL::Test::Utils::tempdir() . '/port';
	$pid = fork;
	if ($pid == 0)
	{
		open STDOUT, '>', '/dev/null';
		exec $ENV{JFLOW_SERVICE}, $file or exit 1;
	}
	for my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if -s $file;
		select undef, undef, undef, 0.1;
	}
	($port) = split /\n/, slurp_file($file);
	return $port;
}

# The same behind TLS, with a certificate of its own for localhost; returns the port and the
# certificate's file, or nothing where that cannot be had.
sub start_tls
{
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my ($cert, $key, $file) = ("$dir/cert.pem", "$dir/key.pem", "$dir/tls_port");
	my $made = eval { run_log([ 'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
		'-addext', 'subjectAltName=DNS:localhost', '-keyout', $key, '-out', $cert ]) };
	return unless $made && -x '/usr/bin/python3' && -r ($ENV{JFLOW_TLS} || '');
	$tls_pid = fork;
	if ($tls_pid == 0)
	{
		open STDOUT, '>', '/dev/null';
		exec '/usr/bin/python3', $ENV{JFLOW_TLS}, $cert, $key, $port, $file or exit 1;
	}
	for my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if -s $file;
		select undef, undef, undef, 0.1;
	}
	my ($tls_port) = split /\n/, slurp_file($file);
	return ($tls_port, $cert);
}

# The url of what a path and its parameters say.
sub service_url
{
	my ($path) = @_;
	return "http://127.0.0.1:$port/$path";
}

sub ask_service
{
	my ($path) = @_;
	return HTTP::Tiny->new->get(service_url($path))->{content};
}

# What was counted under a name: calls, texts, most at once, now, and the last body.
sub service_stats
{
	my ($name) = @_;
	my $json = ask_service("stats?name=$name");
	my %stats = $json =~ /"(\w+)":(\d+)/g;
	return \%stats;
}

# A server for a path, with more options; of a role that may use it.
sub add_server
{
	my ($node, $name, $path, %options) = @_;
	my ($provider) = $path =~ /^(\w+)/;
	my $url = $path =~ /^https?:/ ? $path : service_url($path);
	$provider = delete $options{provider} if $options{provider};
	$options{authentication} = 'none' unless exists $options{authentication};
	delete $options{authentication} unless defined $options{authentication};
	my $more = join '', map { ", $_ '$options{$_}'" } sort keys %options;
	$node->safe_psql('postgres', "CREATE SERVER $name FOREIGN DATA WRAPPER jflow_http
		OPTIONS (url '$url', provider '$provider'$more);
		GRANT USAGE ON FOREIGN SERVER $name TO flow_owner");
	return;
}

END
{
	my $status = $?;
	for my $child (grep { $_ } $pid, $tls_pid)
	{
		kill 'KILL', $child;
		waitpid $child, 0;
	}
	$? = $status;
}

1;
