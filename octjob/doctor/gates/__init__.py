"""One module a gate: what it looks at, as plain data, and a function from that to a finding."""
