"""Command-line front ends: flags, then configuration, then the library."""
