"""The Open Inference Protocol, version 2: what `inference` says in neutral terms, others put on the wire."""
