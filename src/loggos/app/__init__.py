"""The composition root: builds nodes, clusters and benchmarks out of services and a world. Only this layer knows them all."""
