"""The wire contract: ids, requests, reports and their codec. Pure: no I/O, no clock, no framework."""
