# TLS for Kvd.pm, by the module IO::Socket::SSL, which is none of Perl's own (Debian: libio-socket-ssl-perl).
package KvdTls;
use strict; use warnings;

sub secure {    # the socket with TLS on it, to that host; what cannot work at all dies with a Kvd::Error
    my ($self, $socket, $host) = @_;
    eval { require IO::Socket::SSL; 1 } or die Kvd::_error('usage tls needs the Perl module IO::Socket::SSL');
    for my $file (grep { defined } @$self{qw(ca cert key)}) {
        -r $file or die Kvd::_error("usage tls: cannot read $file: $!");
    }
    my %given = (SSL_ca_file => $self->{ca}, SSL_cert_file => $self->{cert}, SSL_key_file => $self->{key});
    my $is_name = $host !~ /\A[0-9.]+\z|:/;
    return IO::Socket::SSL->start_SSL(
        $socket,
        SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_PEER(),
        SSL_verifycn_name => $host,
        SSL_verifycn_scheme => 'http',
        SSL_hostname => $is_name ? $host : '',
        Timeout => $self->{timeout},
        map { defined $given{$_} ? ($_ => $given{$_}) : () } keys %given,
    ) || die "no TLS: $IO::Socket::SSL::SSL_ERROR\n";
}
1;
