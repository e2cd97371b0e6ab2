"""The console: a web page that shows rooms and gateways to a school's staff."""
