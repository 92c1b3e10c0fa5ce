#!/usr/bin/env perl
# The adapter with which ../conformance certifies Kvd.pm.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use Kvd;
use MIME::Base64 qw(decode_base64 encode_base64);

$| = 1;
my $json = JSON::PP->new->utf8;
my ($kv, $next);

sub say_line { my (%members) = @_; print $json->encode(\%members), "\n"; return }
sub bytes_of { my ($text) = @_; utf8::encode($text) if defined $text; return $text }
sub value64 { my ($value) = @_; return defined $value ? encode_base64($value, '') : undef }

sub run {
    my ($request) = @_;
    my ($op, $key) = ($request->{op}, bytes_of($request->{key}));
    my $value = exists $request->{value64} ? decode_base64($request->{value64}) : bytes_of($request->{value});
    my %option = map { exists $request->{$_} ? ($_ => $request->{$_}) : () } qw(ttl if);
    if ($op eq 'connect') {
        my %option = map { exists $request->{$_} ? ($_ => bytes_of($request->{$_})) : () } qw(user password ca cert key);
        $kv = Kvd->new($request->{address}, $request->{timeout}, tls => exists $option{ca}, %option);
        say_line(ok => '');
    }
    if ($op eq 'get') { say_line(ok64 => value64($kv->get($key))) }
    if ($op eq 'set') { say_line(ok => $kv->set($key, $value)) }
    if ($op eq 'put') { say_line(ok => $kv->put($key, $value, %option)) }
    if ($op eq 'del') { say_line(ok => $kv->del($key, %option)) }
    return if $op ne 'follow';
    $next = $kv->follow($request->{position}, split / /, bytes_of($request->{patterns}));
    say_line(ok => '');
    while (my $event = $next->()) {
        my %members = (event => $event->{kind}, position => $event->{position} // '');
        if (defined $event->{key}) { $members{key} = $event->{key}; utf8::decode($members{key}) }
        $members{value64} = value64($event->{value}) if defined $event->{value};
        say_line(%members);
    }
    return;
}

while (my $line = <STDIN>) {
    next if eval { run($json->decode($line)); 1 };
    my $error = $@;
    die $error if ref $error ne 'Kvd::Error';
    my %members = $error->{code} eq 'conflict' ? (conflict => $error->{revision}) : (error => $error->{code});
    say_line(%members, $next ? (event => 'error') : (), defined $error->{retry} ? (retry => $error->{retry}) : ());
}
