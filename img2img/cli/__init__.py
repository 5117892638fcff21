"""The command line: parse, call, print, exit code. The work itself is in the packages below."""
