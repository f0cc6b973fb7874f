"""The parts of the rewriting of JSON schemas, one kind of keyword each."""
