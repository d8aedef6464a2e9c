"""Pure: a call and what the data plane can do give the flows that have to be installed."""
