"""Is a policy still what it was? `verify` asks labelled queries, `monitor` served ones."""
