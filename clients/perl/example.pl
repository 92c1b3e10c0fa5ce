#!/usr/bin/env perl
# Follows a prefix: prints what is there and every change, each once, through restarts of the daemon and its own.
#
# Usage: example.pl HOST:PORT PREFIX FILE
#
# FILE keeps the position; without it the first thing is a copy.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Kvd;

$| = 1;
$SIG{PIPE} = 'IGNORE';    # a reader who went away is an error of the one who prints
sub show { print "@_\n" or die "standard output: $!\n"; return }
if (@ARGV != 3) { print STDERR "usage: example.pl HOST:PORT PREFIX FILE\n"; exit 2 }
my ($address, $prefix, $file) = @ARGV;
my $position = '-';
if (open my $in, '<', $file) { $position = (readline($in) // '') =~ s/\s+//gr; close $in }
elsif (!$!{ENOENT}) { die "$file: $!\n" }
die "$file: it holds no position: remove it to begin with a copy\n" if $position eq '';

my $next = Kvd->new($address)->follow($position, "$prefix*");
my %copy;
while (my $event = $next->()) {
    my $kind = $event->{kind};
    if ($kind eq 'copy') { %copy = () }
    if ($kind eq 'pair') { $copy{$event->{key}} = $event->{value} }
    if ($kind eq 'gone') { delete $copy{$event->{key}} }
    if ($kind eq 'copied') { show('is', $_, $copy{$_}) for sort keys %copy }
    if ($kind =~ /\A(?:set|del|expire)\z/) { show($kind, $event->{key}, $event->{value} // '') }
    next if !$event->{position};
    # What is printed is done: only then is its position kept, in one step.
    open my $out, '>', "$file.new" or die "$file.new: $!\n";
    print $out $event->{position};
    close $out or die "$file.new: $!\n";
    rename "$file.new", $file or die "$file: $!\n";
}
