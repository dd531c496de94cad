"""`make bench-peers`: what a call costs here and in other servers, as multiples of a bare one."""
